"""What a torch module computes of constants and parameters alone, and sizes that the values of an example decide."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy.analysis import account


class Collated(nn.Module):
    """Puts an image into a part of a larger one of zeros, as torchvision's detectors do."""

    def __init__(self, made) -> None:
        super().__init__()
        self.conv, self.made = nn.Conv2d(3, 4, 3), made

    def forward(self, x):
        whole = self.made(x)
        whole[0, :, :8, :8].copy_(x[0])
        return self.conv(whole)


@pytest.mark.parametrize(
    "made",
    [lambda x: torch.zeros(1, 3, 10, 10), lambda x: x[0].new_full((1, 3, 10, 10), 0.0)],
    ids=["zeros", "new_full"],
)
@pytest.mark.parametrize("given", [(3, 8, 8), torch.rand(1, 3, 8, 8)], ids=["shape", "example"])
def test_what_is_written_to_a_view_of_a_constant_is_in_the_whole(made, given):
    got = account(cn.read(Collated(made).eval(), given))
    assert got.totals.macs == 4 * 8 * 8 * 27
    assert got.totals.parameters == 4 * 27 + 4
    assert any(node.path.startswith("write") or node.path == "copy" for node in got.graph)


class Kept(nn.Module):
    """A linear layer of those positions that are above zero."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.linear, self.masked = nn.Linear(4, 5), masked

    def forward(self, x):
        above = x[0, :, 0] > 0
        return self.linear(x[0][above] if self.masked else x[0][above.nonzero()[:, 0]])


@pytest.mark.parametrize(("masked", "name"), [(True, "__getitem__"), (False, "nonzero")])
def test_sizes_that_values_decide_rest_on_the_example(masked, name):
    x = torch.tensor([[[1.0] * 4, [-1.0] * 4, [2.0] * 4]])
    got = account(cn.read(Kept(masked).eval(), x))
    assert got.rests_on == (f"the values of the example ({name})",)
    assert [row.macs for row in got if row.rests_on and row.macs] == [2 * 4 * 5]


class Queries(nn.Module):
    """Returns what it makes of its queries beside what it makes of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.linear, self.key = nn.Parameter(torch.rand(10, 4)), nn.Linear(4, 6), nn.Linear(3, 4)

    def forward(self, x):
        return self.key(x), self.linear(self.queries)


def test_an_output_of_parameters_alone_is_counted():
    got = account(cn.read(Queries().eval(), (3,)))
    assert got.totals.macs == 3 * 4 + 10 * 4 * 6
    assert got.totals.parameters == 40 + 4 * 6 + 6 + 3 * 4 + 4
    assert not got.graph.unused
    assert [x.shape for x in got.graph.outputs] == [(4,), (10, 6)]


class Sized(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(self.function(x))


@pytest.mark.parametrize(
    ("function", "rows", "columns"),
    [
        (lambda x: F.interpolate(x, [torch.tensor(6), torch.tensor(5)], mode="bilinear"), 6, 5),
        (lambda x: F.interpolate(x, [torch.tensor(16), torch.tensor(5)]), 16, 5),
        (lambda x: F.adaptive_avg_pool2d(x, (torch.tensor(4), torch.tensor(3))), 4, 3),
        (lambda x: x.repeat(1, 1, torch.tensor(2), 1), 16, 8),
        (lambda x: x.narrow(2, torch.tensor(1), torch.tensor(5)), 5, 8),
        (lambda x: x.new_zeros(torch.tensor(3), 8, 8) + x, 8, 8),
        (lambda x: x.repeat_interleave(torch.tensor([1, 0, 2, 1, 1, 1, 1, 3], device=x.device), 2), 10, 8),
        (lambda x: torch.repeat_interleave(x, torch.tensor([2] * 8), dim=3), 8, 16),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_constants_say_sizes(function, rows, columns, device):
    with torch.device(device):
        module = Sized(function).eval()
    graph = cn.read(module, (3, 8, 8))
    assert graph.outputs[0].shape == (4, rows - 2, columns - 2)
    assert account(graph).totals.macs == 4 * (rows - 2) * (columns - 2) * 27


class Asks(nn.Module):
    """Looks at its input, so that it is run on the example, with weights."""

    def __init__(self, function, *parts, table=None) -> None:
        super().__init__()
        self.function, self.conv, self.unregistered = function, nn.Conv2d(3, 4, 3), parts
        self.table = torch.zeros(3, 1, 1) if table is None else table

    def forward(self, x):
        return self.function(self, x) if x.sum() < 1e9 else x


def _clips(m, x):
    with torch.no_grad():
        m.conv.weight.data.clamp_(-0.01, 0.01)
        m.conv.weight.view(-1)[3:5].mul_(2)
        m.conv.bias.copy_(torch.ones(4))
    return m.conv(x)


def _initialises(m, x):
    nn.init.normal_(m.conv.weight)
    return m.conv(x)


def _writes_out(m, x):
    torch.add(x.mean(), m.table, out=m.table)
    return m.conv(x + m.table)


def _adds(m, x):
    m.table += x.mean()
    m.table.view(-1)[1:2] = x.mean()
    return m.conv(x + m.table)


@pytest.mark.parametrize(
    "module",
    [
        Asks(_clips),
        Asks(_initialises),
        Asks(_writes_out),
        Asks(_adds),
        Asks(lambda m, x: m.unregistered[0](m.conv(x)), nn.BatchNorm2d(4)),
        Asks(
            lambda m, x: m.conv(x) + m.unregistered[0]((x[0, 0, 0] * 2).long())[:6, :1],
            nn.Embedding(3, 6, max_norm=0.1),
        ),
    ],
    ids=["clips", "initialises", "out", "adds", "statistics of a part in a tuple", "largest norm"],
)
def test_the_numbers_of_an_example_leave_no_trace(module):
    held = [*module.parameters(), module.table]
    held += [x for part in module.unregistered for x in (*part.parameters(), *part.buffers())]
    before = [(x.clone(), dict(vars(x))) for x in held]
    for _ in range(2):
        assert account(cn.read(module, torch.rand(1, 3, 8, 8))).totals.macs == 4 * 6 * 6 * 27
    assert all(torch.equal(x, was) and vars(x) == own for x, (was, own) in zip(held, before, strict=True))


class Out(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.linear = function, nn.Linear(8, 8)

    def forward(self, x):
        made = torch.zeros(2, 5, 8, device=x.device), torch.zeros(2, 5, 8, dtype=torch.long, device=x.device)
        self.function(x, made)
        return self.linear(made[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, made: torch.sigmoid(torch.cat([x, x]), out=made[0]),
        lambda x, made: torch.mean(x, 0, out=made[0][1]),
        lambda x, made: torch.max(x[None].expand(3, 2, 5, 8), 0, out=made),
    ],
    ids=["whole", "view", "two"],
)
@pytest.mark.parametrize("given", [(5, 8), torch.rand(1, 5, 8)], ids=["shape", "example"])
def test_what_is_written_where_out_says_goes_on(function, given):
    graph = cn.read(Out(function), given)
    needed = {graph.outputs[0]}
    for node in reversed(graph.nodes):
        needed |= {*node.inputs} if node.output in needed else set()
    assert graph.inputs[0] in needed
    assert account(graph).totals.macs == 2 * 5 * 8 * 8
