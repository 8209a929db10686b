"""What a task is: it makes of a network's outputs and the targets a loss, a score, an evaluation and answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from cnnatomy.design.blocks import Heads
from cnnatomy.design.graph import Graph
from cnnatomy.design.network import Design, Network
from cnnatomy.errors import UserError, nearest, some_of
from cnnatomy.layers.layer import Layer, Shape, dimensions, elements
from cnnatomy.tasks import losses
from cnnatomy.tasks.losses import Options

Target = Tensor | dict[str, Tensor]
"""What is to be learned of some images: one tensor, or one for each head by its name."""
Outputs = Any
"""What a network gives for some images: a tensor, a tuple of them, or a dictionary by the names of its heads."""
Criterion = Any
"""What a task makes its loss of: a `losses.Loss`, or one for each head."""
ToImage = Callable[[float, float], tuple[float, float]]
"""From column and row in the network's input to those in the image that it was cut out of."""


class Moving(Protocol):
    """What augmentation does to the places of each image of a batch; places are x and y in pixels of the input."""

    @property
    def mirrors(self) -> Tensor:
        """Which images it mirrors, `(images,)` bool, on the CPU."""

    def classes(self, maps: Tensor) -> Tensor:
        """A class for each pixel, `(images, rows, columns)`; 255 where nothing was."""

    def numbers(self, maps: Tensor) -> Tensor:
        """Numbers for each pixel, `(images, channels, rows, columns)` float; nan where nothing was."""

    def displacements(self, maps: Tensor) -> Tensor:
        """By how many rows and columns each pixel moves, `(images, 2, rows, columns)` float; nan where nothing was."""

    def points(self, points: Tensor) -> Tensor:
        """Places, `(images, points, 2)`, be they outside."""

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes and their classes, `(images, most, 5)`, without what is outside; -1 where there is none."""


@dataclass(frozen=True)
class Output:
    """A head of a network, or one of the maps that it gives: its name and shape, without the batch."""

    name: str
    shape: Shape
    auxiliary: bool = False


def outputs_of(network: Design, graph: Graph) -> tuple[Output, ...]:
    """What a network gives, in order."""
    shapes = [output.shape for output in graph.outputs]
    if isinstance(network, Network) and isinstance(network.head, Heads):
        names = list(network.heads)
        if len(names) == len(shapes):
            auxiliary = set(network.head.auxiliary)
            return tuple(Output(name, shape, name in auxiliary) for name, shape in zip(names, shapes, strict=True))
    return tuple(Output(f"output {number}", shape) for number, shape in enumerate(shapes, 1))


@dataclass(frozen=True)
class Evaluation:
    """What was measured on so many `images`.

    Attributes:
        loss: the mean over the images.
        figures: what there is to say in a line, by name; None where it is not defined.
        each: what the records of `rows` are about: a class, a number, a head.
        rows: one record for each of them.
        more: further plain data for summary.json.
    """

    images: int
    loss: float
    seconds: float
    figures: Mapping[str, float | None]
    each: str = "class"
    rows: tuple[Mapping[str, Any], ...] = ()
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As `test` in summary.json."""
        rows = {f"per_{self.each}": [dict(row) for row in self.rows]} if self.rows else {}
        return {"images": self.images, "loss": self.loss, **self.figures, **rows, **self.more, "seconds": self.seconds}

    def __getitem__(self, name: str) -> float:
        """A figure by its name; nan where it is not defined."""
        value = self.figures[name]
        return math.nan if value is None else value

    def with_figures(self, figures: Mapping[str, float | None]) -> Self:
        """The same with more to say."""
        return dataclasses.replace(self, figures={**self.figures, **figures})


class Meter(Protocol):
    """Takes a split batch by batch, and says what was measured on all of it, exactly."""

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches; the mean loss and the time that it took are given."""


@dataclass(frozen=True)
class Answer:
    """What a network says of one image: plain data for JSON, and in a line; of several heads, the answer of each."""

    record: Mapping[str, Any]
    text: str
    parts: Mapping[str, Answer] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A kind of target, with the names of what is told apart: plain data, which a run folder keeps.

    Attributes:
        names: of the classes, numbers or keypoints, in the order of the outputs.
        kind: what run.json calls it.
        metric: the score that is shown after every epoch, 0 .. 1, the higher the better.
        losses: the names of the losses that fit, the default first.
        in_loss: the layer that losses and answers compute of what a head gives, so that a head is trained without it.
        is_mixable: whether the loss of a blend of two images is that of both targets.
    """

    names: tuple[str, ...]

    kind: ClassVar[str]
    metric: ClassVar[str]
    losses: ClassVar[tuple[str, ...]]
    in_loss: ClassVar[type[Layer] | None] = None
    is_mixable: ClassVar[bool] = False

    @property
    def learns(self) -> str:
        """The kind of task of the data that it is learned from: mostly its own."""
        return self.kind

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """Raises `UserError` unless the heads give what this task needs; `whose` names the data for the message."""
        raise NotImplementedError

    def activation(self, head: str) -> type[Layer] | None:
        """The layer that the loss computes of what the head of this name gives; None where it computes none."""
        return self.in_loss

    def head(self) -> str:
        """A head that fits, as a YAML design has it."""
        return f"{{LinearHead: {{classes: {len(self.names)}}}}}"

    def fitted(self, outputs: Sequence[Output], target: Target) -> Task:
        """The same for a network with these heads, and the targets of the training split; mostly as it is."""
        return self

    def prepare(self, module: nn.Module) -> None:
        """Gives a network that was initialised what the task wants it to begin with; mostly nothing."""

    def criterion(self, name: str, options: Options) -> Criterion:
        """What `loss` needs: the loss of this name, or the task's own where it is empty.

        Raises:
            UserError: if there is no such loss, or it or an option does not fit the task.
        """
        if name and name not in self.losses:
            hint = nearest(name, self.losses)
            raise UserError(f"the loss {name} does not fit {self.kind}: one of {', '.join(self.losses)}.{hint}")
        for field in ("losses", "loss_weights"):
            if getattr(options, field):
                raise UserError(f"{field} are of several heads, each with targets of its own; the task is {self.kind}")
        return losses.make(name or self.losses[0], options)

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """The mean loss of a batch, a scalar; `criterion` is what that method gave, or a loss of one's own."""
        raise NotImplementedError

    def moved(self, target: Target, move: Moving) -> Target:
        """The targets of images that augmentation moves."""
        raise NotImplementedError

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The sum over the images of a score, 0 .. 1 each: what `metric` names."""
        raise NotImplementedError

    def meter(self) -> Meter:
        """What measures a whole split."""
        raise NotImplementedError

    def run(self, network: nn.Module, images: Tensor) -> Outputs:
        """What a network in evaluation gives for normalised images, from which `answers` are made."""
        return network(images)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """What the network says of each image of a batch; of classes the `most` likeliest."""
        raise NotImplementedError

    def with_threshold(self, least: float) -> Task | None:
        """The task that says what is as likely as that; None where it says nothing by a threshold.

        The same task where an answer is whole, and is taken or not taken for known by its probability.
        """
        return None

    def in_image(self, answer: Answer, to_image: ToImage) -> Answer:
        """The same answer with its places in pixels of the image; mostly it has none."""
        return answer

    def as_dict(self) -> dict[str, Any]:
        """As run.json keeps it: the kind and the fields, without the names; `kinds.from_dict` reads it."""
        fields = [field.name for field in dataclasses.fields(self) if field.name != "names"]
        return {"kind": self.kind, **{name: getattr(self, name) for name in fields}}


class PerImage(Task):
    """A task whose head gives one number of an image for each name."""

    is_mixable: ClassVar[bool] = True

    def scores(self, outputs: Outputs) -> Tensor:
        """What the network gives, `(images, names)`."""
        scores: Tensor = outputs.flatten(1)
        return scores

    def wanted(self, target: Target) -> Tensor:
        """What is right: the class of each image, or a row of numbers for each."""
        assert isinstance(target, Tensor)
        return target

    def moved(self, target: Target, move: Moving) -> Target:
        """As they are: they have no places."""
        return target

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """That of the scores; the mean over their names, too, where each has a target."""
        value: Tensor = criterion(self.scores(outputs), self.wanted(target))
        return value


class WholeSplit:
    """A meter that keeps the scores and targets of a split; what is measured on them, its subclasses say."""

    def __init__(self, task: PerImage) -> None:
        self.task = task
        self._scores: list[Tensor] = []
        self._wanted: list[Tensor] = []

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        self._scores.append(self.task.scores(outputs).float().cpu())
        self._wanted.append(self.task.wanted(target).cpu())

    def kept(self) -> tuple[Tensor, Tensor]:
        """Scores and targets of all batches, one row an image."""
        return torch.cat(self._scores), torch.cat(self._wanted)


def given(outputs: Sequence[Output]) -> str:
    """Heads with their shapes, for messages."""
    return ", ".join(f"{output.name} ({dimensions(output.shape)})" for output in outputs)


def one_main(outputs: Sequence[Output], needs: str) -> Sequence[Output]:
    """All heads, of which one is a main head: the auxiliary ones learn the same, and so must fit as well.

    Raises `UserError` where there are other main heads; `needs` is what a task needs, for the message.
    """
    main = [output for output in outputs if not output.auxiliary]
    if len(main) != 1:
        raise UserError(f"the network gives {len(main)} outputs, {given(main)}; {needs} needs one main head")
    return outputs


def check_numbers(task: Task, outputs: Sequence[Output], one: str, needs: str, whose: str) -> None:
    """Raises `UserError` unless one main head gives one number for each name of a task."""
    for output in one_main(outputs, one):
        if elements(output.shape) != len(task.names):
            raise mismatch(output, f"{needs} {len(task.names)}", whose, task.names)


def mismatch(output: Output, needs: str, whose: str, names: Sequence[str]) -> UserError:
    """The message for a head of the wrong shape."""
    head = f"the auxiliary head {output.name}" if output.auxiliary else "the head"
    return UserError(f"{head} gives {dimensions(output.shape)}, {needs}: {whose} {some_of(names)}")


def chosen(targets: Target, indices: Tensor) -> Target:
    """The targets of some images."""
    if isinstance(targets, Tensor):
        return targets.index_select(0, indices)
    return {name: tensor.index_select(0, indices) for name, tensor in targets.items()}
