"""Which nodes mix what lies along the axis that is taken for that of the images: then it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnatomy.readers.onnx.model import TIME_FIRST, OnnxModel
from cnnatomy.readers.onnx.values import Known, Mapped, OnnxValue

FIRST_AXIS = frozenset(
    """Conv ConvTranspose ConvInteger QLinearConv DeformConv MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool
    GlobalLpPool BatchNormalization QLinearAveragePool QLinearGlobalAveragePool
    InstanceNormalization GroupNormalization LRN DepthToSpace
    SpaceToDepth GridSample Attention QAttention MultiHeadAttention GroupQueryAttention""".split()  # noqa: SIM905
)
"""Operators that have the images on their first axis."""

ALONG = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "TopK", "LpNormalization"), -1),
    **dict.fromkeys(("Split", "Gather", "GatherElements", "ScatterElements", "ArgMax", "ArgMin"), 0),
}
"""Operators along one axis, and which it is by default."""

CHANGES = {"Slice", "Pad", "Resize", "Upsample", "Tile", "CenterCropPad"}
"""Operators that make an axis longer or shorter."""

PRODUCTS = {"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "Einsum"}

BY_DATA = {"NonMaxSuppression", "NonZero", "Unique", "Compress", "RoiAlign", "DynamicQuantizeLinear", "MaxRoiPool"}
"""Operators that find things of all images together, such as boxes, or the largest of all numbers."""


def look(model: OnnxModel, node: Any, inputs: Sequence[OnnxValue | None], made: Sequence[OnnxValue | None]) -> None:
    """Notes what a node says about where the images are."""
    maps = [x for x in inputs if isinstance(x, Mapped) and x.batch is not None]
    if not maps or node.op_type in BY_DATA:
        return
    attributes = {a.name: a.i for a in node.attribute}
    expected = {0} if node.op_type in FIRST_AXIS else None
    if node.op_type in TIME_FIRST and maps[0] is inputs[0]:
        expected = {0 if attributes.get("layout") else 1}
    seen = model.images_seen
    if expected is not None and (x := maps[0]).batch is not None:
        seen.first |= x.batch.axis in expected and x.dims[x.batch.axis] == model.images
        seen.mixed |= x.batch.axis not in expected
    results = [y for y in made if isinstance(y, Mapped)]
    for y in results:
        if y.batch is None and y.map.node is not None:
            seen.lost[y.map.node] = node.name or node.output[0]
    seen.mixed |= _mixes(node, inputs, maps, results, attributes, model.opset)


def _mixes(
    node: Any,
    inputs: Sequence[Any],
    maps: list[Mapped],
    results: list[Mapped],
    attributes: dict[str, int],
    opset: int,
) -> bool:
    """Whether a node makes of several images one thing."""
    op, x = node.op_type, maps[0]
    at = x.batch.axis if x.batch else 0
    if op in ALONG and x is inputs[0]:
        old = opset < 13 and ALONG[op] == -1 and op.endswith("max")
        axis = attributes.get("axis", 1 if old else ALONG[op]) % len(x.dims)
        return axis <= at if old else axis == at
    if op in ("CumSum", "CumProd") and isinstance(inputs[1], Known) and inputs[1].number is not None:
        return int(inputs[1].number) % len(x.dims) == at
    if op in ("LayerNormalization", "RMSNormalization"):
        return attributes.get("axis", -1) % len(x.dims) <= at
    if op in CHANGES:
        return any(len(y.dims) == len(x.dims) and y.dims[at] != x.dims[at] for y in results)
    if (op in PRODUCTS or op.startswith("Reduce")) and any(y.batch is None for y in results):
        return True
    ends = [m.batch.axis - len(m.dims) for m in maps if m.batch]
    if op in PRODUCTS and op != "Einsum" and len(maps) > 1:
        return len(set(ends)) > 1 or max(ends) >= -2
    return len(inputs) > 1 and op in BROADCAST and len(set(ends)) > 1


BROADCAST = frozenset(
    """Add Sub Mul Div Pow Max Min Mean Sum Where Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor
    Mod PRelu Concat""".split()  # noqa: SIM905
)
"""Operators that put their inputs together axis by axis."""
