"""ONNX operators as layers of ours: a rule for each, in one table. https://onnx.ai/onnx/operators/

What no layer of ours computes, but whose operations are known, becomes `Foreign`; what has no rule, `NotCounted`.
"""

from __future__ import annotations

from typing import Any

from cnnatomy.readers.onnx.attention import attention, rotary
from cnnatomy.readers.onnx.blocked import BLOCKED
from cnnatomy.readers.onnx.checks import OFFICIAL
from cnnatomy.readers.onnx.einsum import einsum
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
from cnnatomy.readers.onnx.microsoft import MICROSOFT
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
from cnnatomy.readers.onnx.norms import batch_norm, group_norm, layer_norm, lp_norm, lrn, mean_variance, rms_norm
from cnnatomy.readers.onnx.picks import expand, gather, one_hot, scattered, tile, top
from cnnatomy.readers.onnx.pools import global_pool, pool, regions, unpool
from cnnatomy.readers.onnx.products import gemm, matmul
from cnnatomy.readers.onnx.quantised import (
    OnnxRule,
    Steps,
    as_convolution,
    as_real,
    dynamically,
    made_real,
    of_integers,
    quantised,
)
from cnnatomy.readers.onnx.recurrent import recurrent
from cnnatomy.readers.onnx.reductions import REDUCTIONS, determinant, place, reduction, running
from cnnatomy.readers.onnx.resizing import affine_grid, columns_to_image, grid_sample, resize
from cnnatomy.readers.onnx.signals import short_time_transform
from cnnatomy.readers.onnx.windows import convolution, deformable_convolution, transposed_convolution

RULES: dict[str, OnnxRule] = {
    **dict.fromkeys(COSTS, elementwise),
    **dict.fromkeys(("Add", "Sub", "Sum", "Max", "Div"), arithmetic),
    "Mul": made_real(arithmetic),
    **dict.fromkeys([*NONLINEAR, "LeakyRelu", "Elu", "Gelu", "HardSigmoid", "Clip", "Swish"], activation),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("Identity", "Cast", "CastLike", "BitCast", "DequantizeLinear"), passed),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), recurrent),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), global_pool),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), rms_norm),
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
    "Conv": convolution,
    "ConvInteger": of_integers("Conv")(convolution),
    "QLinearConv": as_convolution(convolution),
    "ConvTranspose": transposed_convolution,
    "DeformConv": deformable_convolution,
    "MaxUnpool": unpool,
    "RoiAlign": regions,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": of_integers("MatMul", -1)(matmul),
    "QLinearMatMul": as_real("MatMul", 0, 3, steps={3: Steps((4,), 5, -1)}, made=Steps((6,), 7))(matmul),
    "QuantizeLinear": quantised,
    "DynamicQuantizeLinear": dynamically,
    "Einsum": einsum,
    "Attention": attention,
    "RotaryEmbedding": rotary,
    "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp_norm,
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


def rule_for(node: Any) -> OnnxRule | None:
    """What adds the nodes of ours for one of the file; None where there is no rule for its operator."""
    if node.domain in OFFICIAL:
        return RULES.get(node.op_type)
    if node.domain == "com.microsoft":
        return MICROSOFT.get(node.op_type) or RULES.get(node.op_type)
    return BLOCKED.get(node.op_type) if node.domain == "com.microsoft.nchwc" else None
