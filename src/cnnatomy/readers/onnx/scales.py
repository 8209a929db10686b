"""Whether each operator takes a quantised map for the real numbers that it was a rounding of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cnnatomy.errors import UserError, quoted
from cnnatomy.readers.onnx.checks import node_text
from cnnatomy.readers.onnx.model import OnnxModel
from cnnatomy.readers.onnx.values import Known, Mapped

MADE = {
    "QuantizeLinear": (1, 2),
    "QLinearConcat": (0, 1),
    "QGemm": (7, 8),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), (6, 7)),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearReduceMean"), (3, 4)),
    **dict.fromkeys(("QLinearGlobalAveragePool", "QLinearAveragePool"), (3, 4)),
}
"""Where, among the inputs of what makes a quantised map, its scale and its zero are."""

MOVED = set(
    """Identity Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Gather GatherElements GatherND Tile
    Expand Pad Resize Upsample DepthToSpace SpaceToDepth MaxPool GlobalMaxPool NhwcMaxPool ReorderInput ReorderOutput
    Dropout""".split()  # noqa: SIM905 - a table of words
)
"""Operators that give elements of the map, whatever they stand for."""


class Step(NamedTuple):
    """The names of a scale and a zero; without, they are 1 and 0."""

    scale: str = ""
    zero: str = ""


def check_scales(model: OnnxModel) -> None:
    """Raises `UserError` at the first node that takes a map for one of another scale or zero.

    A quantised map is read as real numbers. An operator that takes its integers as they are, or with another scale than
    the one that they were made with, computes other numbers than the layers that are read.
    """
    steps: dict[str, Step] = {}
    for graph in model.graphs:
        for node in graph.node:
            moved, first = node.op_type in MOVED, None
            for place, name in enumerate(node.input):
                if name not in steps:
                    continue
                first = first or steps[name]
                taken = first if moved else _taken(node, place)
                if not _alike(model, steps[name], taken):
                    raise UserError(
                        f"{node_text(node)} takes {quoted(name)}, which was quantised with {_said(model, steps[name])},"
                        f" for a map of {_said(model, taken)}: weights are read where each map is made real as it was"
                        " quantised"
                    )
            if moved and first is not None:
                steps |= dict.fromkeys(node.output, first)
            elif node.op_type in MADE and isinstance(model.env.get(node.output[0]), Mapped):
                steps[node.output[0]] = Step(*(_at(node, i) for i in MADE[node.op_type]))


def _at(node: Any, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _taken(node: Any, place: int) -> Step:
    """With which scale and zero a node takes an input; without any, the integers are the numbers."""
    if node.op_type in MADE or node.op_type == "DequantizeLinear":
        return Step(_at(node, place + 1), _at(node, place + 2))
    if node.op_type == "MatMulIntegerToFloat":
        return Step(_at(node, place + 2), _at(node, place + 4))
    return Step(zero=_at(node, place + 2)) if node.op_type in ("ConvInteger", "MatMulInteger") else Step()


def _alike(model: OnnxModel, made: Step, taken: Step) -> bool:
    """Whether two scales, and two zeros, are the same numbers as far as they are known."""
    for one, other, otherwise in zip(made, taken, (1, 0), strict=True):
        a, b = _numbers(model, one, otherwise), _numbers(model, other, otherwise)
        if one != other and a is not None and b is not None and (a.size != b.size or not np.allclose(a, b, rtol=1e-5)):
            return False
    return True


def _numbers(model: OnnxModel, name: str, otherwise: float) -> Any:
    known = model.env.get(name) if name else Known((), "", np.float32(otherwise))
    if not isinstance(known, Known) or known.value is None:
        return None
    return np.asarray(known.value, np.float64).ravel()


def _said(model: OnnxModel, step: Step) -> str:
    scale, zero = (_numbers(model, name, i) for name, i in zip(step, (1, 0), strict=True))
    return " and ".join(
        f"the {what} {numbers[0]:.4g}" if numbers is not None and numbers.size == 1 else f"{what}s of its own"
        for what, numbers in (("scale", scale), ("zero", zero))
    )
