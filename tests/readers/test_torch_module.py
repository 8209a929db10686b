"""Torch modules read as graphs: right where the tools of today are wrong, and left exactly as they were."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import cnnatomy as cn
from cnnatomy.analysis import Account, account
from cnnatomy.design.build import build
from cnnatomy.layers import (
    LSTM,
    RNN,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Foreign,
    FullyConnected,
    NotCounted,
    ReLU,
)


def reads(module: nn.Module, *inputs: Any) -> Account:
    """The account of a module, checked against torch: every parameter, and half the FLOPs of FlopCounterMode."""
    got = account(cn.read(module, *inputs))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*[torch.rand(1, *x) if isinstance(x, tuple) else x for x in inputs])
    assert 2 * got.totals.macs == counter.get_total_flops()
    unused = sum(torch.Size(shape).numel() for _, shape in got.graph.unused)
    assert got.totals.parameters + unused == sum(p.numel() for p in module.parameters())
    return got


def layers(got: Account) -> list[Any]:
    return [row.node.layer for row in got.rows]


class Run(nn.Module):
    """A module whose forward is a function of it and its inputs."""

    def __init__(self, forward: Any, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = forward

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.run(self, *inputs)


MAP = (4, 10, 12)


def test_a_chain_becomes_our_layers_under_the_paths_of_the_modules() -> None:
    parts = OrderedDict(conv1=nn.Conv2d(4, 6, 3, 2, 1, bias=False), bn1=nn.BatchNorm2d(6), relu=nn.ReLU())
    got = reads(nn.Sequential(OrderedDict(stem=nn.Sequential(parts), fc=nn.Conv2d(6, 2, 1))).eval(), MAP)
    assert [row.path for row in got.rows] == ["stem.conv1", "stem.bn1", "stem.relu", "fc"]
    assert layers(got) == [Conv(6, 3, 2, 1, bias=False), BatchNorm(), ReLU(), Conv(2, 1)]
    assert [row.output for row in got.rows] == [(6, 5, 6)] * 3 + [(2, 5, 6)]
    assert got.receptive_field.size == (3, 3)
    assert got.part("stem").parameters == 6 * 4 * 9 + 12
    assert got.totals.buffers == 12


def test_a_plain_bias_is_counted() -> None:
    got = reads(Run(lambda m, x: x + m.bias, bias=nn.Parameter(torch.zeros(4, 1, 1))), MAP)
    assert got.totals.parameters == 4
    assert got.totals.adds == 4 * 10 * 12


def test_a_bare_parameter_of_any_shape_is_counted() -> None:
    got = reads(Run(lambda m, x: (x * m.p).relu(), p=nn.Parameter(torch.zeros(1, 4, 10, 12))), MAP)
    assert got.totals.parameters == 480
    assert got.totals.multiplies == 480


def test_one_convolution_used_twice_computes_twice_and_is_stored_once() -> None:
    got = reads(Run(lambda m, x: m.conv(m.conv(x)), conv=nn.Conv2d(4, 4, 3, padding=1)), MAP)
    assert [row.path for row in got.rows] == ["conv", "conv_2"]
    assert [row.parameters for row in got.rows] == [148, 0]
    assert got.rows[0].macs == got.rows[1].macs > 0


def test_the_same_module_under_two_names_is_stored_once() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    got = reads(Run(lambda m, x: m.second(m.first(x)), first=conv, second=conv), MAP)
    assert [row.parameters for row in got.rows] == [148, 0]


def test_tied_weights_are_stored_once() -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    module[1].weight = module[0].weight
    got = reads(module, (6,))
    assert [row.parameters for row in got.rows] == [42, 6]


def test_functional_convolution_and_linear_are_counted() -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.conv2d(x, m.w, stride=2).flatten(1), m.v)

    parts = {"w": nn.Parameter(torch.rand(2, 4, 3, 3)), "v": nn.Parameter(torch.rand(5, 40))}
    got = reads(Run(forward, **parts), MAP)
    assert isinstance(layers(got)[0], Conv)
    assert got.totals.parameters == 72 + 200


class StandardisedConv(nn.Conv2d):
    """Weight standardisation (Qiao et al. 2019) with a learned gain, as a subclass with its own forward."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True) * self.gain
        return F.conv2d(x, w, self.bias)


def test_subclasses_of_conv2d_with_their_own_forward() -> None:
    got = reads(StandardisedConv(4, 6, 3), MAP)
    assert got.totals.parameters == 4 * 6 * 9 + 6 + 6
    assert got.totals.not_counted == 0
    assert got.receptive_field.size == (3, 3)


CONVOLUTIONS = [
    nn.Conv2d(4, 8, 3, groups=2),
    nn.Conv2d(4, 8, 3, groups=4, bias=False),
    nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (2, 3)),
    nn.Conv2d(4, 8, 4, padding="same"),
    nn.Conv2d(4, 8, (4, 3), dilation=(1, 2), padding="same"),
    nn.Conv2d(4, 8, 3, padding="valid"),
    nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"),
    nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(4, 8, 3, 2)),
    nn.ConvTranspose2d(4, 8, 3, 2, 1, 1),
    nn.ConvTranspose2d(4, 8, (3, 2), groups=2, dilation=2, bias=False),
]


@pytest.mark.parametrize("module", CONVOLUTIONS, ids=str)
def test_convolutions_of_every_sort(module: nn.Module) -> None:
    got = reads(module, MAP)
    assert got.rows[-1].output == tuple(module(torch.rand(1, *MAP)).shape[1:])
    assert got.totals.not_counted == 0


def test_a_depthwise_convolution_is_one_of_ours() -> None:
    assert isinstance(layers(reads(nn.Conv2d(4, 4, 3, groups=4), MAP))[0], DepthwiseConv)


SEQUENCE = (7, 12)
PRODUCTS = {
    "matmul": lambda m, x: x @ x.transpose(1, 2),
    "bmm": lambda m, x: torch.bmm(x, x.mT),
    "matmul of heads": lambda m, x: (h := x.view(1, 7, 3, 4).transpose(1, 2)) @ h.transpose(-1, -2),
    "matmul with a parameter": lambda m, x: x @ m.w,
    "einsum": lambda m, x: torch.einsum("btc,bsc->bts", x, x),
    "einsum with a parameter": lambda m, x: torch.einsum("btc,cd->btd", x, m.w),
    "attention": lambda m, x: F.scaled_dot_product_attention(x, x, x),
    "linear on 3-D input": lambda m, x: F.linear(x, m.w),
    "addmm": lambda m, x: torch.addmm(m.b, x[0], m.w),
    "baddbmm": lambda m, x: torch.baddbmm(torch.zeros(1, 7, 7), x, x.mT),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_products_of_every_sort(name: str) -> None:
    module = Run(PRODUCTS[name], w=nn.Parameter(torch.rand(12, 12)), b=nn.Parameter(torch.rand(12)))
    got = reads(module, SEQUENCE)
    assert got.totals.macs > 0
    assert got.totals.not_counted == 0


@pytest.mark.parametrize("batch_first", [True, False])
def test_multi_head_attention(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = x if batch_first else x.transpose(0, 1)
        return m.attention(x, x, x)[0]

    assert reads(Run(forward, attention=attention), SEQUENCE).totals.not_counted == 0


def test_unused_branches_are_not_counted_and_are_named() -> None:
    module = Run(lambda m, x: m.used(x), used=nn.Conv2d(4, 2, 1), other=nn.Conv2d(4, 3, 1))
    got = reads(module, MAP)
    assert got.totals.parameters == 10
    assert got.graph.unused == (("other.weight", (3, 4, 1, 1)), ("other.bias", (3,)))


def test_frozen_parameters_are_parameters() -> None:
    module = nn.Conv2d(4, 2, 1).requires_grad_(False)
    assert reads(module, MAP).totals.parameters == 10


def test_lrn_softmax_and_other_normalisations() -> None:
    module = nn.Sequential(
        nn.LocalResponseNorm(5), nn.Softmax(1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((10, 12))
    )
    got = reads(module, MAP)
    assert got.totals.exponentials >= 2 * 480
    assert got.totals.not_counted == 0


ROOTS: dict[str, tuple[Any, dict[str, int]]] = {  # of a 4x10x12 map; along the channels 120 numbers come out
    "norm": (lambda x: x.norm(dim=1), {"multiply": 480, "add": 480, "exponential": 120}),
    "vector norm": (lambda x: torch.linalg.vector_norm(x, dim=1), {"multiply": 480, "add": 480, "exponential": 120}),
    "deviation": (lambda x: x.std(1), {"multiply": 480, "add": 960, "exponential": 120}),
    "mean": (lambda x: x.mean(1), {"add": 480, "divide": 120}),
    "pool of squares": (lambda x: F.lp_pool2d(x, 2, 2), {"multiply": 480, "add": 480, "exponential": 120}),
    "pool of cubes": (lambda x: F.lp_pool2d(x, 3, (2, 3)), {"add": 480, "exponential": 480 + 80}),
    "each map normalised": (F.instance_norm, {"multiply": 960, "add": 1920 + 4, "divide": 480 + 8, "exponential": 4}),
    "each pair of maps": (
        lambda x: torch.group_norm(x, num_groups=2),
        {"multiply": 960, "add": 1920 + 2, "divide": 480 + 4, "exponential": 2},
    ),
    "each row": (
        lambda x: torch.layer_norm(x, normalized_shape=(12,)),
        {"multiply": 960, "add": 1920 + 40, "divide": 480 + 80, "exponential": 40},
    ),
}


@pytest.mark.parametrize("name", ROOTS)
def test_square_roots_count_as_exponentials(name: str) -> None:
    function, costs = ROOTS[name]
    (row,) = reads(Run(lambda m, x: function(x)), MAP).rows
    assert {kind: n for kind, n in row.operations._asdict().items() if n} == costs


def test_dictionaries_and_lists_as_outputs() -> None:
    module = Run(
        lambda m, x: {"a": m.a(x), "more": [m.b(x), (x.relu(), None)]}, a=nn.Conv2d(4, 2, 1), b=nn.Conv2d(4, 3, 1)
    )
    assert [x.shape for x in reads(module, MAP).graph.outputs] == [(2, 10, 12), (3, 10, 12), (4, 10, 12)]


def test_several_inputs() -> None:
    got = reads(Run(lambda m, x, y: torch.cat([m.a(x), y], 1), a=nn.Conv2d(4, 2, 1)), MAP, (3, 10, 12))
    assert [x.shape for x in got.graph.inputs] == [MAP, (3, 10, 12)]
    assert got.graph.outputs[0].shape == (5, 10, 12)


def test_a_branch_on_a_shape_is_taken() -> None:
    module = Run(lambda m, x: m.a(x) if x.shape[-1] > 20 else m.b(x), a=nn.Conv2d(4, 2, 1), b=nn.Conv2d(4, 3, 1))
    assert reads(module, MAP).rows[0].path == "b"
    assert reads(module, (4, 10, 22)).rows[0].path == "a"


def _branches(m: Any, x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:
        return m.a(x)
    return m.b(x)


def test_a_branch_on_a_value_names_its_line() -> None:
    module = Run(_branches, a=nn.Conv2d(4, 2, 1), b=nn.Conv2d(4, 3, 1))
    with pytest.raises(cn.UserError, match=r"test_torch_module.py:\d+: `if x.sum\(\) > 0:`(?s:.*)example tensor"):
        cn.read(module, MAP)


def test_a_branch_on_a_value_is_taken_for_an_example() -> None:
    module = Run(_branches, a=nn.Conv2d(4, 2, 1), b=nn.Conv2d(4, 3, 1))
    assert reads(module, torch.ones(1, *MAP)).rows[-1].path == "a"
    assert reads(module, -torch.ones(1, *MAP)).rows[-1].path == "b"


RECURRENT = {
    "LSTM": nn.LSTM(12, 5, batch_first=True),
    "RNN": nn.RNN(12, 5, batch_first=True),
    "GRU": nn.GRU(12, 5, batch_first=True),
    "two layers": nn.LSTM(12, 5, num_layers=2, batch_first=True),
    "both directions": nn.GRU(12, 5, bidirectional=True, batch_first=True),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name: str) -> None:
    module = RECURRENT[name]
    got = account(cn.read(Run(lambda m, x: m.rnn(x)[0], rnn=module), SEQUENCE))
    matrices = [p.numel() for p in module.parameters() if p.dim() == 2]
    assert got.totals.macs == 7 * sum(matrices)  # every weight once a step
    assert got.totals.parameters == sum(p.numel() for p in module.parameters())
    assert got.totals.not_counted == 0


def test_a_plain_lstm_is_one_of_ours() -> None:
    for kind, layer in ((nn.LSTM, LSTM(5)), (nn.RNN, RNN(5))):
        got = account(cn.read(Run(lambda m, x: m.rnn(x)[0], rnn=kind(12, 5, batch_first=True)), SEQUENCE))
        assert layers(got) == [layer]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_are_read(reentrant: bool) -> None:
    module = Run(lambda m, x: checkpoint(m.conv, x, use_reentrant=reentrant).relu(), conv=nn.Conv2d(4, 2, 3))
    got = account(cn.read(module, MAP))
    assert [row.path for row in got.rows] == ["conv", "relu"]
    assert got.totals.parameters == 74


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["weight", "spectral", "old weight", "old spectral"])
def test_parametrised_weights(kind: str, training: bool) -> None:
    norms = {
        "weight": parametrizations.weight_norm,
        "spectral": parametrizations.spectral_norm,
        "old weight": torch.nn.utils.weight_norm,
        "old spectral": torch.nn.utils.spectral_norm,
    }
    module = norms[kind](nn.Conv2d(4, 6, 3)).train(training)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    got = account(cn.read(module, MAP))
    assert got.totals.parameters == sum(p.numel() for p in module.parameters())
    assert got.totals.macs >= 8 * 10 * 6 * 4 * 9
    assert got.receptive_field.size == (3, 3)
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_modules_are_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    with pytest.raises(cn.UserError, match=r"0 \(Linear\) is quantised"):
        cn.read(quantised, (4,))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functional_wrappers_that_are_to_be_quantised_are_read() -> None:
    class Quantisable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.add = nn.Conv2d(4, 4, 1), torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Any) -> Any:
            return self.add.add(x, self.conv(x))

    assert [type(node.layer).__name__ for node in cn.read(Quantisable(), MAP)] == ["Conv", "Add"]


def test_sizes_computed_by_torch_are_numbers() -> None:
    class Sizes(nn.Module):
        def forward(self, x: Any) -> Any:
            half = F.interpolate(x, scale_factor=0.5, mode="bilinear", recompute_scale_factor=True)
            size = torch.sym_max(2, torch.sym_min(3, torch.sym_int(4.5)))
            return half[:, : torch.sym_ite(torch.sym_not(False), size, 1)]

    assert cn.read(Sizes(), (4, 8, 8)).outputs[0].shape == (3, 4, 4)


def test_work_on_parameters_alone_is_counted_once() -> None:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.work = nn.Parameter(torch.rand(10, 6)), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            queries = self.work(self.queries)
            return x @ queries.T, x + queries

    totals = account(cn.read(Queries(), (10, 6))).totals
    assert totals.macs == 10 * 6 * 6 + 10 * 6 * 10
    assert totals.parameters == 10 * 6 + 6 * 6 + 6


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_branch_on_a_constant_is_taken(device: str) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)
            self.scale = torch.ones(4, 1, 1)

        def forward(self, x: Any) -> Any:
            mask = torch.ones(x.shape[0], 4, device=x.device)
            made = [mask.all(), torch.ones_like(x).all(), x.new_zeros(3).sum() == 0]
            return self.conv(x.to(x.device)) * self.scale.to(x.device) if all(map(bool, made)) else x

    with torch.device(device):
        module = Masked()
    assert account(cn.read(module, (4, 8, 8))).totals.macs == 6 * 6 * 4 * 4 * 9


def test_a_large_constant_of_a_module_without_weights_is_a_shape() -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(x + torch.zeros(10**12, 1, 1, device=x.device)[:4])

    with torch.device("meta"):
        module = Large()
    assert cn.read(module, (4, 8, 8)).outputs[0].shape == (4, 6, 6)


def test_copies_of_a_map_stand_for_it() -> None:
    class Copies(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(copy.deepcopy([x])[0]) + F.relu(copy.copy(x)) + torch.as_tensor(x)

    graph = cn.read(Copies(), (4, 6))
    assert [type(node.layer).__name__ for node in graph] == ["ReLU", "ReLU", "Add", "Add"]
    assert graph.nodes[0].inputs == graph.nodes[1].inputs == graph.inputs


def test_a_number_as_an_example_has_no_batch() -> None:
    class Timestep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(10, 5)

        def forward(self, x: Any, t: Any) -> Any:
            return self.linear(x) * t

    assert account(cn.read(Timestep(), torch.rand(1, 10), torch.rand([]))).totals.macs == 50


@pytest.mark.parametrize("hooked", [False, True])
def test_after_an_error_that_is_caught_paths_are_those_of_the_modules(hooked: bool) -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Sequential(nn.Conv2d(5, 4, 3)))
            self.second = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3)))
            self.last = nn.Conv2d(4, 4, 1)

        def forward(self, x: Any) -> Any:
            try:
                x = self.first(x)
            except RuntimeError:
                x = self.second(x)
            return self.last(x)

    module = Tries()
    for part in module.modules() if hooked else ():
        part.register_forward_hook(lambda module, inputs, output: None)
    assert [node.path for node in cn.read(module, (4, 8, 8))] == ["second.0.0", "last"]


def test_what_was_written_into_a_constant_is_an_output() -> None:
    class Written(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.zeros(1, *x.shape[1:])
            y[:, :2] = F.relu(x)[:, :2]
            return y

    assert len(cn.read(Written(), (4, 8, 8)).outputs) == 1


@pytest.mark.slow
def test_compiled_modules_are_read_through() -> None:
    module = torch.compile(nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU()))
    got = account(cn.read(module, MAP))
    assert [row.path for row in got.rows] == ["0", "1"]


def test_what_has_no_rule_is_kept_and_said() -> None:
    got = account(cn.read(Run(lambda m, x: torch.special.airy_ai(m.conv(x)), conv=nn.Conv2d(4, 2, 1)), MAP))
    assert [type(layer) for layer in layers(got)] == [Conv, NotCounted]
    assert got.totals.not_counted == 1


def test_writing_to_a_view_writes_to_the_whole() -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.conv(x)
        x[:, :1].mul_(2)
        return x + 1

    got = reads(Run(forward, conv=nn.Conv2d(4, 2, 1)), MAP)
    assert [row.node.layer.what for row in got.rows if isinstance(row.node.layer, Foreign)] == ["write", "add"]


def test_writing_into_a_constant_joins_the_graph() -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(1, 2, 10, 12)
        out[:, :1] = m.conv(x)
        return out.relu()

    got = reads(Run(forward, conv=nn.Conv2d(4, 1, 1)), MAP)
    assert got.graph.outputs[0].shape == (2, 10, 12)


def test_tokens_are_given_as_an_example() -> None:
    module = nn.Sequential(nn.Embedding(100, 12), nn.Linear(12, 3))
    got = reads(module, torch.zeros(1, 7, dtype=torch.long))
    assert got.totals.parameters == 1200 + 39


def test_of_an_example_one_image_is_used() -> None:
    assert cn.read(nn.Conv2d(4, 2, 1), torch.rand(8, *MAP)).inputs[0].shape == MAP
    module = Run(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(12, 5))
    graph = cn.read(module, torch.rand(7, 3, 12), batch=1)
    assert account(graph).totals.macs == 7 * 20 * 17


def test_a_counter_of_batches_counts_and_is_left_alone() -> None:
    module = nn.BatchNorm2d(4, momentum=None)  # its momentum is 1 / batches seen
    assert reads(module.eval(), MAP).totals.parameters == 8
    module.train().reset_running_stats()
    assert account(cn.read(module, MAP)).totals.parameters == 8
    assert module.num_batches_tracked == 0


def test_a_branch_on_a_buffer_is_taken_while_it_is_as_it_was() -> None:
    module = Run(lambda m, x: m.a(x) if m.flag else x.relu(), a=nn.Conv2d(4, 2, 1))
    module.register_buffer("flag", torch.tensor(True))
    assert cn.read(module, MAP).nodes[0].path == "a"


def test_weights_that_depend_on_the_input_are_counted() -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, m.fc(x.mean((2, 3))).view(2, 4, 1, 1))

    assert reads(Run(forward, fc=nn.Linear(4, 8)), MAP).totals.macs == 4 * 8 + 2 * 4 * 120


def test_several_maps_in_the_place_of_the_batch() -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.conv(x.flatten(0, 1)).unflatten(0, (-1, 5))

    got = reads(Run(forward, conv=nn.Conv2d(4, 2, 3)), (5, *MAP))
    assert repr(layers(got)[1]) == "Each(Conv(2, 3))"
    assert got.graph.outputs[0].shape == (5, 2, 8, 10)


def test_modules_that_run_in_other_threads_are_left_out() -> None:
    other = nn.Linear(3, 3)

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=lambda: other(torch.rand(2, 3)))
        thread.start()
        thread.join()
        return m.conv(x)

    got = reads(Run(forward, conv=nn.Conv2d(4, 2, 1)), MAP)
    assert [row.path for row in got.rows] == ["conv"]


class Fickle(nn.Module):
    """Sets attributes, buffers and list items while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.spectral_norm(nn.Conv2d(4, 4, 3))
        self.bn = nn.BatchNorm2d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[Any] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.bn(self.conv(x))
        self.seen.append(self.last)
        self.calls += 1
        self.calls = self.calls + 1
        return F.dropout(self.last, 0.5)


def everything(module: nn.Module) -> list[Any]:
    """All that a module holds: the objects by identity, the numbers of tensors by value."""
    found: list[Any] = [torch.get_rng_state().tolist()]
    for path, part in module.named_modules():
        for name, x in part.__dict__.items():
            found.append((path, name, id(x)))
            held = list(x.items()) if isinstance(x, dict) else list(x) if isinstance(x, (list, set)) else []
            found.append([(id(item[1]) if isinstance(item, tuple) else id(item)) for item in held])
        for own in (part._parameters, part._buffers):
            found += [(name, id(x), copy.deepcopy(x.tolist())) for name, x in own.items() if x is not None]
        found += [part.training, [(p.requires_grad, p.grad, p._version, p.__dict__.copy()) for p in part.parameters()]]
    return [*found, list(torch.nn.modules.module._global_forward_hooks), torch.is_grad_enabled()]


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_exactly_as_it_was(training: bool) -> None:
    module = Fickle().train(training)
    module.bn.eval()  # flags may differ below
    before = everything(module)
    cn.read(module, MAP)
    assert everything(module) == before


def test_the_module_is_left_as_it_was_also_after_an_error() -> None:
    module = Fickle()
    before = everything(module)
    with pytest.raises(cn.UserError, match="failed for the input 3x10x12"):
        cn.read(module, (3, 10, 12))
    assert everything(module) == before


def test_nothing_is_computed_and_no_weight_is_made() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(200_000, 200_000), nn.ReLU())  # 160 GB
    assert account(cn.read(module, (200_000,))).totals.parameters == 200_000 * 200_001


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "give the shape"),
        (((0, 2),), "an input is a shape"),
        ((object(),), "an input is a shape"),
        (("x",), "give the shape"),
    ],
)
def test_wrong_inputs_are_named(inputs: Any, message: str) -> None:
    with pytest.raises(cn.UserError, match=message):
        cn.read(nn.ReLU(), *inputs)


def test_a_wrong_input_names_the_line_that_failed() -> None:
    with pytest.raises(cn.UserError, match=r"0 \(Conv2d\) failed for the input 5x10x12: RuntimeError"):
        cn.read(nn.Sequential(nn.Conv2d(4, 2, 1)), (5, 10, 12))
    with pytest.raises(cn.UserError, match=r"needs a torch.nn.Module, got function"):
        cn.read(reads, MAP)  # type: ignore[arg-type]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(True)
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.others = nn.ModuleList([nn.Conv2d(4, 4, 3, padding="same")])
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        for layer in [*self.layers, *self.others]:
            y = layer(y)
        return self.fc(self.relu(x + y).mean((2, 3)))


def test_what_was_read_can_be_built_and_computes_the_same() -> None:
    module = Residual().eval()
    ours = build(cn.read(module, MAP)).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), module.state_dict().values(), strict=True)))
    x = torch.rand(2, *MAP)
    torch.testing.assert_close(ours(x), module(x))


def test_a_layer_of_a_shared_module_keeps_its_weights_once_when_built() -> None:
    graph = cn.read(Run(lambda m, x: m.conv(m.conv(x)), conv=nn.Conv2d(4, 4, 1)), MAP)
    assert graph.nodes[1].shared == {"weight", "bias"}


def test_pixels_in_the_last_axis() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.GELU())
    got = reads(Run(lambda m, x: m.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), mlp=module), MAP)
    assert repr(layers(got)[1]) == "Each(FullyConnected(6))"
    assert isinstance(layers(got)[1].layer, FullyConnected)
