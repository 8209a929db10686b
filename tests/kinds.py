"""The networks of the catalogue by kind: those that differ in nothing but depth and width are of one kind.

What holds of one network of a kind holds of the others by the same blocks. `make test` asks all of them for what is
quickly told (shapes, tensors, FLOPs), and one of each kind for what takes long; `make test-full` asks all for
everything.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container, Iterable
from typing import Any

import pytest

import cnnatomy as cn
from cnnatomy.catalogue import find
from cnnatomy.design import Graph
from cnnatomy.layers import Layer

NAMES = [entry.name for entry in cn.ENTRIES]
OF_WIDTH = {"channels", "groups", "reduction", "start", "stop"}


@functools.cache
def _but_its_width(layer: Layer) -> tuple[Any, ...]:
    fields = [field.name for field in dataclasses.fields(layer) if field.name not in OF_WIDTH]
    return type(layer), getattr(layer, "groups", 1) > 1, *[repr(getattr(layer, name)) for name in fields]


def kind(graph: Graph) -> frozenset[Any]:
    """Which layers follow which, in which blocks: all that does not change with the depth or width of a network."""
    return frozenset(
        (
            type(node.scope.block),
            _but_its_width(node.layer),
            *[x.node and _but_its_width(x.node.layer) for x in node.inputs],
        )
        for node in graph
    )


_graphs = {entry.name: entry.network().graph() for entry in cn.ENTRIES}
DEPTH = {name: len(graph.nodes) for name, graph in _graphs.items()}
"""Name -> how many layers the network has."""
KINDS: dict[frozenset[Any], list[str]] = {}
"""Kind -> the names of its networks, the one with the fewest layers first."""
for _name in sorted(NAMES, key=DEPTH.__getitem__):
    KINDS.setdefault(kind(_graphs[_name]), []).append(_name)
del _graphs


def one_of_each_kind(names: Iterable[str] = NAMES) -> set[str]:
    """Of each kind that is among these networks, the one with the fewest layers."""
    known = set(names)
    return {next(name for name in alike if name in known) for alike in KINDS.values() if known & set(alike)}


def others_in_full(some: Container[str], names: Iterable[str] = NAMES) -> list[Any]:
    """Parameters for `parametrize`: these in `make test`, the others in `make test-full` alone."""
    return [name if name in some else pytest.param(name, marks=pytest.mark.full) for name in names]


def _quick() -> set[str]:
    """One of each kind; of kinds of more than 250 layers only the first of each family's file."""
    first = {}
    for name in sorted(NAMES, key=DEPTH.__getitem__):
        first.setdefault(find(name).make.__module__, name)
    return {name for name in one_of_each_kind() if DEPTH[name] <= 250 or name in first.values()}


QUICK = _quick()
each_kind = pytest.mark.parametrize("name", others_in_full(QUICK))
"""Parametrizes a test by the name of a network: those of `QUICK` in `make test`, all in `make test-full`."""

SHALLOW = {name for name in QUICK if DEPTH[name] <= 200} | {"densenet-121"}
each_shallow_kind = pytest.mark.parametrize("name", others_in_full(SHALLOW))
"""The same for what takes long even once, without the deep ones."""


def by_depth(names: Iterable[str] = NAMES) -> list[Any]:
    """Parameters for `parametrize`: torch needs its time for many layers, so networks of more than a hundred are slow.

    Those of more than 250 are left to `make test-full`, but for those of `QUICK`.
    """
    marks = {
        name: [pytest.mark.slow] * (DEPTH[name] > 100) + [pytest.mark.full] * (DEPTH[name] > 250 and name not in QUICK)
        for name in names
    }
    return [pytest.param(name, marks=marks[name]) for name in names]
