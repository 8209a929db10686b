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
    activation,
    arithmetic,
    dropout,
    elementwise,
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
    resize,
    space_to_depth,
    split,
)
from cnnatomy.readers.onnx.norms import batch_norm, group_norm, layer_norm, lrn
from cnnatomy.readers.onnx.products import gemm, matmul
from cnnatomy.readers.onnx.reductions import REDUCTIONS, global_max, reduction
from cnnatomy.readers.onnx.windows import WEIGHT_AND_BIAS, convolution, pool, transposed_convolution

OnnxRule = Callable[[NodeCall], OnnxResult]


RULES: dict[str, OnnxRule] = {
    **dict.fromkeys(COSTS, elementwise),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mul", "Max", "Div"), arithmetic),
    **dict.fromkeys([*NONLINEAR, "LeakyRelu", "Elu", "Gelu", "HardSigmoid", "Clip"], activation),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"), passed),
    **dict.fromkeys(WEIGHT_AND_BIAS, convolution),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), matmul),
    **dict.fromkeys(("Gemm", "QGemm"), gemm),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"), move),
    **dict.fromkeys(("Gather", "Expand", "Tile", "GatherElements", "GatherND"), rearranged),
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
    "Softmax": softmax,
    "Dropout": dropout,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
"""Type of operator -> what adds its nodes and returns its outputs."""
