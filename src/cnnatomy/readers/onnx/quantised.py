"""Quantised operators of ONNX and onnxruntime, read as what they compute of real numbers.

A quantised map stands for the real numbers that it is a rounding of, so its scale is 1 and its zero is 0. The scales
and zeros of the file are no parameters; a quantised weight is one, with the values that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx

from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import Constant, ReLU, ReLU6
from cnnatomy.layers.layer import CHANNEL, NO_OPERATIONS, Layer, Operations, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.constants import fold
from cnnatomy.readers.onnx.elements import per_channel
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.values import REAL, Known, Mapped, TensorValue

OnnxRule = Callable[[NodeCall], OnnxResult]
FLOAT, UINT8 = int(onnx.TensorProto.FLOAT), int(onnx.TensorProto.UINT8)


class Steps(NamedTuple):
    """Where the scales and the zeros of a quantised tensor are among the inputs, and along which of its axes they are.

    `scales` may be several, as a bias has the product of two.
    """

    scales: tuple[int, ...] = ()
    zero: int | None = None
    axis: int = 0


class PlainCall(NodeCall):
    """A node read as another operator, some inputs of which are its own; of these, the quantised are made real.

    `part` is what its nodes of ours are called after those of the node itself, `attributes` what replaces its own.
    """

    def __init__(
        self,
        call: NodeCall,
        op: str,
        inputs: Sequence[TensorValue | None],
        prepare: Mapping[str, Any] | None = None,
        part: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(call.node, inputs, call.model)
        self.op, self.prepare, self._part = op, prepare or {}, part
        if attributes is not None:
            self.attributes = dict(attributes)

    def put(
        self,
        layer: Layer,
        *inputs: FeatureMap,
        part: str = "",
        tensors: Mapping[str, Known | StoredTensor | None] | None = None,
    ) -> FeatureMap:
        made = {name: self._real(one) for name, one in (tensors or {}).items()}
        return super().put(layer, *inputs, part="_".join(filter(None, (self._part, part))), tensors=made)

    def _real(self, tensor: Known | StoredTensor | None) -> Known | StoredTensor | None:
        """The tensor, prepared before whatever else the layer does to it."""
        stored = StoredTensor(tensor) if isinstance(tensor, Known) else tensor
        first = self.prepare.get(stored.known.name) if stored else None
        if stored is None or first is None:
            return tensor
        then = stored.prepare
        return StoredTensor(stored.known, first if then is None else lambda array: then(first(array)))


def plain(call: NodeCall, op: str, at: tuple[int, ...], steps: Mapping[int, Steps] | None = None) -> PlainCall:
    """The node as an operator of real numbers that reads its inputs at these places; `steps` of the quantised ones."""
    given = {i: call.inputs[i] if call.given(i) else None for i in at}
    prepare = dict(call.prepare) if isinstance(call, PlainCall) else {}
    for place, its in (steps or {}).items():
        known = call.known(place)
        if known is None or known.type in REAL:  # that of which only the sizes are followed was never rounded
            continue
        real = _dequantise(call, its)
        if known.number is not None:
            given[place] = replace(known, value=real(known.value), type=FLOAT)
        else:
            prepare[known.name] = real
            given[place] = replace(known, learned=known.learned or ((known.root, known.dims),))
    inputs = list(given.values())
    while inputs and inputs[-1] is None:
        inputs.pop()
    return PlainCall(call, op, inputs, prepare)


def _dequantise(call: NodeCall, its: Steps) -> Any:
    scales = [known.value for i in its.scales if (known := call.known(i)) is not None]
    zero = call.known(its.zero) if its.zero is not None else None
    zeros = zero.value if zero is not None else None
    unknown = any(scale is None for scale in scales) or (zero is not None and zeros is None)

    def prepare(array: Any) -> Any:
        if unknown:
            raise call.refusal("its scales and zeros are too many to be read")
        made = array.astype(np.float32)
        if zeros is not None:
            made -= _along(zeros, made.ndim, its.axis).astype(np.float32)
        for scale in scales:
            made *= _along(scale, made.ndim, its.axis)
        return made

    return prepare


def _along(numbers: Any, axes: int, axis: int) -> Any:
    """Numbers along one axis of an array of so many; one number for all."""
    if numbers.size == 1:
        return numbers.reshape(())
    return numbers.reshape([-1 if i == axis % axes else 1 for i in range(axes)]) if numbers.ndim < 2 else numbers


def as_real(
    op: str, *at: int, steps: Mapping[int, Steps] | None = None, made: Steps | None = None
) -> Callable[[OnnxRule], OnnxRule]:
    """What makes the rule for an operator of real numbers that for a quantised one; `made`: those of its output."""

    def quantised(rule: OnnxRule) -> OnnxRule:
        def real(call: NodeCall) -> OnnxResult:
            result = rule(plain(call, op, at, steps))
            return result if made is None else _cut(call, result, made)

        return real

    return quantised


def of_integers(op: str, axis: int = 0) -> Callable[[OnnxRule], OnnxRule]:
    """What makes of a rule that for products of integers; `axis` of the weight is that of its zeros.

    Where nothing but a product with a factor reads what it makes, that factor is the weight's (`made_real`).
    """

    def of_whole(rule: OnnxRule) -> OnnxRule:
        def real(call: NodeCall) -> OnnxResult:
            made = rule(plain(call, op, (0, 1), {1: Steps(zero=3, axis=axis)}))
            node = made.map.node if isinstance(made, Mapped) else getattr(made, "node", None)
            cast = call.model.only_reader(call.node.output[0])
            if node is not None and cast is not None and cast.op_type == "Cast":
                call.model.integers[id(call.model.only_reader(cast.output[0]))] = node
            return made

        return real

    return of_whole


def made_real(rule: OnnxRule) -> OnnxRule:
    """The rule for products, of which one makes a product of integers real: then its factor is the weight's there."""

    def real(call: NodeCall) -> OnnxResult:
        node = call.model.integers.get(id(call.node))
        known, maps = [value for value in call.inputs if isinstance(value, Known)], call.maps
        if node is None or not known or not maps or maps[0].map.node is not node:
            return rule(call)
        (x,), (factor,), tensors = maps, known, call.model.sources.get(node, {})
        one = factor.number is not None and len(factor.dims) <= len(x.dims)
        if factor.value is None or "weight" not in tensors or not (one or per_channel(factor, x)):
            return rule(call)
        weight, numbers = tensors["weight"], factor.value.ravel()

        def prepare(array: Any) -> Any:
            prepared = weight.prepare(array) if weight.prepare else array
            return prepared * _along(numbers, prepared.ndim, 0)

        call.model.sources[node] = {**tensors, "weight": weight._replace(prepare=prepare)}
        return call.put(Constant(1.0), x.map)

    return real


def quantised(call: NodeCall) -> OnnxResult:
    """QuantizeLinear: the map, which it cuts where its numbers end."""
    x = call.inputs[0]
    return _cut(call, replace(x, type=call.type_of()), Steps((1,), 2)) if isinstance(x, Mapped) else fold(call)


def _cut(call: NodeCall, made: OnnxResult, its: Steps) -> OnnxResult:
    """What is quantised so that it begins at 0 has no negative numbers: quantisers leave out the ReLU before it.

    At the other end stands what calibration saw, which cuts outliers at most, or the 6 of a ReLU6.
    """
    x = call.model.value(made, call.x, call.type_of()) if isinstance(made, FeatureMap) else made
    scale, zero = call.known(its.scales[0]), call.known(its.zero) if its.zero is not None else None
    if not isinstance(x, Mapped) or x.map.node is None or scale is None or scale.number is None:
        return made
    kind = onnx.helper.tensor_dtype_to_np_dtype(zero.type if zero else UINT8)
    if not np.issubdtype(kind, np.integer) or (zero.number if zero else 0) != np.iinfo(kind).min:
        return made
    if call.model.interval(x.map).low >= 0:
        return made
    most = scale.number * (np.iinfo(kind).max - np.iinfo(kind).min)
    layer: Layer = ReLU6() if abs(most - 6) <= scale.number else ReLU()
    return replace(x, map=call.put(layer, x.map, part="cut"))


as_convolution = as_real("Conv", 0, 3, 8, steps={3: Steps((4,), 5), 8: Steps((1, 4))}, made=Steps((6,), 7))
"""QLinearConv as the convolution that it is."""


def every_third(op: str) -> Callable[[OnnxRule], OnnxRule]:
    """The same for an operator of any number of inputs, with the scale and the zero of its output before them."""
    return lambda rule: lambda call: rule(plain(call, op, tuple(range(2, len(call.inputs), 3))))


def dynamically(call: NodeCall) -> OnnxResult:
    """DynamicQuantizeLinear: the map; its scale and zero are 1 and 0 to those that only make it real again.

    What the scale is multiplied with there is the scale of a weight. Otherwise they are found by the least and the
    largest element.
    """
    x = call.x
    quantised = replace(x, type=UINT8)
    scale, zero = [*call.node.output, "", ""][1:3]
    call.model.scales.add(scale)
    if not _only_undone(call, scale, zero):
        n = elements(x.shape)
        costs = Operations(compare=2 * n, add=1, divide=1)
        made = call.foreign((), costs, CHANNEL, x.map, batch=None, output=1) if call.output(1) else None
        reads = [made.map] if isinstance(made, Mapped) else [x.map]
        costs = NO_OPERATIONS if made else costs
        found = call.foreign((), costs, CHANNEL, *reads, batch=None, output=2) if call.output(2) else None
        return [quantised, made, replace(found, type=UINT8) if isinstance(found, Mapped) else found]
    for reader in call.model.readers[scale]:
        for name in reader.input if reader.op_type == "Mul" else ():
            if isinstance(known := call.model.env.get(name), Known):
                call.model.env[name] = replace(known, learned=())
    one = Known((), scale, np.float32(1), name=scale)
    return [quantised, one, Known((), zero, np.asarray(0, np.uint8), type=UINT8, name=zero)]


UNDONE = {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DequantizeLinear"}
"""Operators that take the zero of a map away again."""


def _only_undone(call: NodeCall, scale: str, zero: str) -> bool:
    """Whether what reads the scale multiplies it with the scale of a weight or of another map, or makes maps real."""
    model = call.model
    if scale in model.outputs or zero in model.outputs:
        return False

    def is_scale(name: str) -> bool:
        return name == scale or isinstance(model.env.get(name), Known) or name in model.scales

    return all(reader.op_type in UNDONE for reader in model.readers[zero]) and all(
        reader.op_type in UNDONE or (reader.op_type == "Mul" and all(map(is_scale, reader.input)))
        for reader in model.readers[scale]
    )
