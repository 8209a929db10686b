"""ONNX operators of sequences: RNN, GRU and LSTM, forward, backward or both, and those of quantised files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnnatomy.layers import LSTM, RNN, Foreign, Reshape, Slice
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, TIME, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.values import Batch, Known, Mapped, TensorValue

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
USUAL = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
"""The functions of the gates, of the candidate and, of an LSTM, of the cell."""

TIMES = {"LSTM": (3, 1, 1), "GRU": (2, 1), "RNN": (1,)}
"""How often each is applied for a number of the state."""

JOINED = {"LSTM": Operations(multiply=3, add=1), "GRU": Operations(multiply=3, add=2), "RNN": NO_OPERATIONS}
"""cell = f * cell + i * g, state = o * tanh(cell); state = (1 - z) * new + z * state, and the reset gate multiplies."""

FUNCTIONS = {
    "sigmoid": Operations(add=1, divide=1, exponential=1),
    "tanh": Operations(add=2, divide=1, exponential=1),
    "relu": Operations(compare=1),
    "affine": Operations(multiply=1, add=1),
    "leakyrelu": Operations(compare=1, multiply=1),
    "thresholdedrelu": Operations(compare=1),
    "scaledtanh": Operations(multiply=2, add=2, divide=1, exponential=1),
    "hardsigmoid": Operations(multiply=1, add=1, compare=2),
    "elu": Operations(compare=1, multiply=1, add=1, exponential=1),
    "softsign": Operations(compare=1, add=1, divide=1),
    "softplus": Operations(add=1, exponential=2),
}


class _Sequence(NamedTuple):
    """What a recurrent node is: its kind, its tensors, and its sizes."""

    kind: str
    w: TensorValue
    r: TensorValue
    b: TensorValue | None
    peepholes: TensorValue | None
    steps: int
    images: int
    hidden: int
    directions: int
    first: bool
    """Whether the images come first (`layout`), and the steps after them."""

    def dims(self, output: int) -> Shape:
        """All sizes of the states of all steps, or of the last one."""
        if self.first:
            steps = (self.steps,) if output == 0 else ()
            return (self.images, *steps, self.directions, self.hidden)
        last = (self.directions, self.images, self.hidden)
        return (self.steps, *last) if output == 0 else last

    def batch(self, output: int) -> Batch:
        """Where the images lie in it."""
        return Batch(0 if self.first else 2 if output == 0 else 1)


def recurrent(call: NodeCall) -> OnnxResult:
    """RNN, GRU and LSTM; where a layer of ours computes the same it is that, all others are counted."""
    kind = call.op.removeprefix("DynamicQuantize")
    x, w, r = map(call.needed, range(3))
    quantised = kind != call.op
    b, peepholes = (call.inputs[i] if call.given(i) else None for i in (3, 7))
    if not len(x.dims) == len(w.dims) == len(r.dims) == 3:
        raise call.refusal("it needs a sequence, a weight and a weight of its state, of three axes each")
    directions = 2 if call.text("direction", "forward").lower() == "bidirectional" else 1
    first = bool(call.integer("layout", 0))
    steps, images = x.dims[1::-1] if first else x.dims[:2]
    if quantised:  # their matrices are turned: inputs by gates
        hidden, features = r.dims[1], w.dims[1]
    else:
        hidden, features = r.dims[2], w.dims[2]
    if features != x.dims[2]:
        raise call.refusal(f"it got {x.dims[2]} features, its weight reads {features}")
    rows = GATES[kind] * hidden
    if {w.dims[0], r.dims[0]} != {directions} or elements(r.dims) != directions * rows * hidden:
        raise call.refusal(f"its weights have the sizes {w.dims} and {r.dims}, which are not those of {kind}")
    sequence = _Sequence(kind, w, r, b, peepholes, steps, images, hidden, directions, first)
    if not quantised and isinstance(x, Mapped) and _is_ours(call, x, sequence):
        return _ours(call, x, sequence)
    return _counted(call, x, sequence)


def _is_ours(call: NodeCall, x: Mapped, its: _Sequence) -> bool:
    """Whether torch's own of one layer computes it: forward, with its usual functions and biases, from zeros."""
    options = {"clip", "activations", "activation_alpha", "activation_beta", "input_forget"}
    forward = call.text("direction", "forward") == "forward"
    starts = [call.known(i) for i in (5, 6) if call.given(i)]
    zeros = all(known is not None and known.value is not None and not known.value.any() for known in starts)
    given = [its.w, its.r, its.b]
    return (
        its.kind != "GRU"
        and forward
        and zeros
        and not options & call.attributes.keys()
        and all(isinstance(value, Known) for value in given)
        and not any(call.given(i) for i in (4, 7))
        and not call.output(2)
        and x.batch == its.batch(1)
        and len(x.shape) == 2
    )


def _ours(call: NodeCall, x: Mapped, its: _Sequence) -> OnnxResult:
    """(steps, features) of one image becomes (steps, hidden); of all states the last is cut out."""
    order = [0, 2, 3, 1] if its.kind == "LSTM" else [0]  # ONNX: input, output, forget, cell; torch: i, f, c, o

    def rows(array: Any) -> Any:
        parts = array[0].reshape(len(order), its.hidden, *array.shape[2:])
        return parts[order].reshape(-1, *array.shape[2:])

    def bias(half: int) -> Any:
        return lambda array: rows(np.split(array, 2, axis=1)[half])

    prepare = {1: {"weight_ih_l0": rows}, 2: {"weight_hh_l0": rows}, 3: {"bias_ih_l0": bias(0), "bias_hh_l0": bias(1)}}
    tensors = {
        name: StoredTensor(known, how)
        for at, named in prepare.items()
        if (known := call.known(at)) is not None
        for name, how in named.items()
    }
    made = call.put((LSTM if its.kind == "LSTM" else RNN)(its.hidden), x.map, tensors=tensors)
    outputs: list[Mapped | None] = [None, None]
    if call.output(0):
        shape = call.shape_of(its.dims(0), its.batch(0))
        outputs[0] = Mapped(call.put(Reshape(shape), made, part="states"), its.dims(0), its.batch(0), x.type)
    if call.output(1):
        last = call.put(Slice(its.steps - 1, its.steps, 0), made, part="last") if its.steps > 1 else made
        outputs[1] = Mapped(last, its.dims(1), its.batch(1), x.type)
    return outputs


def _counted(call: NodeCall, x: TensorValue, its: _Sequence) -> OnnxResult:
    """One node with all that it costs, of which the outputs are."""
    costs = _times(its.steps * its.directions, _step(call, x.dims[2], its))
    tensors = {
        name: value
        for name, value in (("W", its.w), ("R", its.r), ("B", its.b), ("P", its.peepholes))
        if isinstance(value, Known)
    }
    wanted = [i for i in range(3) if call.output(i)] or [0]
    shape = call.shape_of(its.dims(wanted[0]), its.batch(wanted[0]))
    layer = Foreign(call.op, shape, costs, TIME, tuple((name, known.dims) for name, known in tensors.items()))
    made = call.put(layer, *[m.map for m in call.maps], tensors=tensors)
    outputs: list[Mapped | None] = [None] * 3
    for i in wanted:
        dims, batch = its.dims(i), its.batch(i)
        if i != wanted[0]:
            further = Foreign(call.op, call.shape_of(dims, batch), NO_OPERATIONS, REARRANGEMENT)
            outputs[i] = Mapped(call.put(further, made, part=f"output{i + 1}"), dims, batch, x.type)
        else:
            outputs[i] = Mapped(made, dims, batch, x.type)
    return outputs


def _times(n: int, each: Operations) -> Operations:
    return Operations(*(n * count for count in each))


def _sum(parts: Sequence[Operations]) -> Operations:
    return Operations(*map(sum, zip(*parts, strict=True)))


def _step(call: NodeCall, features: int, its: _Sequence) -> Operations:
    """One step in one direction: both products of every gate, their sum and two biases, functions, and what joins."""
    rows = GATES[its.kind] * its.hidden
    adds = (3 if its.b is not None else 1) * rows
    parts = [Operations(mac=rows * (features + its.hidden), add=adds), _times(its.hidden, JOINED[its.kind])]
    given = [name.decode().lower() for name in call.attributes.get("activations", ())]
    names = given[: len(USUAL[its.kind])] if len(given) >= len(USUAL[its.kind]) else USUAL[its.kind]
    for name, times in zip(names, TIMES[its.kind], strict=True):
        if name not in FUNCTIONS:
            raise call.refusal(f"its activations are {', '.join(names)}; {', '.join(FUNCTIONS)} are known")
        parts.append(_times(times * its.hidden, FUNCTIONS[name]))
    if its.peepholes is not None:
        parts.append(Operations(multiply=3 * its.hidden, add=3 * its.hidden))
    if "clip" in call.attributes:  # of what goes into each function
        parts.append(Operations(compare=2 * sum(TIMES[its.kind]) * its.hidden))
    return _sum(parts)
