"""Modules that take and return more than one image: several inputs, by name, in dicts, lists and dataclasses."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.errors import UserError


class TwoTowers(nn.Module):
    """Words and an image, as CLIP takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv, self.last = nn.Embedding(100, 16), nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

    def forward(self, input_ids: Any, pixel_values: Any, mask: Any = None, scale: float = 1.0) -> Any:
        words = self.embed(input_ids).mean(1)
        if mask is not None:
            words = words * mask.mean(1, keepdim=True)
        return self.last(words + scale * self.conv(pixel_values).mean((2, 3)))


@dataclass
class Features:
    deep: Any
    also: Any = None
    made: Any = field(default=None, init=False)


Named = namedtuple("Named", "one two")


class Batch(UserDict[str, Any]):
    """As tokenizers give it."""


@dataclass
class Output(OrderedDict[str, Any]):
    """As transformers has it: a dataclass that is a dictionary."""

    one: Any = None
    two: Any = None

    def __post_init__(self) -> None:
        self.update(one=self.one, two=self.two)


class Same(nn.Module):
    """One convolution on every tensor of whatever it gets, in the same structure."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return self.conv(x)
        if isinstance(x, Output):
            return Output(*map(self, x.values()))
        if isinstance(x, (dict, Batch)):
            return type(x)({key: self(inside) for key, inside in x.items()})
        if isinstance(x, Named):
            return Named(*map(self, x))
        if isinstance(x, (list, tuple)):
            return type(x)(map(self, x))
        if isinstance(x, Features):
            return Features(self(x.deep), self(x.also))
        return x


def shapes(maps: Any) -> list[tuple[int, ...]]:
    return [x.shape for x in maps]


IDS = torch.zeros(2, 7, dtype=torch.long)


def test_inputs_have_names_or_places() -> None:
    by_name = cn.read(TwoTowers(), pixel_values=(3, 8, 8), input_ids=IDS)
    assert shapes(by_name.inputs) == [(3, 8, 8), (7,)]
    by_place = cn.read(TwoTowers(), IDS, (3, 8, 8), None, scale=2.0)
    assert shapes(by_place.inputs) == [(7,), (3, 8, 8)]
    mixed = cn.read(TwoTowers(), IDS, pixel_values=torch.rand(1, 3, 8, 8), mask=(7,))
    assert shapes(mixed.inputs) == [(7,), (3, 8, 8), (7,)]
    assert shapes(by_name.outputs) == shapes(by_place.outputs) == shapes(mixed.outputs) == [(10,)]


@pytest.mark.parametrize(
    "structure",
    [
        {"image": (3, 8, 8), "more": [(3, 9, 9), "word", None]},
        [(3, 8, 8), torch.rand(1, 3, 9, 9)],
        ((3, 8, 8), ((3, 9, 9), 5)),
        Named([3, 8, 8], (3, 9, 9)),
        Features((3, 8, 8), {"deep": torch.Size((3, 9, 9))}),
        OrderedDict(a=(3, 8, 8), b=(3, 9, 9)),
        Batch(a=(3, 8, 8), b=(3, 9, 9)),
        Output((3, 8, 8), (3, 9, 9)),
    ],
)
def test_inputs_and_outputs_are_nested(structure: Any) -> None:
    graph = cn.read(Same(), structure)
    assert shapes(graph.inputs) == [(3, 8, 8), (3, 9, 9)]
    assert shapes(graph.outputs) == [(8, 6, 6), (8, 7, 7)]


@dataclass(slots=True)
class Slots:
    logits: Any


class Returns(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.conv, self.wrap = nn.Conv2d(3, 8, 3), wrap

    def forward(self, x: Any) -> Any:
        return self.wrap(self.conv(x))


class Loop:
    def __init__(self, x: Any) -> None:
        self.x, self.me = x, self


@pytest.mark.parametrize("wrap", [Slots, Loop, Features, lambda x: Named(x, None), lambda x: {"a": [{"b": (x,)}]}])
def test_outputs_are_found_wherever_they_are(wrap: Any) -> None:
    assert shapes(cn.read(Returns(wrap), (3, 8, 8)).outputs) == [(8, 6, 6)]


@pytest.mark.parametrize(
    ("example", "batch", "message"),
    [
        (torch.rand(1, 8), 5, r"batch=5 is no axis of an example of 2 axes, \(1, 8\)"),
        (torch.rand(0, 8), 0, r"\(0, 8\) is empty"),
        (torch.eye(8).to_sparse(), 0, "dense tensor"),
        (torch.nested.nested_tensor([torch.rand(3, 8)]), 0, "dense tensor"),
    ],
    ids=["axis", "empty", "sparse", "nested"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_is_no_example_is_refused(example: torch.Tensor, batch: int, message: str) -> None:
    with pytest.raises(cn.UserError, match=message):
        cn.read(nn.Linear(8, 4), example, batch=batch)


class Yields(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        for _ in range(2):
            yield self.part(x)


def test_what_yields_is_run_to_its_end() -> None:
    graph = cn.read(Yields(), (8,))
    assert [x.shape for x in graph.outputs] == [(4,), (4,)]
    assert [node.inputs for node in graph] == [graph.inputs] * 2


def test_a_number_alone_is_the_one_axis_of_a_vector() -> None:
    assert shapes(cn.read(nn.Linear(7, 3), 7).inputs) == [(7,)]


class Timed(nn.Module):
    """An image and its time step, one number for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.time = nn.Conv2d(3, 4, 1), nn.Linear(1, 4)

    def forward(self, x: Any, step: Any) -> Any:
        return self.conv(x) + self.time(step.float()[:, None])[..., None, None]


def test_an_input_may_be_one_number_for_each_image() -> None:
    assert shapes(cn.read(Timed(), (3, 8, 8), ()).outputs) == [(4, 8, 8)]


@pytest.mark.parametrize(
    ("given", "message"),
    [([(3, 0)], "not \\(3, 0\\)"), ([[3, -1]], "not \\[3, -1\\]"), ([{"a": object()}], "an input is a shape")],
)
def test_what_is_no_shape_is_refused_wherever_it_is(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cn.read(Same(), *given)


NETS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_torch_inputs import TwoTowers, Timed, nn

def audio():
    return nn.Sequential(nn.Conv1d(1, 8, 80, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(8, 16, 3),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 10))

def video():
    return nn.Sequential(nn.Conv3d(3, 8, 3, 2), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 16, 3),
                         nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 10))

def vector():
    return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 2))

def whole():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 2))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unusual_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "unusual_nets", raising=False)


def ran(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("command", ["show", "compare", "critique"])
@pytest.mark.parametrize(
    ("network", "given", "title"),
    [
        ("audio", "1x16000", "1x16000"),
        ("video", "3x16x112x112", "3x16x112x112"),
        ("vector", "7", "7"),
        ("TwoTowers", "7:int64 3x8x8", "7 and 3x8x8"),
        ("TwoTowers", "pixel_values:3x8x8 input_ids:7:int64", "3x8x8 and 7"),
        ("Timed", "step:scalar:int64 3x8x8", "1 and 3x8x8"),
    ],
)
def test_commands_take_inputs_that_are_no_images(command: str, network: str, given: str, title: str) -> None:
    code, output = ran(command, f"python:unusual_nets:{network}", "--input", given)
    assert code == 0
    assert f"python:unusual_nets:{network}, input {title}" in output or command == "compare"


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(("network", "given"), [("audio", "1x16000"), ("vector", "7"), ("video", "3x16x112x112")])
def test_what_is_no_image_has_no_field_in_pixels(network: str, given: str) -> None:
    shown = json.loads(ran("show", f"python:unusual_nets:{network}", "--input", given, "--format", "json")[1])
    assert shown["receptive_field"] is None
    assert shown["stride"] is None
    assert {node["receptive_field"] for node in shown["nodes"]} == {None}
    assert "pixels every" not in ran("show", f"python:unusual_nets:{network}", "--input", given)[1]
    assert "receptive field" not in ran("compare", f"python:unusual_nets:{network}", "--input", given)[1]


@pytest.mark.usefixtures("nets")
def test_a_vector_made_of_the_whole_image_sees_all_of_it() -> None:
    assert ", sees all pixels" in ran("show", "python:unusual_nets:whole", "--input", "3x8x8")[1]


@pytest.mark.usefixtures("nets")
def test_without_an_input_the_error_says_what_was_tried() -> None:
    code, output = ran("show", "python:unusual_nets:vector")
    assert code == 2
    assert "No --input was given, so one image of 3x224x224 was tried." in output


@pytest.mark.usefixtures("nets")
def test_the_option_is_given_once_for_each_input() -> None:
    several = ("--input", "input_ids:7:int64", "--input", "pixel_values:3x8x8")
    assert ran("show", "python:unusual_nets:TwoTowers", *several) == ran(
        "show", "python:unusual_nets:TwoTowers", "--input", "input_ids:7:int64 pixel_values:3x8x8"
    )


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("pixels:3x8x8 input_ids:7:int64", "none is 'pixels'. Did you mean pixel_values"),
        ("7:int64 3x8x8 7 7 mask:7", "--input gives 5 inputs"),
        ("7:int65", "there is no type 'int65'. Did you mean int64"),
    ],
)
def test_what_forward_does_not_take_is_said(given: str, message: str) -> None:
    code, output = ran("show", "python:unusual_nets:TwoTowers", "--input", given)
    assert code == 2
    assert message in output
