"""Every network at unusual sizes, classes and widths: what is predicted is what torch reports, or both refuse."""

from __future__ import annotations

import random

import pytest
import torch

import cnnatomy as cn
from cnnatomy.catalogue import find
from helpers import on_meta, watch
from kinds import each_shallow_kind

pytestmark = pytest.mark.slow


def check(network: cn.Network) -> None:
    account = network.account()
    module, x = on_meta(network)
    ran = watch(module.eval(), x)
    rows = [row for row in account if row.path in ran.shapes]  # auxiliary heads do not run in evaluation
    assert {row.path: row.output for row in rows} == {row.path: ran.shapes[row.path] for row in rows}
    assert ran.flops == 2 * 2 * sum(row.macs for row in rows)
    assert sum(p.numel() for p in module.parameters()) == account.totals.parameters


@pytest.mark.parametrize("drawn", [1, pytest.param(2, marks=pytest.mark.full)])
@each_shallow_kind
def test_unusual_sizes_and_classes(name, drawn):
    draw = random.Random(f"{name} {drawn}")
    entry = find(name)
    channels, rows, _ = entry.input
    size = (channels, draw.randint(rows // 3, rows * 3 // 2), draw.randint(rows // 3, rows * 3 // 2))
    classes = None if entry.fixed_classes or not entry.classes else draw.randint(1, 2000)
    network = entry.network(classes, size)
    try:
        network.graph()
    except cn.ShapeError:
        with torch.device("meta"):
            module = entry.network(classes).build()  # in training, with its auxiliary heads
            with pytest.raises((RuntimeError, cn.ShapeError)):
                module(torch.empty(2, *size))
    else:
        check(network)


WIDE = [entry.name for entry in cn.ENTRIES if isinstance(entry.arguments.get("width"), float)]


@pytest.mark.parametrize("name", WIDE)
def test_unusual_widths(name):
    draw = random.Random(name)
    entry = find(name)
    network = entry.make(**{**entry.arguments, "width": draw.uniform(0.1, 2.0)}, classes=7)
    check(network.replace(input=(3, 97, 131)))
