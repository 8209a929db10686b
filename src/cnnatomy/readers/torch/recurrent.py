"""What recurrent layers of torch cost where they are none of ours: several layers, both directions, GRU, cells."""

from __future__ import annotations

import torch

from cnnatomy.layers.layer import Operations
from cnnatomy.readers.torch.spec import Arguments, CostRule, times, total

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
STEP = {
    # three sigmoids (1 add) and two tanh (2 adds); cell = f * cell + i * g; state = o * tanh(cell)
    "lstm": Operations(multiply=3, add=3 * 1 + 2 * 2 + 1, divide=5, exponential=5),
    # two sigmoids and a tanh; new = tanh(W x + reset * (U h)); state = (1 - update) * new + update * state
    "gru": Operations(multiply=3, add=2 * 1 + 2 + 2, divide=3, exponential=3),
    "rnn_tanh": Operations(add=2, divide=1, exponential=1),
    "rnn_relu": Operations(compare=1),
}
"""Of each number of a state at each step, besides the products and their sums."""


def _once(kind: str, weights: list[torch.Tensor], biased: bool) -> Operations:
    """One step of one layer in one direction; its matrices are the input's, the state's and that of a projection."""
    rows = weights[0].shape[0]
    products = Operations(mac=sum(w.numel() for w in weights), add=(3 if biased else 1) * rows)
    return total(products, times(rows // GATES[kind], STEP[kind]))


def layers(kind: str) -> CostRule:
    """All layers and directions at every step; packed sequences have as many steps as they are long together."""

    def rule(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
        x, *rest = tensors
        matrices = [w for w in rest if w.dim() == 2]
        biased = any(w.dim() == 1 and w.is_floating_point() for w in rest)  # the lengths of packed ones are no biases
        each = 3 if len(matrices) > 2 and matrices[2].shape[0] != matrices[0].shape[0] else 2
        parts = [matrices[i : i + each] for i in range(0, len(matrices), each)]
        return times(x.numel() // x.shape[-1], total(*(_once(kind, part, biased) for part in parts)))

    return rule


def cell(kind: str) -> CostRule:
    """One step; after the input and the state come the two matrices and the two biases."""

    def rule(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
        x, weights = tensors[0], tensors[3 if kind == "lstm" else 2 :]
        return times(x.numel() // x.shape[-1], _once(kind, weights[:2], len(weights) > 2))

    return rule
