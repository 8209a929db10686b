"""What printed tables mean by "parameters" and "feature memory": each way of counting, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cnnatomy.analysis.accounting import Account, Row
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    GlobalAvgPool,
    LocalResponseNorm,
    MaxPool,
    PartialConv,
    TransposedConv,
)
from cnnatomy.layers.layer import Layer, elements

_PRODUCTS: tuple[type[Layer], ...] = (Conv, DepthwiseConv, TransposedConv, PartialConv, FullyConnected)
_POOLS: tuple[type[Layer], ...] = (MaxPool, AvgPool, GlobalAvgPool, LocalResponseNorm)
_JOINS: tuple[type[Layer], ...] = (Add, Concat)


def _outputs(rows: Iterable[Row], kinds: tuple[type[Layer], ...]) -> int:
    return sum(row.feature_map_elements for row in rows if isinstance(row.node.layer, kinds))


def _without_classifier(account: Account) -> int:
    weighted = [row for row in account.rows if row.weights]
    return account.totals.parameters - (weighted[-1].parameters if weighted else 0)


PARAMETERS: dict[str, Callable[[Account], int]] = {
    "learned": lambda account: account.totals.parameters,
    "weights only": lambda account: account.totals.weights,
    "with statistics": lambda account: account.totals.parameters + account.totals.buffers,
    "without classifier": _without_classifier,
}
"""Parameters: all learned tensors (ours); weights of convolutions and fully connected layers alone; with batch-norm
statistics; without the last layer that has weights."""

FEATURE_MAPS: dict[str, Callable[[Account], int]] = {
    "every output": lambda account: account.totals.feature_map_elements,
    "ReLU in place": lambda account: _outputs(account.rows, (*_PRODUCTS, *_POOLS, *_JOINS, BatchNorm)),
    "input, products and pools": lambda account: (
        sum(elements(x.shape) for x in account.graph.inputs) + _outputs(account.rows, (*_PRODUCTS, *_POOLS))
    ),
}
"""Feature-map elements: the output of every node (ours); of convolutions, fully connected layers, batch norms, pools,
local response norms, additions and concatenations (the convention of the convnet-burden tables, where the product of a
gate is written over its input, as a ReLU is); and the input with the outputs of convolutions, fully connected layers,
pools and local response norms."""


def conventions(account: Account) -> dict[str, dict[str, int]]:
    """Every count under every convention."""
    return {
        "parameters": {name: count(account) for name, count in PARAMETERS.items()},
        "feature_map_elements": {name: count(account) for name, count in FEATURE_MAPS.items()},
    }
