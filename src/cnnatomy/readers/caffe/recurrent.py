"""Caffe's layers of sequences: word vectors and recurrent layers, whose blobs are (steps, sequences, ...).

Each reads a second blob that says where a sequence goes on, by which the last state is multiplied in each step.
"""

from __future__ import annotations

from dataclasses import replace

from cnnatomy.errors import UserError
from cnnatomy.layers import Foreign, Reshape
from cnnatomy.layers.layer import REARRANGEMENT, TIME, Operations, dimensions
from cnnatomy.limits import MAX_LAYER_SIZE
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, NamedTensors, outputs, scaled, total

TYPES = {"lstm", "rnn", "lstmunit"}
"""Types that read and make sequences."""

GATES = {"lstm": 4, "rnn": 1}


def _embed(call: LayerCall) -> Blob:
    """A row of the table for each number."""
    options, x = call.param("embed_param"), call.x
    features, words = outputs(options), options.integer("input_dim", 0)
    if not (1 <= words <= MAX_LAYER_SIZE and 1 <= features <= MAX_LAYER_SIZE):
        options.fail(f"input_dim and num_output must be from 1 to {MAX_LAYER_SIZE:,}, got {words} and {features}")
    bias = options.flag("bias_term", True)
    learned: NamedTensors = (("weight", (words, features)), *((("bias", (features,)),) if bias else ()))
    shape = (*x.item, features)
    costs = Operations(add=total(shape) if bias else 0)
    return call.foreign(costs, shape, REARRANGEMENT, learned)


def _sequence(call: LayerCall, x: Blob) -> tuple[Blob, int]:
    """The blob with its steps first, and how many sequences of an image it holds."""
    if x.batch == 1:
        return x, 1
    if x.many and x.images == 1 and x.item:
        if x.item[0] > 1:
            return x, x.item[0]
        return Blob(call.add(Reshape((x.map.shape[0], *x.item[1:])), [x.map], "reshape"), 1, 1), 1
    raise UserError(f"it reads {dimensions(x.shape)}, needs (steps, sequences, ...)")


def _recurrent(call: LayerCall) -> list[Blob]:
    options, hidden = call.param("recurrent_param"), outputs(call.param("recurrent_param"))
    if not 1 <= hidden <= MAX_LAYER_SIZE:
        options.fail(f"num_output: expected a number from 1 to {MAX_LAYER_SIZE:,}, got {hidden}")
    if len(call.blobs) < 2:
        raise UserError("it reads two blobs: a sequence, and where it goes on")
    exposed = options.flag("expose_hidden", False)
    states = 2 if call.spec.type == "lstm" else 1
    x, sequences = _sequence(call, call.x)
    static = call.blobs[2] if len(call.blobs) > 2 + states * exposed else None
    features = total(x.item[1:] if sequences > 1 else x.item)
    costs, learned = _cost(call, x.map.shape[0], hidden, features, total(static.item) if static else 0)
    shape = (x.map.shape[0], *((sequences,) if sequences > 1 else ()), hidden)
    layer = Foreign(call.spec.kind, shape, scaled(sequences, costs), TIME, learned)
    on = [x, call.blobs[1], *([static] if static else [])]
    made = replace(x, map=call.add(layer, [blob.map for blob in on]))
    last = [
        replace(x, map=call.add(Foreign(call.spec.kind, (1, *shape[1:]), mixes=REARRANGEMENT), [made.map], f"last{i}"))
        for i in range(1, len(call.spec.tops))
    ]
    return [made, *(last if exposed else [])]


def _cost(call: LayerCall, steps: int, hidden: int, features: int, static: int) -> tuple[Operations, NamedTensors]:
    """What one sequence costs, and the tensors by Caffe's names."""
    lstm = call.spec.type == "lstm"
    rows, last = GATES[call.spec.type] * hidden, "c" if lstm else "h"
    learned: NamedTensors = ((f"W_x{last}", (rows, features)), (f"b_{last}", (rows,)))
    if static:
        learned += ((f"W_x{last}_static", (rows, static)),)
    learned += ((f"W_h{last}", (rows, hidden)),)
    if lstm:
        # of each state: the last one and the forget gate times whether it goes on; three sigmoids (1 addition each) and
        # two tanh (2 each); cell = f * cell + i * g, state = o * tanh(cell)
        state = Operations(multiply=5, add=3 * 1 + 2 * 2 + 1, divide=5, exponential=5)
        sums = Operations(mac=rows * (features + hidden), add=2 * rows)
    else:
        # the state and the output are tanh (2 additions each); the output has a matrix and a bias of its own
        learned += (("W_ho", (hidden, hidden)), ("b_o", (hidden,)))
        state = Operations(multiply=1, add=2 * 2, divide=2, exponential=2)
        sums = Operations(mac=rows * (features + hidden) + hidden * hidden, add=2 * rows + hidden)
    step = Operations(*(a + hidden * b for a, b in zip(sums, state, strict=True)))
    costs = scaled(steps, step)
    if static:
        costs = costs._replace(mac=costs.mac + rows * static, add=costs.add + steps * rows)
    return costs, learned


def _unit(call: LayerCall) -> list[Blob]:
    """One step of an LSTM without its matrices: the last cells, and the sums of the four gates."""
    if len(call.blobs) != 3 or call.blobs[1].item[-1:] != tuple(4 * n for n in call.x.item[-1:]):
        raise UserError("LSTMUnit reads three blobs: cells, four sums for each of them, and whether they go on")
    costs = scaled(total(call.x.item), Operations(multiply=4, add=3 * 1 + 2 * 2 + 1, divide=5, exponential=5))
    cells = call.foreign(costs, mixes=TIME, on=call.blobs[:2])
    return [cells, call.foreign(Operations(), part="top1", on=call.blobs[:2])]


RULES: dict[str, CaffeRule] = {
    "embed": _embed,
    "lstm": _recurrent,
    "rnn": _recurrent,
    "lstmunit": _unit,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
