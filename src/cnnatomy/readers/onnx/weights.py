"""The numbers of an ONNX model's weights: tensors of the file, and small computations of tensors of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from cnnatomy.design.graph import Node
from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.layers.layer import dimensions, elements
from cnnatomy.limits import MAX_COMPUTED_ELEMENTS, MAX_STORED_ELEMENTS
from cnnatomy.readers.onnx.checks import OFFICIAL, node_text
from cnnatomy.readers.onnx.constants import BOUNDED, SAME, computed
from cnnatomy.readers.onnx.external import outside
from cnnatomy.readers.onnx.model import STRANGE, OnnxModel
from cnnatomy.readers.onnx.values import Known

COMPUTED = {
    *BOUNDED,
    *SAME,
    *("Cast", "CastLike", "Constant", "ConstantOfShape", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceSumSquare"),
    *("ReduceLogSum", "Split", "Pad", "Relu", "Sigmoid", "Tanh", "Softplus", "EyeLike"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization"),  # weight standardisation
}
"""Operators by which files compute a weight from what they store; each takes a time in proportion to its numbers."""


class OnnxWeights:
    """The tensors of the layers of a model whose nodes have been read, in numbers."""

    def __init__(self, model: OnnxModel, folder: Path) -> None:
        self.model, self.folder = model, folder
        graphs = model.graphs
        self.stored = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
        self.makers = {name: node for graph in graphs for node in graph.node for name in node.output}
        self.left = MAX_COMPUTED_ELEMENTS

    def of(self, node: Node) -> dict[str, Any]:
        """The tensors of a layer, by their names in it.

        Raises:
            UserError: naming the tensor that has no numbers, or wrong ones, and the node of the file that computes it
                where that cannot be followed.
        """
        found = {}
        for name, (known, prepare) in self.model.sources.get(node, {}).items():
            array = self.array(known.name or known.root)
            found[name] = _real(array) if prepare is None else prepare(_real(array))
        return found

    def array(self, name: str) -> Any:
        """The numbers of a tensor that no input reaches, with what they are computed from."""
        made: dict[str, Any] = {}
        todo = [name]
        while todo:
            top = todo[-1]
            if top in made:
                todo.pop()
            elif top in self.stored:
                made[top] = self._loaded(self.stored[top])
            else:
                node = self._maker(top)
                reads = self._branch(node, top) if node.op_type == "If" else self._reads(node)
                if missing := [name for name in reads if name not in made]:
                    todo += missing
                elif node.op_type == "If":
                    made[top] = made[reads[0]]
                else:
                    made |= self._run(node, [made[one] if one in made else self._like(one) for one in node.input])
        return made[name]

    def _maker(self, name: str) -> Any:
        if name not in self.makers:
            raise UserError(
                f"the tensor {quoted(name)} has no numbers in the file: it is an input, of the network or of a loop"
            )
        return self.makers[name]

    def _reads(self, node: Any) -> list[str]:
        """The tensors whose numbers a node needs: of what CastLike casts like, often a map, only the type counts."""
        reads = list(filter(None, node.input))
        return reads[:1] if node.op_type == "CastLike" and self._like(node.input[1]) is not None else reads

    def _like(self, name: str) -> Any:
        """A number of the type of a tensor that was read, or None."""
        kind = getattr(self.model.env.get(name), "type", onnx.TensorProto.UNDEFINED)
        return np.zeros((), onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else None

    def _branch(self, node: Any, name: str) -> list[str]:
        """What an output of an If is in the branch that it takes, each time that it is read."""
        taken = self.model.taken.get(name, set())
        if len(taken) != 1:
            raise UserError(f"{node_text(node)}: which branch it takes is not one, so {quoted(name)} has no numbers")
        return list(taken)

    def _run(self, node: Any, values: list[Any]) -> dict[str, Any]:
        """The outputs of a node, computed; never more numbers than the file can be expected to need."""
        known = [self.model.env.get(name) for name in node.output if name]
        if node.op_type not in COMPUTED or node.domain not in OFFICIAL:
            raise UserError(f"{node_text(node)} computes a weight in a way that is not followed: fold constants first")
        sizes = [elements(value.dims) for value in known if isinstance(value, Known)]
        if max(sizes, default=0) > MAX_STORED_ELEMENTS:
            raise UserError(f"{node_text(node)} makes {max(sizes):,} numbers; at most {MAX_STORED_ELEMENTS:,} are read")
        self.left -= sum(sizes) + sum(value.size for value in values if value is not None)
        if self.left < 0:
            raise UserError(f"its weights take more than {MAX_COMPUTED_ELEMENTS:,} numbers to compute: fold them first")
        try:
            made = computed(node, self.model.opset, values)
        except Exception as error:  # whatever the reference raises of wrong values
            raise UserError(f"{node_text(node)} cannot be computed: {shown(error)}") from None
        return {name: np.asarray(value) for name, value in zip(node.output, made, strict=False) if name}

    def _loaded(self, tensor: Any) -> Any:
        """The numbers of a tensor of the file, or of a file beside it."""
        if tensor.data_type == onnx.TensorProto.STRING:
            raise UserError(f"the tensor {quoted(tensor.name)} is text, numbers are needed")
        if elements(tuple(tensor.dims)) > MAX_STORED_ELEMENTS:
            raise UserError(
                f"the tensor {quoted(tensor.name)} has {elements(tuple(tensor.dims)):,} numbers;"
                f" at most {MAX_STORED_ELEMENTS:,} are read"
            )
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor = outside(tensor, self.folder)
        try:
            return numpy_helper.to_array(tensor)
        except (*STRANGE, RuntimeError) as error:
            what = f"{dimensions(tuple(tensor.dims)) or 'one number'} is what it should hold"
            raise UserError(f"the tensor {quoted(tensor.name)} is damaged: {what}: {shown(error)}") from None


def _real(array: Any) -> Any:
    """An array of numbers that numpy itself calculates with: whole ones as they are, others in float32 or float64."""
    return array if array.dtype.kind in "iu" or array.dtype in (np.float32, np.float64) else array.astype(np.float32)
