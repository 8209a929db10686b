"""Networks as lists of their nodes: kept as YAML, and built as what was read."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.build import build
from cnnatomy.design.listed import ListedNetwork, ListedNode
from cnnatomy.layers import BatchNorm, Conv, Each, Flatten, FullyConnected, ReLU, Softmax
from cnnatomy.readers import resolve
from cnnatomy.readers.caffe import prototxt
from cnnatomy.readers.yaml import draft, listed

DATA = Path(__file__).parent / "data"
NAMES = ["lenet-5-1998", "alexnet", "googlenet", "densenet-121", "se-resnet-50", "mobilenet-v2", "shufflenet-g3"]


def lists(module: nn.Module, *shape: int) -> ListedNetwork:
    return ListedNetwork.of(cn.read(module.eval(), shape), "x")


@pytest.mark.parametrize("name", NAMES)
def test_a_network_by_nodes_goes_to_yaml_and_back_and_costs_the_same(name):
    graph = cn.network(name).graph()
    network = ListedNetwork.of(graph, name)
    again = listed.read(listed.write(network))
    assert again == network
    assert (again.name, again.input) == (name, network.input)
    assert account(again.graph()).totals == cn.network(name).account().totals
    assert [node.path for node in again.graph()] == [node.path for node in graph]


@pytest.mark.parametrize("name", ["lenet-5", "resnet-20-cifar", "squeezenet-1.1"])
def test_a_network_by_nodes_computes_what_the_network_does(name):
    network = cn.network(name)
    ours, theirs = ListedNetwork.of(network.graph(), name).build().eval(), network.build().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, *network.input)
    torch.testing.assert_close(ours(x), theirs(x))


class Branches(nn.Module):
    """Lists of modules that run in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.downs = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for up, down in zip(self.ups, self.downs, strict=True):
            x = down(up(x)) + x
        return x


class Sum(nn.Module):
    """A convolution of the sum of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.conv(x + y)  # type: ignore[no-any-return]


class Skip(nn.Module):
    """Three parts with the names of ours, the last of which reads what the first made too."""

    def __init__(self) -> None:
        super().__init__()
        self.tail, self.body, self.head = nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), Sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tail(x)
        return self.head(self.body(x), x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Branches, Skip])
def test_a_module_that_was_read_and_kept_as_yaml_computes_what_it_did(kind):
    module = kind().eval()
    ours = listed.read(listed.write(lists(module, 4, 5, 5))).build().eval()
    weights = {name.replace("s.", "s_"): tensor for name, tensor in module.state_dict().items()}  # ups.0: a list
    ours.load_state_dict(weights)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(ours(x), module(x))


def test_another_input_shape_is_described_again():
    network = ListedNetwork.of(prototxt.open(str(DATA / "fire.prototxt")), "fire")
    assert account(network.graph((3, 66, 62))).totals.macs > account(network.graph()).totals.macs
    assert ListedNetwork.of(cn.network("resnet-18").graph(), "").graph((3, 64, 64)).outputs[0].shape == (1000,)


def test_pixels_treated_alike_are_written_too():
    network = ListedNetwork((ListedNode("fc", Each(FullyConnected(3)), (0,)),), (4, 5))
    assert listed.read(listed.write(network)) == network


def test_what_the_output_does_not_need_is_left_out():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 7, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.idle(x)
            y: torch.Tensor = self.used(x)
            return y

    assert lists(Idle(), 3, 4, 4).entries == (ListedNode("used", Conv(2, 1), (0,)),)


def test_the_last_layer_before_a_softmax_gets_the_classes():
    network = ListedNetwork.of(prototxt.open(str(DATA / "fire.prototxt")), "fire")
    assert network.entries[-1].layer == Softmax()
    assert network.for_classes(None) == network
    assert network.for_classes(7).entries[-2] == ListedNode("fc", FullyConnected(7), (len(network.entries) - 2,))
    assert network.for_classes(7).graph().outputs[0].shape == (7,)


ENDS = [  # the modules after a convolution to 4 channels of 4x4 pixels, and the output for 7 classes
    ([nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], (7,)),
    ([nn.MaxPool2d(4)], (7, 1, 1)),
    ([nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid()], (7,)),
    ([nn.Flatten()], (64,)),
    ([nn.AdaptiveAvgPool2d(1), nn.Unflatten(1, (2, 2))], (2, 2, 1, 1)),
    ([nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 6, 1, groups=2)], (6, 1, 1)),
]


@pytest.mark.parametrize(("end", "output"), ENDS)
def test_the_classes_go_to_the_last_layer_where_each_of_its_channels_gives_one_number(end, output):
    network = lists(nn.Sequential(nn.Conv2d(3, 4, 1), *end), 3, 4, 4).for_classes(7)
    assert network.graph().outputs[0].shape == output


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(self.conv(x))
        return y


class Two(Twice):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        y = self.conv(x)
        return y, y.relu()


class Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


UNUSUAL = [
    (Attention(), r"x: scaled_dot_product_attention \(.*\) is none of our layers"),
    (nn.Sequential(nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))), r"x: 1 \(Derived conv\)"),
    (Twice(), "x: conv_2 shares its bias and weight with a layer before it"),
    (Two(), "x has 1 input and 2 outputs"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "message"), UNUSUAL)
def test_what_cannot_be_built_is_named(module, message):
    with pytest.raises(cn.UserError, match=message):
        lists(module, 3, 4, 8)


def test_a_type_without_a_rule_is_named():
    with pytest.raises(cn.UserError, match=r"residual: mean \(MVN\) is none of our layers"):
        ListedNetwork.of(prototxt.open(str(DATA / "residual.prototxt")), "residual")


DESIGN = listed.write(ListedNetwork.of(prototxt.open(str(DATA / "fire.prototxt")), "fire"))
HEAD = "input: [3, 8, 8]\nnodes:\n"
MISTAKES = {
    "nodes: [{a: ReLU}]": "x.yaml, line 1: a design by nodes has an input",
    "input: [3, 8, 8]\nnodes: []": "x.yaml, line 2: a design by nodes has an input, and a list of at least one node",
    HEAD + "- ReLU": "line 3: a node is its path and its layer, and `reads`",
    HEAD + "- {a: ReLU, read: [input]}": "line 3: a node is its path and its layer, and `reads`",
    HEAD + "- {a: ReLUU}": "line 3: there is no layer or block called 'ReLUU'. Did you mean ReLU",
    HEAD + "- {a: {Bottleneck: {width: 4}}}": "line 3: a: a design by nodes has layers only, got Bottleneck(4)",
    HEAD + "- {a: ReLU}\n- {a: ReLU}": "line 4: every node needs a path of its own, 'a' is there already",
    HEAD + "- {input: ReLU}": "line 3: every node needs a path of its own, 'input' is there already",
    HEAD + "- {conv: ReLU}\n- {b: Add, reads: [input, cnv]}": "line 4: b reads 'cnv', which no node before it makes.",
    HEAD + "- {a: ReLU, reads: input}": "line 3: reads: expected list of text, got 'input'",
    HEAD + "- {a: {Conv: {channels: 0, kernel: 3}}}": "line 3: Conv: channels must be a positive integer",
    HEAD + "- {a: ReLU}\ntail: ReLU": "line 4: a design by nodes has no key 'tail'",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_line(text):
    with pytest.raises(cn.UserError) as caught:
        listed.read(text, source="x.yaml")
    assert MISTAKES[text] in str(caught.value)


def test_a_layer_that_does_not_fit_is_named():
    network = ListedNetwork((ListedNode("block.conv", Conv(3, 5), (0,)),), (3, 4, 4))
    with pytest.raises(cn.ShapeError, match=r"conv: Conv\(3, 5\) got 3x4x4"):
        network.graph()


def test_an_input_without_pixels_is_refused():
    with pytest.raises(cn.UserError, match="each from 1 to 1,000,000"):
        listed.read("input: [3, -8, 8]\nnodes: [{a: ReLU}]").graph()


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_design_is_refused_with_a_message_or_read(data):
    words = re.split(r"(\W+)", DESIGN)
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, len(words) - 1))
        words[i] = data.draw(st.sampled_from(["", "-1", "[", "}", "null", "Each", "nodes", "reads", "{a: 1}", *words]))
    with contextlib.suppress(cn.UserError):
        listed.read("".join(words)).graph()


def test_what_others_made_is_a_design_to_begin_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft.create("mine", str(DATA / "fire.prototxt"))
    text = Path("mine.yaml").read_text()
    assert "- {fire2.expand1x1: {Conv: {channels: 8, kernel: 1}}}\n" in text
    assert "- {fire2.concat: Concat, reads: [fire2.expand1x1, fire2.expand3x3]}\n" in text
    network = resolve("mine.yaml")
    assert network == resolve(str(DATA / "fire.prototxt"))
    assert network.name == "mine"


def test_modules_of_torch_are_layers_of_ours():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    network = lists(module, 3, 8, 8)
    assert [entry.layer for entry in network.entries] == [Conv(4, 3), BatchNorm(), ReLU(), Flatten(), FullyConnected(5)]
    assert list(build(network.graph()).state_dict()) == list(module.state_dict())
