"""Short ways to ask an account of cnnatomy for what tables print."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import cnnatomy as cn
from cnnatomy.analysis import Account, Row, Totals, account
from cnnatomy.design import Graph
from cnnatomy.layers import Add
from cnnatomy.layers.layer import GLOBAL, Shape, pair


@functools.cache
def counted(name: str, input: Shape | None = None) -> Account:
    """The account of a network of the catalogue."""
    return account(cn.network(name, input=input).graph(), name)


def of(describe: Callable[..., Any], *shapes: Shape) -> Account:
    """The account of a network, block or layer that is in no catalogue."""
    return account(Graph.trace(describe, *shapes))


def rows(account: Account, *paths: str) -> list[Row]:
    """The layers at or below some paths, in order."""
    found = [row for row in account if any(row.path == path or row.path.startswith(path + ".") for path in paths)]
    if not found:
        raise KeyError(paths)
    return found


def totals(account: Account, *paths: str) -> Totals:
    """The sums at and below some paths."""
    return Totals.of(rows(account, *paths))


def operations(totals: Totals) -> int:
    """Operations of every kind."""
    return totals.macs + totals.multiplies + totals.adds + totals.compares + totals.divides + totals.exponentials


def output(account: Account, *paths: str) -> Shape:
    """The shape that leaves some paths."""
    return rows(account, *paths)[-1].output


def depth(part: Sequence[Row]) -> int:
    """Layers with weights on the longest path through a part."""
    return max(row.weight_layers for row in part) - part[0].weight_layers + (part[0].weights > 0)


def pixels(shape: Shape, times: str = " x ") -> str:
    """`112 x 112`: rows and columns, 1 x 1 for a vector."""
    return times.join(map(str, (*shape[1:], 1, 1)[:2]))


def size(shape: Shape, times: str = " x ") -> str:
    """`112 x 112 x 64`: rows, columns, channels."""
    return f"{pixels(shape, times)}{times}{shape[0]}"


def kernel(row: Row, times: str = " x ") -> str:
    """`3 x 3`; the whole map for a global pool, 1 x 1 for a fully connected layer."""
    of_layer = getattr(row.node.layer, "kernel", None)
    if of_layer is None:
        return pixels(row.inputs[0], times)
    return times.join(map(str, pair(of_layer)))


def stride(row: Row) -> int:
    """1 where a layer has none, or one window alone."""
    window = row.node.layer.window(*row.inputs)
    return 1 if window is None or window is GLOBAL else window.stride[0]


def products(part: Iterable[Row]) -> list[Row]:
    """The layers with weights, without those of shortcuts and gates."""
    return [row for row in part if row.weights and not {"shortcut", "se"} & set(row.path.split("."))]


def stages(account: Account, path: str) -> list[list[Row]]:
    """The parts just below a path, as lists of layers; what joins them (an addition, a concatenation) is left out."""
    level = path.count(".") + 1
    parts = groupby(rows(account, path), key=lambda row: row.path.split(".")[level])
    found = [list(part) for _, part in parts]
    return [part for part in found if any(row.weights for row in part)]


def brackets(account: Account, path: str, form: str, groups: str = "") -> str:
    """`[ 1 x 1, 64 ; 3 x 3, 64 ; 1 x 1, 256 ] x 3`: what a stage repeats, its convolutions written as `form` says.

    `form` may use {kernel} and {channels}; a grouped convolution is followed by `groups`, `C` or `G`, and their number.
    """
    blocks = [_block(part, form, groups) for part in stages(account, path)]
    return " , ".join(f"[ {text} ] x {len(list(alike))}" for text, alike in groupby(blocks))


def _block(part: Sequence[Row], form: str, groups: str) -> str:
    steps = []
    sums = [row.output[0] for row in part if isinstance(row.node.layer, Add)]
    convolutions = products(part)
    for row in convolutions:
        channels = str(row.output[0])
        if row is convolutions[-1] and sums and row.output[0] > sums[-1]:
            channels = f"{sums[-1]} (+{row.output[0] - sums[-1]})"  # dual paths: what is added, what is concatenated
        step = form.format(kernel=kernel(row), channels=channels)
        number = getattr(row.node.layer, "groups", 1)
        steps.append(f"{step}, {groups}={number}" if groups and number > 1 else step)
    gate = [row.output[0] for row in part if ".se." in row.path and row.weights]
    if gate:
        steps.append(f"fc, {gate}")
    return " ; ".join(steps)
