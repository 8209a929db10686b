"""ONNX operators as layers of ours: a rule for each, in one table. https://onnx.ai/onnx/operators/

What no layer of ours computes, but whose operations are known, becomes `Foreign`; what has no rule, `NotCounted`.
"""

from __future__ import annotations

from collections.abc import Callable

from cnnatomy.layers import (
    GlobalAvgPool,
)
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.elements import (
    COSTS,
    NONLINEAR,
    SOFTMAXES,
    activation,
    arithmetic,
    dropout,
    elementwise,
    gated,
    passed,
    prelu,
    shape,
    softmax,
)
from cnnatomy.readers.onnx.moves import (
    concat,
    cut,
    depth_to_space,
    move,
    pad,
    rearranged,
    space_to_depth,
    split,
)
from cnnatomy.readers.onnx.norms import batch_norm, group_norm, layer_norm, lrn
from cnnatomy.readers.onnx.picks import expand, gather, one_hot, scattered, tile, top
from cnnatomy.readers.onnx.products import gemm, matmul
from cnnatomy.readers.onnx.reductions import REDUCTIONS, determinant, global_max, place, reduction, running
from cnnatomy.readers.onnx.resizing import affine_grid, columns_to_image, grid_sample, resize
from cnnatomy.readers.onnx.signals import short_time_transform
from cnnatomy.readers.onnx.windows import WEIGHT_AND_BIAS, convolution, pool, transposed_convolution

OnnxRule = Callable[[NodeCall], OnnxResult]


RULES: dict[str, OnnxRule] = {
    **dict.fromkeys(COSTS, elementwise),
    **dict.fromkeys(("Add", "Sum", "Mul", "Max", "Div"), arithmetic),
    **dict.fromkeys([*NONLINEAR, "LeakyRelu", "Elu", "Gelu", "HardSigmoid", "Clip", "Swish"], activation),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("Identity", "Cast", "CastLike", "BitCast", "QuantizeLinear", "DequantizeLinear"), passed),
    **dict.fromkeys(WEIGHT_AND_BIAS, convolution),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), matmul),
    **dict.fromkeys(("Gemm", "QGemm"), gemm),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"), move),
    **dict.fromkeys(("GatherElements", "GatherND", "Trilu", "ReverseSequence", "CenterCropPad"), rearranged),
    **dict.fromkeys(("EyeLike", "RandomNormalLike", "RandomUniformLike", "Range", "ConstantOfShape"), rearranged),
    **dict.fromkeys(("Scatter", "ScatterElements", "ScatterND", "TensorScatter"), scattered),
    **dict.fromkeys(("ArgMax", "ArgMin"), place),
    **dict.fromkeys(("CumSum", "CumProd"), running),
    **dict.fromkeys(SOFTMAXES, softmax),
    "Gather": gather,
    "Expand": expand,
    "Tile": tile,
    "TopK": top,
    "OneHot": one_hot,
    "Det": determinant,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Col2Im": columns_to_image,
    "SwiGLU": gated,
    "STFT": short_time_transform,
    **dict.fromkeys(("Resize", "Upsample"), resize),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), group_norm),
    "ConvTranspose": transposed_convolution,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": lambda call: call.put(GlobalAvgPool()),
    "GlobalMaxPool": global_max,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "LRN": lrn,
    "Shape": shape,
    "Size": shape,
    "PRelu": prelu,
    "Dropout": dropout,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
"""Type of operator -> what adds its nodes and returns its outputs."""
