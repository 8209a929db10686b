"""Caffe prototxt files: read as Caffe runs them in the test phase, with Netscope's totals for its presets."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.build import build
from cnnatomy.design.builder import MODULE_ATTRIBUTES
from cnnatomy.layers import BatchNorm, LocalResponseNorm, Softmax, TransposedConv
from cnnatomy.layers.layer import elements
from cnnatomy.readers import read_graph
from cnnatomy.readers.caffe import prototxt
from cnnatomy.readers.inputs import parse
from helpers import flops, mutations, shapes_by_path, tensors

DATA = Path(__file__).parent / "data"
FILES = ("fire", "residual", "old")


def counted(name: str) -> cn.analysis.Account:
    return account(prototxt.open(str(DATA / f"{name}.prototxt")), name)


def rows(name: str) -> dict[str, str]:
    return {row.path: f"{row.layer} {'x'.join(map(str, row.output))}" for row in counted(name)}


def test_a_deploy_file_is_read_layer_by_layer():
    """Caffe rounds 16 pixels pooled 3x3/2 up to 8, where torch has 7; the batch of 4 is no part of a shape."""
    assert rows("fire") == {
        "conv1": "Conv(16, 3, stride=2) 16x16x14",
        "relu_conv1": "ReLU() 16x16x14",
        "pool1": "MaxPool(3, stride=2, ceil=True) 16x8x7",
        "norm1": "LocalResponseNorm() 16x8x7",
        "fire2.squeeze1x1": "Conv(4, 1) 4x8x7",
        "fire2.relu_squeeze1x1": "LeakyReLU(slope=0.1) 4x8x7",
        "fire2.expand1x1": "Conv(8, 1) 8x8x7",
        "fire2.expand3x3": "Conv(8, 3, padding=1, groups=2, bias=False) 8x8x7",
        "fire2.concat": "Concat() 16x8x7",
        "dw": "DepthwiseConv(3, padding=1) 16x8x7",
        "drop": "Dropout() 16x8x7",
        "fc_flatten": "Flatten() 896",
        "fc": "FullyConnected(10) 10",
        "prob": "Softmax() 10",
    }


def test_of_a_train_and_test_file_the_test_phase_is_read():
    """The data of the test phase, batch norm as one layer, no dropout of training, no accuracy, softmax as loss."""
    got = rows("residual")
    assert got["conv1"] == "Conv(8, 3, padding=1, bias=False) 8x16x16"
    assert got["bn1"] == got["bn2"] == "BatchNorm() 8x16x16"
    assert got["gated"] == "Multiply() 8x16x16"
    assert got["loss"] == "Softmax() 5"
    assert not {"scale1", "scale2", "train_only", "accuracy", "data"} & set(got)


def test_a_type_without_a_rule_is_refused_where_it_stands():
    with pytest.raises(cn.UserError) as caught:
        prototxt.read(NET + LATER, "x.prototxt")
    message = str(caught.value)
    assert message.startswith("x.prototxt, line 2: layer 'l': type 'Sigmoidd' has no rule here, so the shape of what")
    assert "Did you mean sigmoid" in message
    assert "Take the layer out of the file" in message


def test_the_format_of_2014_is_read_and_shared_weights_count_once():
    got = rows("old")
    assert got["pool1"] == "MaxPool(2, stride=2, ceil=True) 6x15x11"
    assert got["pool2"] == "MaxPool(2, stride=2, ceil=True) 6x8x6"
    assert got["score2"] == "TransposedConv(4, 4, stride=2, bias=False) 4x18x14"
    assert got["crop"] == "Crop((0, 3, 0, 3)) 4x15x11"
    assert [got[f"halves_{i}"] for i in (1, 2)] == ["Slice(0, 1) 1x15x11", "Slice(1, 4) 3x15x11"]
    assert got["difference_coeff2"] == "Constant(-1.0) 2x13x9"
    assert {row.path: row.parameters for row in counted("old") if row.weights or row.path == "big_b"} == {
        "conv1": 6 * 3 * 9 + 6,
        "score": 4 * 6 + 4,
        "score2": 4 * 4 * 16,
        "big_a": 2 * 9 + 2,
        "big_b": 0,
    }


@pytest.mark.parametrize("name", ["fire", "old"])
def test_what_was_read_is_built_and_torch_agrees(name):
    graph = prototxt.open(str(DATA / f"{name}.prototxt"))
    module = build(graph)
    (x,) = tensors([x.shape for x in graph.inputs], batch=1)
    assert flops(module, x) == 2 * account(graph).totals.macs
    seen = shapes_by_path(module, x)
    assert {node.path: seen[node.path] for node in graph} == {node.path: node.output.shape for node in graph}


def test_the_names_of_a_file_nest_at_their_slashes():
    names = " ".join(line.path for line in counted("fire").at_depth(1))
    assert names == "conv1 relu_conv1 pool1 norm1 fire2 dw drop fc_flatten fc prob"
    assert counted("fire").part("fire2").parameters == 68 + 40 + 144


NET = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
CONV = 'layer {{ name: "{}" type: "Convolution" bottom: "data" top: "c" convolution_param {{ {} }} }}'


LATER = 'layer { name: "l" type: "Sigmoidd" bottom: "data" top: "l" } layer { name: "r" type: "ReLU" bottom: "l" }'


def read(layers: str) -> dict[str, str]:
    graph = prototxt.read(NET + layers)
    return {node.path: f"{node.layer!r} {'x'.join(map(str, node.output.shape))}" for node in graph}


def test_names_are_made_safe_for_torch():
    names = ("training", "a.b", "_c", "a.b", "type", "3x3 conv")
    layers = [CONV.format(name, "num_output: 1 kernel_size: 1") for name in names]
    graph = prototxt.read(NET + "\n".join(one.replace('top: "c"', f'top: "{i}"') for i, one in enumerate(layers)))
    assert [node.path for node in graph] == ["training_", "a_b", "c", "a_b_2", "type_", "3x3_conv"]
    build(graph)


def test_the_names_that_torch_keeps_are_known():
    from torch import nn

    assert {name for name in dir(nn.Module()) if not name.startswith("_")} <= MODULE_ATTRIBUTES


MISTAKES = {
    "layer {": "x.prototxt, line 2: not a valid prototxt: the '{' of line 2 is never closed",
    "layer }": "line 2: not a valid prototxt: expected ':' or '{' after 'layer', got '}'",
    "layer { name: }": "line 2: not a valid prototxt: expected a value, got '}'",
    "layer {\n name: 'a\n}": 'line 3: not a valid prototxt: cannot read "\'a"',
    "layer: 3": "line 2: layer: expected a message in braces, got 3",
    "layer { " * 110: "messages nest deeper than 100",
    "name: 'solver'": "there is no layer in it; a network is expected, not a solver",
    "layer { name: 'a' bottom: 'data' }": "line 2: a layer needs a type",
    CONV.format("c", "kernel_size: 3"): "line 2: num_output is missing",
    CONV.format("c", "num_output: 3"): "line 2: kernel_size is missing",
    CONV.format("c", "num_output: 3.5 kernel_size: 1"): "num_output: expected an integer, got 3.5",
    CONV.format("c", "num_output: 3 kernel_size: 9"): "line 2: c: Conv(3, 9) got 3x8x8, needs at least 9x9 pixels",
    CONV.format("c", "num_output: 3 kernel_size: 1 bias_term: maybe"): "bias_term: expected true or false, got 'maybe'",
    CONV.format("c", "num_output: 3 kernel_size: 1 1"): "expected the name of a field, got '1'",
    CONV.format("c", "num_output: " + "1" * 99 + " kernel_size: 1"): "a number of 99 characters",
    "layer { name: 'a' type: 'ReLU' bottom: 'dat' }": "reads 'dat', which no layer before it makes. Did you mean data",
    "layer { name: 'a' type: 'Input' top: 'b' input_param { shape { dim: 1 dim: 0 } } }": "must be from 1 to 1,000,000",
    CONV.format("c", "num_output: 0 kernel_size: 1"): "layer 'c': Conv: channels must be a positive integer, got 0",
    CONV.format("c", "num_output: 1 kernel_size: 1 stride: 0"): "layer 'c': Conv: stride must be a positive integer",
    CONV.format("c", f"num_output: {10**18} kernel_size: 1"): "at most 1,000,000,000, got 1000000000000000000",
    2 * "layer { name: 'a' type: 'ReLU' bottom: 'data' top: 't' }\n": "layer 'a' makes 't', which layer 'a' of line 2",
    "layer { name: 'a' type: 'ReLU' bottom: 'd\x1b[31mta' }": r"layer 'a' reads 'd\x1b[31mta', which no layer",
    "layer{}" * 150_000: "it has more than 300,000 words, numbers and marks",
    f"layer {{ name: '{'a' * 100_001}'": "a string of 100,003 characters; at most 100,000 are expected",
    "layer { name: 'd' type: 'Data' top: 'd' } layer { name: 'r' type: 'ReLU' bottom: 'd' }": (
        "line 2: the file does not say how large the input 'd' is; give --input"
    ),
}


@pytest.mark.parametrize("layers", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_line(layers):
    with pytest.raises(cn.UserError) as caught:
        prototxt.read(NET + layers, "x.prototxt")
    assert MISTAKES[layers] in str(caught.value)
    assert str(caught.value).startswith("x.prototxt")


TEXTS = [(DATA / f"{name}.prototxt").read_text() for name in FILES]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TEXTS), st.integers(0, 4000), st.integers(0, 40), st.text(max_size=4) | st.sampled_from("{}:<>0")
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(text, start, length, instead):
    damaged = text[:start] + instead + text[start + length :]
    with contextlib.suppress(cn.UserError):
        account(prototxt.read(damaged))


def test_a_damaged_byte_is_read_or_refused_and_nothing_else() -> None:
    for text in TEXTS:
        for content in mutations(text.encode(), 200):
            with contextlib.suppress(cn.UserError):
                account(prototxt.read(content.decode("latin-1")))


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_text():
    assert len(prototxt.read("\ufeff" + NET + CONV.format("c", "num_output: 1 kernel_size: 1")).nodes) == 1


def test_a_name_with_control_characters_is_a_path_without():
    graph = prototxt.read(NET + CONV.format("a\x1b[31m\u202eb", "num_output: 1 kernel_size: 1"))
    assert graph.nodes[0].path == "a_[31m_b"


def test_a_file_is_found_by_its_suffix_and_takes_another_input(tmp_path):
    graph, name = read_graph(str(DATA / "fire.prototxt"), input=(1, 64, 64))
    assert graph.inputs[0].shape == (1, 64, 64)
    assert name.endswith("fire.prototxt")
    with pytest.raises(cn.UserError, match="cannot read the prototxt: No such file"):
        read_graph(str(tmp_path / "none.prototxt"))
    (tmp_path / "binary.prototxt").write_bytes(bytes(range(256)))
    with pytest.raises(cn.UserError, match="not a text file"):
        read_graph(str(tmp_path / "binary.prototxt"))


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "x.prototxt").write_text(NET)
    monkeypatch.setattr(prototxt, "MAX_DESIGN_BYTES", 10)
    with pytest.raises(cn.UserError, match="may have at most 10 bytes"):
        prototxt.open(str(tmp_path / "x.prototxt"))


# Netscope's presets, where they are at hand (they are no part of this repository).

NETSCOPE = Path(__file__).resolve().parents[3] / "shared" / "netscope"
PRESETS = json.loads((NETSCOPE / "totals.json").read_text()) if NETSCOPE.is_dir() else {}
BATCHES = {"googlenet": 10, "vgg-16": 10}
OFFSETS_OF_DECONVOLUTIONS = {"fcn-16s": 2 * 21}  # Netscope's formula leaves them out; Caffe has them by default
IMPLICIT = {"fcn-16s": 21 * 22 * 22}  # a blob that no layer makes counts as a layer there (score-pool4c)


def preset(name: str) -> cn.analysis.Account:
    return account(prototxt.open(str(NETSCOPE / f"{name}.prototxt")), name)


def as_netscope_counts(row: cn.analysis.Row) -> Counter[str]:
    """What its analyzer makes of a layer: (macc, comp, add, div, exp), parameters and activations.

    Bias additions are nowhere; LRN has macc, two divisions and two parameters; Caffe's Scale is macc and its BatchNorm
    add and div, with a feature map for each; dropout compares; means divide nothing; a transposed convolution has macc
    for each output pixel, times (kernel / stride)^2.
    """
    n, layer, got = elements(row.output), row.node.layer, row.operations
    bias = elements(layer.parameters(*row.inputs).get("bias", (0,))) if row.weights else 0
    counts = Counter(macc=got.mac, comp=got.compare, param=row.parameters, activation=n)
    counts["add"] = got.add - bias * n // row.output[0]
    if isinstance(layer, LocalResponseNorm):
        counts += Counter(macc=layer.size * n, div=2 * n, exp=n, param=2)
        counts["add"] = n
    elif isinstance(layer, BatchNorm):
        counts += Counter(macc=n, div=n, activation=n)
    elif isinstance(layer, Softmax):
        counts += Counter(div=n, exp=n)
    elif isinstance(layer, TransposedConv):
        counts["macc"] = row.inputs[0][0] * n * (layer.kernel // layer.stride) ** 2
    elif "Dropout" in row.layer:
        counts["comp"] = n
    elif "Flatten" in row.layer:
        counts["activation"] = 0
    return counts


@pytest.mark.skipif(not PRESETS, reason="Netscope's presets are not at hand")
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_of_netscope_has_its_totals(name):
    got = sum(map(as_netscope_counts, preset(name)), Counter())
    got["param"] -= OFFSETS_OF_DECONVOLUTIONS.get(name, 0)
    got["activation"] += IMPLICIT.get(name, 0)
    batch = BATCHES.get(name, 1)
    expected = {key: value for key, value in PRESETS[name].items() if key in got and value is not None}
    assert {key: got[key] * (1 if key == "param" else batch) for key in expected} == expected


@pytest.mark.skipif(not PRESETS, reason="Netscope's presets are not at hand")
def test_alexnet_is_nan_in_netscope_and_a_number_here():
    """Issue 30 there: the data layer has no batch. 724,406,816 MACs are what the paper's two groups need."""
    assert PRESETS["alexnet"]["macc"] is None
    totals = preset("alexnet").totals
    assert totals.macs == cn.network("caffenet").account().totals.macs == 724_406_816
    assert (totals.parameters, totals.not_counted) == (60_965_224, 0)


@pytest.mark.skipif(not PRESETS, reason="Netscope's presets are not at hand")
def test_the_crop_to_a_larger_map_is_said_to_be_not_counted():
    """The preset has lost the published FCN's padding of 100: Caffe would refuse it, and Netscope does not look."""
    (unknown,) = [row for row in preset("fcn-16s") if row.kind == "not counted"]
    assert (unknown.path, unknown.inputs[0], unknown.output) == ("upscore", (21, 368, 368), (21, 500, 500))


@pytest.mark.skipif(not PRESETS, reason="Netscope's presets are not at hand")
@pytest.mark.parametrize(
    ("name", "ours", "offsets", "macs"),
    [
        ("resnet-50", "resnet-50-v1", 64, 0),  # its first convolution has offsets, superfluous before batch norm
        ("vgg-16", "vgg-16", 0, 0),
        ("squeezenet", "squeezenet-1.0", 0, 1000 * 512 * (15**2 - 13**2)),  # its last 1x1 convolution pads
        ("googlenet", "googlenet", 0, 0),
    ],
)
def test_a_preset_costs_what_the_network_of_the_catalogue_costs(name, ours, offsets, macs):
    theirs = preset(name)
    here = cn.network(ours).account(theirs.input)
    assert theirs.totals.macs == here.totals.macs + macs
    assert theirs.totals.parameters == here.totals.parameters + offsets


def test_a_batch_norm_and_its_scale_are_shared_by_the_names_of_each():
    twin = """layer {{ name: "c{0}" type: "Convolution" bottom: "data" top: "c{0}"
      param {{ name: "w" }} convolution_param {{ num_output: 4 kernel_size: 1 bias_term: false }} }}
    layer {{ name: "b{0}" type: "BatchNorm" bottom: "c{0}" top: "c{0}" param {{ name: "m" }} param {{ name: "v{0}" }} }}
    layer {{ name: "s{0}" type: "Scale" bottom: "c{0}" top: "c{0}" param {{ name: "g" }} param {{ name: "o{0}" }}
      scale_param {{ bias_term: true }} }}\n"""
    got = account(prototxt.read(NET + twin.format(1) + twin.format(2))).totals
    assert got.parameters == 3 * 4 + 4 + 2 * 4  # the weights and the scale once, each its own bias
    assert got.buffers == 4 + 2 * 4


def test_a_scale_alone_shares_its_bias_too():
    twin = """layer {{ name: "s{0}" type: "Scale" bottom: "data" top: "s{0}" param {{ name: "g" }} param {{ name: "o" }}
      scale_param {{ bias_term: true }} }}\n"""
    assert account(prototxt.read(NET + twin.format(1) + twin.format(2))).totals.parameters == 3 + 3


def test_a_convolution_of_two_blobs_has_one_set_of_weights():
    text = """layer { name: "c" type: "Convolution" bottom: "data" bottom: "data" top: "a" top: "b"
      convolution_param { num_output: 4 kernel_size: 1 } }"""
    totals = account(prototxt.read(NET + text)).totals
    assert (totals.parameters, totals.macs) == (3 * 4 + 4, 2 * 3 * 4 * 64)


def test_the_format_of_2014_may_name_types_by_their_numbers():
    assert list(read('layers { name: "l" type: 18 bottom: "data" } layers { name: "p" type: 23 bottom: "l" }')) == [
        "l",
        "p",
    ]


def test_that_a_file_is_in_the_format_of_2013_is_said():
    with pytest.raises(cn.UserError, match=r"line 2: a layer needs a type; this is Caffe's format of 2013"):
        prototxt.read(NET + 'layers { layer { name: "c" type: "relu" } bottom: "data" top: "c" }')


DATA_LAYERS = {
    'type: "Data" transform_param { crop_size: 20 }': (3, 20, 20),
    'type: "Data" transform_param { crop_size: 20 force_gray: t }': (1, 20, 20),
    "type: DATA data_param { crop_size: 20 }": (3, 20, 20),
    'type: "ImageData" image_data_param { new_height: 20 new_width: 30 is_color: false }': (1, 20, 30),
    'type: "ImageData" transform_param { crop_size: 16 } image_data_param { new_height: 20 new_width: 30 }': (
        3,
        16,
        16,
    ),
    'type: "AnnotatedData" transform_param { resize_param { height: 30 width: 40 } }': (3, 30, 40),
    'type: "DenseImageData" dense_image_data_param { crop_height: 10 crop_width: 12 }': (3, 10, 12),
    'type: "WindowData" window_data_param { crop_size: 20 }': (3, 20, 20),
    'type: "MemoryData" memory_data_param { batch_size: 5 channels: 2 height: 6 width: 7 }': (2, 6, 7),
    'type: "DummyData" dummy_data_param { num: 4 channels: 2 height: 6 width: 7 }': (2, 6, 7),
    'type: "Input" input_param { shape: { dim: 1 dim: 2 dim: 6 dim: 7 } }': (2, 6, 7),
}


@pytest.mark.parametrize("data", DATA_LAYERS)
def test_a_data_layer_says_how_large_its_images_are(data):
    text = (
        f'layer {{ name: "d" {data} top: "d" top: "label" }}\nlayer {{ name: "r" type: "ReLU" bottom: "d" top: "r" }}'
    )
    (image,) = prototxt.read(text).inputs
    assert image.shape == DATA_LAYERS[data]


def test_the_crop_of_the_training_phase_is_taken_where_the_test_phase_says_none():
    text = """layer { name: "d" type: "Data" top: "d" include { phase: 0 } transform_param { crop_size: 20 } }
    layer { name: "d" type: "Data" top: "d" include { phase: 1 } }
    layer { name: "r" type: "ReLU" bottom: "d" top: "r" }"""
    assert prototxt.read(text).inputs[0].shape == (3, 20, 20)
    with pytest.raises(cn.UserError, match="does not say how large the input 'd' is"):
        prototxt.read(text.replace('"Data"', '"VideoData"'))  # whose channels depend on more


def test_what_losses_make_and_what_reads_it_is_left_out():
    text = """layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
    layer { name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "label" top: "loss" }
    layer { name: "sum" type: "Eltwise" bottom: "loss" bottom: "loss" top: "sum" }
    layer { name: "hard" type: "HardExamples" bottom: "r" top: "weights" }
    layer { name: "other" type: "OtherLoss" bottom: "r" bottom: "weights" top: "other" }"""
    assert list(read(text)) == ["r"]


PHASES = """input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 2 } include { phase: TRAIN } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 2 } }
"""


def test_of_a_blob_that_only_training_makes_it_is_said():
    with pytest.raises(cn.UserError) as caught:
        prototxt.read(PHASES, "x.prototxt")
    assert str(caught.value) == (
        "x.prototxt, line 3: layer 'fc' reads 'x', which no layer before it makes. Layer 'pool' of line 2 does, but is "
        "not there in the test phase (its include or exclude)"
    )


@pytest.mark.parametrize(("rule", "there"), [("min_level: 1", 0), ("max_level: -1", 0), ("min_level: -1", 1)])
def test_layers_exist_at_the_levels_that_their_rules_give(rule, there):
    """The level of a net is 0, where nobody says another."""
    last = f'layer {{ name: "relu" type: "ReLU" bottom: "data" top: "relu" include {{ {rule} }} }}'
    text = PHASES.replace("phase: TRAIN", "phase: TEST") + last
    assert sum(node.path == "relu" for node in prototxt.read(text)) == there


def test_inputs_without_sizes_are_asked_for_by_their_names():
    text = """layer { name: "data" type: "Python" top: "color" top: "depth" top: "label"
  python_param { module: "layers" layer: "DataLayer" } }
layer { name: "both" type: "Concat" bottom: "color" bottom: "depth" top: "both" }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param { num_output: 2 } }
"""
    with pytest.raises(cn.UserError, match="give --input, as in 'color:3x224x224 depth:3x224x224'"):
        prototxt.read(text)
    with pytest.raises(cn.UserError, match="the input 'depth' is; give --input, as in 'depth:3x224x224'"):
        prototxt.read(text, input=parse("color:3x8x8"))
    assert account(prototxt.read(text, input=parse("color:3x8x8 depth:1x8x8"))).totals.parameters == 4 * 8 * 8 * 2 + 2
