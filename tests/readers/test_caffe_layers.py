"""Caffe's layer types one by one: what their options make of a map, by the arithmetic of Caffe's own `Reshape`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnatomy.analysis import account
from cnnatomy.layers import Operations
from cnnatomy.readers.caffe import prototxt
from cnnatomy.readers.caffe.layers import RULES

DATA = Path(__file__).parent / "data"
NET = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'


def layer(type: str, options: str = "", bottoms: str = "data", tops: str = "l") -> str:
    """A layer `l` on the input, of 3 channels and 8x8 pixels."""
    joined = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    joined += "".join(f'top: "{name}" ' for name in tops.split())
    return f'layer {{ name: "l" type: "{type}" {joined} {options} }}'


def convolution(options: str, type: str = "Convolution") -> str:
    return layer(type, f"convolution_param {{ {options} }}")


def pooling(options: str, tops: str = "l") -> str:
    return layer("Pooling", f"pooling_param {{ {options} }}", tops=tops)


def reshape(options: str) -> str:
    return layer("Reshape", f"reshape_param {{ {options} }}")


def read(layers: str) -> list[str]:
    graph = prototxt.read(NET + layers)
    return [f"{node.layer!r} {'x'.join(map(str, node.output.shape))}" for node in graph]


ONE = {
    convolution("num_output: 4 kernel_size: 3 kernel_size: 5 pad: 1 pad: 2 stride: 2"): (
        "Conv(4, (3, 5), stride=2, padding=(1, 2)) 4x4x4"
    ),
    convolution("num_output: 4 kernel_h: 1 kernel_w: 7 pad_w: 3 dilation: 1"): "Conv(4, (1, 7), padding=(0, 3)) 4x8x8",
    convolution("num_output: 3 kernel_size: 3 group: 3", "ConvolutionDepthwise"): "DepthwiseConv(3) 3x6x6",
    convolution("num_output: 3 kernel_size: 3", "DepthwiseConvolution"): "DepthwiseConv(3) 3x6x6",
    convolution("num_output: 3 kernel_size: 4 stride: 2 group: 3", "Deconvolution"): (
        "TransposedConv(3, 4, stride=2, groups=3) 3x18x18"
    ),
    convolution("kernel_size: 3 stride: 2", "Im2col"): (
        "Foreign('Im2col', (27, 3, 3), mixes='rearrangement', sees=Window(kernel=(3, 3), stride=(2, 2))) 27x3x3"
    ),
    pooling("kernel_size: 3 stride: 2 round_mode: FLOOR"): "MaxPool(3, stride=2) 3x3x3",
    pooling("kernel_size: 3 stride: 2 round_mode: 1"): "MaxPool(3, stride=2) 3x3x3",
    pooling("kernel_size: 3 stride: 2"): "MaxPool(3, stride=2, ceil=True) 3x4x4",
    pooling("pool: 1 kernel_size: 2 stride: 2"): "AvgPool(2, stride=2, ceil=True) 3x4x4",
    pooling("pool: MAX global_pooling: true"): "MaxPool(8, stride=1, ceil=True) 3x1x1",
    pooling("pool: AVE global_pooling: t"): "GlobalAvgPool() 3x1x1",
    pooling("pool: STOCHASTIC kernel_size: 2 stride: 2"): (
        "Foreign('Pooling', (3, 4, 4), costs=Operations(multiply=192, add=384, divide=48), mixes='space', "
        "sees=Window(kernel=(2, 2), stride=(2, 2))) 3x4x4"
    ),
    pooling("kernel_size: 1 stride: 2"): (  # ceil(7 / 2) + 1 windows, the last of which starts after the map
        "Foreign('Pooling', (3, 5, 5), costs=Operations(compare=75), mixes='space', "
        "sees=Window(kernel=(1, 1), stride=(2, 2))) 3x5x5"
    ),
    pooling("pool: AVE kernel_size: 3 stride: 3 pad: 2"): (
        "Foreign('Pooling', (3, 4, 4), costs=Operations(add=432, divide=48), mixes='space', "
        "sees=Window(kernel=(3, 3), stride=(3, 3), padding=(2, 2))) 3x4x4"
    ),
    layer("Interp", "interp_param { zoom_factor: 2 }"): (
        "Foreign('Interp', (3, 15, 15), costs=Operations(multiply=2700, add=2025), mixes='space') 3x15x15"
    ),
    layer("Interp", "interp_param { shrink_factor: 2 pad_beg: -1 }"): (
        "Foreign('Interp', (3, 4, 4), costs=Operations(multiply=192, add=144), mixes='space') 3x4x4"
    ),
    layer("Interp", "interp_param { height: 5 width: 6 }"): (
        "Foreign('Interp', (3, 5, 6), costs=Operations(multiply=360, add=270), mixes='space') 3x5x6"
    ),
    layer("Upsample", "upsample_param { scale: 3 }"): "Interpolate(3) 3x24x24",
    layer("Correlation", "correlation_param { kernel_size: 1 max_displacement: 2 pad: 2 }", "data data"): (
        "Foreign('Correlation', (25, 8, 8), costs=Operations(mac=4800, divide=1600), mixes='channel and space') 25x8x8"
    ),
    layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"): "Permute((1, 2, 0)) 8x8x3",
    layer("Permute", "permute_param { order: 0 order: 3 }"): "Permute((2, 0, 1)) 8x3x8",
    reshape("shape { dim: 0 dim: -1 dim: 16 }"): "Reshape((-1, 16)) 12x16",
    reshape("shape { dim: -1 dim: 16 }"): "Reshape((12, 16)) 12x16",
    reshape("shape { dim: 4 dim: 2 } axis: -2 num_axes: 1"): "Reshape((3, 8, 4, 2)) 3x8x4x2",
    reshape("shape { dim: 1 dim: 1 } axis: 1 num_axes: 0"): "Reshape((1, 1, 3, 8, 8)) 1x1x3x8x8",
    layer("Flatten"): "Flatten() 192",
    layer("Flatten", "flatten_param { axis: 1 end_axis: 2 }"): "Reshape((24, 8)) 24x8",
    layer("Flatten", "flatten_param { axis: -2 }"): "Reshape((3, 64)) 3x64",
    layer("Tile", "tile_param { axis: 2 tiles: 3 }"): "Foreign('Tile', (3, 24, 8), mixes='rearrangement') 3x24x8",
    layer("Tile", "tile_param { axis: 0 tiles: 3 }"): "Foreign('Tile', (3, 3, 8, 8), mixes='rearrangement') 3x3x8x8",
    layer("Reorg", "reorg_param { stride: 2 }"): (
        "Foreign('Reorg', (12, 4, 4), mixes='rearrangement', sees=Window(kernel=(2, 2), stride=(2, 2))) 12x4x4"
    ),
    layer("ShuffleChannel", "shuffle_channel_param { group: 3 }"): "ChannelShuffle(3) 3x8x8",
    layer("ReLU"): "ReLU() 3x8x8",
    layer("ReLU6"): "ReLU6() 3x8x8",
    layer("PReLU"): "PReLU() 3x8x8",
    layer("PReLU", "prelu_param { channel_shared: true }"): (
        "Foreign('PReLU', (3, 8, 8), costs=Operations(multiply=192, compare=192), learned=(('weight', (1,)),)) 3x8x8"
    ),
    layer("ELU", "elu_param { alpha: 0.5 }"): "ELU(alpha=0.5) 3x8x8",
    layer("SELU"): "SELU() 3x8x8",
    layer("Swish", "swish_param { beta: 2 }"): "Swish(beta=2) 3x8x8",
    layer("Mish"): "Mish() 3x8x8",
    layer("HardSigmoid"): "Hardsigmoid() 3x8x8",
    layer("HardSwish"): "Hardswish() 3x8x8",
    layer("Sigmoid"): "Sigmoid() 3x8x8",
    layer("TanH"): "Tanh() 3x8x8",
    layer("BNLL"): "Softplus() 3x8x8",
    layer("Clip", "clip_param { min: 0 max: 6 }"): "Hardtanh(least=0, most=6) 3x8x8",
    layer("AbsVal"): "Foreign('AbsVal', (3, 8, 8), costs=Operations(compare=192)) 3x8x8",
    layer("Threshold"): "Foreign('Threshold', (3, 8, 8), costs=Operations(compare=192)) 3x8x8",
    layer("Power", "power_param { scale: 0.5 }"): "Constant(0.5) 3x8x8",
    layer("Power"): "Foreign('Power', (3, 8, 8)) 3x8x8",
    layer("Power", "power_param { power: 2 shift: 1 }"): (
        "Foreign('Power', (3, 8, 8), costs=Operations(multiply=192, add=192)) 3x8x8"
    ),
    layer("Power", "power_param { power: 0.5 scale: 2 }"): (
        "Foreign('Power', (3, 8, 8), costs=Operations(multiply=192, exponential=192)) 3x8x8"
    ),
    layer("Power", "power_param { power: -1 }"): "Foreign('Power', (3, 8, 8), costs=Operations(divide=192)) 3x8x8",
    layer("Exp"): "Foreign('Exp', (3, 8, 8), costs=Operations(exponential=192)) 3x8x8",
    layer("Exp", "exp_param { base: 2 shift: 1 }"): (
        "Foreign('Exp', (3, 8, 8), costs=Operations(multiply=384, exponential=192)) 3x8x8"
    ),
    layer("Log", "log_param { base: 10 shift: 1 }"): (
        "Foreign('Log', (3, 8, 8), costs=Operations(multiply=192, add=192, exponential=192)) 3x8x8"
    ),
    layer("Dropout"): "Dropout() 3x8x8",
    layer("SELUDropout"): "Dropout() 3x8x8",
    layer("Scale"): "Scale() 3x8x8",
    layer("Scale", "scale_param { num_axes: 0 }"): (
        "Foreign('Scale', (3, 8, 8), costs=Operations(multiply=192), learned=(('weight', (1,)),)) 3x8x8"
    ),
    layer("Scale", "scale_param { axis: 2 num_axes: -1 }"): (
        "Foreign('Scale', (3, 8, 8), costs=Operations(multiply=192), learned=(('weight', (8, 8)),)) 3x8x8"
    ),
    layer("Bias"): "Bias() 3x8x8",
    layer("Bias", "bias_param { axis: -1 }"): (
        "Foreign('Bias', (3, 8, 8), costs=Operations(add=192), learned=(('bias', (8,)),)) 3x8x8"
    ),
    layer("BatchNorm"): "BatchNorm(affine=False) 3x8x8",
    layer("BN"): "BatchNorm() 3x8x8",
    layer("LRN"): "LocalResponseNorm(alpha=1.0) 3x8x8",
    layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"): (
        "Foreign('LRN', (3, 8, 8), costs=Operations(multiply=1920, add=1920, divide=192, exponential=192), "
        "mixes='space', sees=Window(kernel=(3, 3), padding=(1, 1))) 3x8x8"
    ),
    layer("MVN"): (
        "Foreign('MVN', (3, 8, 8), costs=Operations(multiply=192, add=579, divide=198, exponential=3), mixes='space') "
        "3x8x8"
    ),
    layer("MVN", "mvn_param { across_channels: true normalize_variance: false }"): (
        "Foreign('MVN', (3, 8, 8), costs=Operations(add=384, divide=1), mixes='channel and space') 3x8x8"
    ),
    layer("Normalize", "norm_param { across_spatial: false channel_shared: false }"): (
        "Foreign('Normalize', (3, 8, 8), costs=Operations(multiply=384, add=256, divide=192, exponential=64), "
        "mixes='channel', learned=(('weight', (3,)),)) 3x8x8"
    ),
    layer("Softmax"): "Softmax() 3x8x8",
    layer("Softmax", "softmax_param { axis: -1 }"): "Softmax(axis=2) 3x8x8",
    layer("SoftmaxWithLoss"): "Softmax() 3x8x8",
    'layers { name: "l" type: SOFTMAX_LOSS bottom: "data" }': "Softmax() 3x8x8",
    layer("ArgMax", "argmax_param { axis: 1 }"): "ArgMax() 1x8x8",
    layer("ArgMax", "argmax_param { out_max_val: true top_k: 5 }"): (
        "Foreign('ArgMax', (2, 5), costs=Operations(compare=576), mixes='channel and space') 2x5"
    ),
    layer("Reduction", "reduction_param { axis: 2 operation: MEAN }"): (
        "Foreign('Reduction', (3,), costs=Operations(add=192, divide=3), mixes='space') 3"
    ),
    layer("Reduction", "reduction_param { operation: SUMSQ coeff: 0.5 }"): (
        "Foreign('Reduction', (1,), costs=Operations(multiply=193, add=192), mixes='channel and space') 1"
    ),
    layer("DenseCRF"): "NotCounted('DenseCRF', (3, 8, 8)) 3x8x8",
    layer("PriorBox", "prior_box_param { min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3 }"): (
        "Foreign('PriorBox', (2, 1536), mixes='rearrangement') 2x1536"  # 8 x 8 x (1, 2, 1/2, 3, 1/3 and the large) x 4
    ),
    layer("PriorBox", "prior_box_param { min_size: 30 aspect_ratio: 2 aspect_ratio: 1 flip: false }"): (
        "Foreign('PriorBox', (2, 512), mixes='rearrangement') 2x512"
    ),
    layer("Eltwise", "eltwise_param { operation: 2 }", "data data"): "Maximum() 3x8x8",
    layer("Filter", bottoms="data data"): "Foreign('Filter', (3, 8, 8), mixes='rearrangement') 3x8x8",
    layer("Concat", "concat_param { axis: 3 }", "data data"): "Concat(axis=2) 3x8x16",
    layer("Split", tops="a b") + layer("ReLU", bottoms="b"): "ReLU() 3x8x8",
    layer("implicit") + layer("ReLU", bottoms="l", tops="r"): "ReLU() 3x8x8",
}


@pytest.mark.parametrize(("layers", "expected"), ONE.items())
def test_options_mean_what_they_mean_in_caffe(layers, expected):
    assert read(layers) == [expected]


SEVERAL = {
    layer("InnerProduct", "inner_product_param { num_output: 5 axis: 3 }"): [
        "Reshape((24, 8)) 24x8",
        "FullyConnected(5) 24x5",
        "Reshape((3, 8, 5)) 3x8x5",
    ],
    layer("InnerProduct", "inner_product_param { num_output: 5 axis: -2 }"): [
        "Reshape((3, 64)) 3x64",
        "FullyConnected(5) 3x5",
    ],
    layer("BN", "bn_param { bn_mode: INFERENCE }"): ["Scale() 3x8x8", "Bias() 3x8x8"],
    layer("SPP", "spp_param { pyramid_height: 2 }"): [
        "MaxPool(8, stride=8, ceil=True) 3x1x1",
        "MaxPool(4, stride=4, ceil=True) 3x2x2",
        "Flatten() 3",
        "Flatten() 12",
        "Concat() 15",
    ],
    layer("Slice", "slice_param { axis: 2 slice_point: 3 }", tops="a b"): [
        "Slice(0, 3, axis=1) 3x3x8",
        "Slice(3, 8, axis=1) 3x5x8",
    ],
    layer("Scale", "scale_param { bias_term: 1 }"): ["Scale() 3x8x8", "Bias() 3x8x8"],
    pooling("kernel_size: 2 stride: 2", "l mask"): [
        "MaxPool(2, stride=2, ceil=True) 3x4x4",
        "ArgMaxPool(2, stride=2, ceil=True, beside_pool=True) 3x4x4",
    ],
    layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", tops="g")
    + layer("Axpy", bottoms="g data data"): [
        "GlobalAvgPool() 3x1x1",
        "Multiply() 3x8x8",
        "Add() 3x8x8",
    ],
    layer("Parameter", "parameter_param { shape { dim: 3 } }", bottoms="", tops="p") + layer("Bias", "", "data p"): [
        "Foreign('Parameter', (3,), learned=(('weight', (3,)),)) 3",
        "Reshape((3, 1, 1)) 3x1x1",
        "Foreign('Bias', (3, 8, 8), costs=Operations(add=192)) 3x8x8",
    ],
}


@pytest.mark.parametrize(("layers", "expected"), SEVERAL.items())
def test_some_layers_are_several_of_ours(layers, expected):
    assert read(layers) == expected


def test_every_type_with_a_rule_has_a_test():
    files = [*DATA.glob("*.prototxt"), *Path(__file__).parent.glob("test_caffe_*.py")]
    texts = [*ONE, *SEVERAL, *[file.read_text(encoding="utf-8") for file in files]]
    named = [name for text in texts for name in re.findall(r'type:\s*"?(\w+)|"([A-Z]\w+)"', text)]
    missing = RULES.keys() - {"".join(name).replace("_", "").lower() for name in named}
    assert not missing, f"add {', '.join(sorted(missing))} to ONE, with the layer that it becomes"


VOLUME = 'input: "data" input_shape { dim: 1 dim: 2 dim: 6 dim: 8 dim: 10 }\n'


def test_three_axes_are_convolved_by_the_arithmetic_of_two():
    options = "num_output: 4 kernel_size: 3 stride: 2 stride: 1 stride: 1 pad: 1"
    (row,) = account(prototxt.read(VOLUME + convolution(options)))
    assert row.output == (4, 3, 8, 10)
    assert row.parameters == 4 * 2 * 27 + 4
    assert row.operations == Operations(mac=4 * 3 * 8 * 10 * 2 * 27, add=4 * 3 * 8 * 10)
    (row,) = account(
        prototxt.read(VOLUME + convolution("num_output: 4 kernel_size: 2 stride: 2 group: 2", "Deconvolution"))
    )
    assert (row.output, row.parameters) == ((4, 12, 16, 20), 2 * 2 * 8 + 4)
    assert row.operations.mac == 6 * 8 * 10 * 2 * 2 * 8


def test_a_batch_norm_of_a_volume_has_the_tensors_of_any():
    (row,) = account(prototxt.read(VOLUME + layer("BN")))
    assert (row.parameters, row.buffers) == (4, 4)
    assert row.operations == Operations(multiply=960, add=960)


CLIP = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 13 dim: 10 }\n'


def clip(type: str, field: str, options: str) -> tuple[str, int, int, int]:
    graph = prototxt.read(CLIP + layer(type, f"{field} {{ {options} }}"))
    (row,) = account(graph).rows
    return "x".join(map(str, row.output)), row.parameters, row.operations.mac, row.operations.compare


def test_clips_are_convolved_and_pooled_as_c3d_does():
    """torch's own modules have the same sizes: nn.Conv3d, nn.MaxPool3d(ceil_mode=True), nn.ConvTranspose3d."""
    import torch
    from torch import nn

    x = torch.zeros(1, 3, 8, 13, 10)
    ours = [
        clip(type, field, options)
        for type, field, options in (
            (
                "CONVOLUTION3D",
                "convolution_param",
                "num_output: 4 kernel_size: 3 kernel_depth: 2 stride: 2 temporal_pad: 1 pad: 1 filter_group: 2",
            ),
            ("Convolution3D", "convolution3d_param", "num_output: 2 kernel_size: 1 kernel_depth: 3 temporal_stride: 2"),
            ("DECONVOLUTION3D", "convolution_param", "num_output: 2 kernel_size: 4 kernel_depth: 2 stride: 2 pad: 1"),
            ("Pooling3D", "pooling3d_param", "pool: MAX kernel_size: 2 kernel_depth: 3 stride: 2 temporal_stride: 2"),
        )
    ]
    modules = [
        nn.Conv3d(3, 4, (2, 3, 3), (1, 2, 2), (1, 1, 1)),
        nn.Conv3d(3, 2, (3, 1, 1), (2, 1, 1)),
        nn.ConvTranspose3d(3, 2, (2, 4, 4), (1, 2, 2), (0, 1, 1)),
        nn.MaxPool3d((3, 2, 2), 2, ceil_mode=True),
    ]
    for (shape, parameters, _, _), module in zip(ours, modules, strict=True):
        assert shape == "x".join(map(str, module(x).shape[1:]))
        assert parameters == sum(p.numel() for p in module.parameters())
    assert [macs for _, _, macs, _ in ours] == [
        (9 * 7 * 5) * 4 * 3 * 18,
        (3 * 13 * 10) * 2 * 3 * 3,
        (8 * 13 * 10) * 3 * 2 * 32,
        0,
    ]
    assert ours[-1][-1] == (3 * 4 * 7 * 5) * 12
