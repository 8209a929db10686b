"""Every network at unusual sizes, classes and widths: what is predicted is what torch reports, or both refuse."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import cnnatomy as cn
from cnnatomy.catalogue import find

pytestmark = pytest.mark.slow
NAMES = [entry.name for entry in cn.ENTRIES]


def check(network: cn.Network) -> None:
    account = network.account()
    with torch.device("meta"):
        module = network.build().eval()
        x = torch.empty(2, *network.input)
    shapes: dict[str, tuple[int, ...]] = {}
    for path, part in module.named_modules():
        part.register_forward_hook(lambda _m, _i, out, path=path: shapes.update({path: getattr(out, "shape", ())[1:]}))
    with FlopCounterMode(display=False) as counter:
        module(x)
    ran = [row for row in account if row.path in shapes]  # auxiliary heads do not run in evaluation
    assert {row.path: row.output for row in ran} == {row.path: tuple(shapes[row.path]) for row in ran}
    assert counter.get_total_flops() == 2 * 2 * sum(row.macs for row in ran)
    assert sum(p.numel() for p in module.parameters()) == account.totals.parameters


@pytest.mark.parametrize("name", NAMES)
def test_unusual_sizes_and_classes(name):
    draw = random.Random(name)
    entry = find(name)
    channels, rows, _ = entry.input
    for _ in range(2):
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
