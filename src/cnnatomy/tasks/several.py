"""Several heads with a task each; early exits, which all say the same; a label with a class for each pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cnnatomy.errors import UserError
from cnnatomy.layers import Layer
from cnnatomy.layers.layer import elements
from cnnatomy.tasks import losses
from cnnatomy.tasks.label import Label, LabelMeter
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.maps import Mask
from cnnatomy.tasks.task import (
    Answer,
    Criterion,
    Evaluation,
    Meter,
    Moving,
    Output,
    Outputs,
    Target,
    Task,
    ToImage,
    given,
    mismatch,
)

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Of the probability from which on an exit is taken, at which early exits are measured."""


@dataclass(frozen=True)
class SeveralHeads(Task):
    """A task for each head, by its name; the sum of their losses, each with its weight, is what is trained."""

    tasks: dict[str, Task] = field(default_factory=dict)

    kind: ClassVar[str] = "heads"
    metric: ClassVar[str] = "mean_score"
    losses: ClassVar[tuple[str, ...]] = ("each",)

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """A head for each task, which fits it."""
        heads = {output.name: output for output in outputs}
        if set(heads) != set(self.tasks):
            raise UserError(
                f"{whose} has targets for {', '.join(self.tasks)}, and each needs a head of its name; the network gives"
                f" {given(outputs)}. In YAML: head: {self.head()}, where scale is the stride of the body"
            )
        for name, task in self.tasks.items():
            try:
                task.check([heads[name]], whose)
            except UserError as error:
                raise UserError(f"head {name}: {error}") from None

    def head(self) -> str:
        """One for each task."""
        return f"{{Heads: {{{', '.join(f'{name}: {task.head()}' for name, task in self.tasks.items())}}}}}"

    def as_dict(self) -> dict[str, Any]:
        """With the names of each head's task beside its fields."""
        tasks = {name: {"names": list(task.names), **task.as_dict()} for name, task in self.tasks.items()}
        return {**super().as_dict(), "tasks": tasks}

    def activation(self, head: str) -> type[Layer] | None:
        """That of the head's task."""
        return self.tasks[head].activation(head) if head in self.tasks else None

    def criterion(self, name: str, options: Options) -> Criterion:
        """That of each head, with its weight; none for a head of weight 0."""
        for option, by_head in (("losses", options.losses), ("loss_weights", options.loss_weights)):
            for head in by_head:
                if head not in self.tasks:
                    raise UserError(f"{option}: there is no head {head}: one of {', '.join(self.tasks)}")
        if name not in ("", "each"):
            first = next(iter(self.tasks))
            raise UserError(
                f"several heads have a loss each: {name} cannot be that of all. Choose by head:"
                f" --set 'losses={{{first}: {name}}}'"
            )
        weights = {head: options.loss_weights.get(head, 1.0) for head in self.tasks}
        if not any(weights.values()):
            raise UserError(f"loss_weights: {', '.join(weights)} have weight 0, so that there is nothing to train")
        own = dataclasses.replace(options, losses={}, loss_weights={})
        return {
            head: (weight, self._of_head(head, options.losses.get(head, ""), own))
            for head, weight in weights.items()
            if weight
        }

    def _of_head(self, head: str, name: str, options: Options) -> Criterion:
        try:
            return self.tasks[head].criterion(name, options)
        except UserError as error:
            raise UserError(f"head {head}: {error}") from None

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """The weighted sum; a loss of one's own gets everything by head."""
        assert isinstance(target, dict)
        by_head = self.by_head(outputs)
        if callable(criterion):
            own: Tensor = criterion(by_head, target)
            return own
        return torch.stack(
            [
                weight * self.tasks[name].loss(by_head[name], target[name], loss)
                for name, (weight, loss) in criterion.items()
            ]
        ).sum()

    def moved(self, target: Target, move: Moving) -> Target:
        """Those of each head."""
        assert isinstance(target, dict)
        moved = {}
        for name, task in self.tasks.items():
            part = task.moved(target[name], move)
            assert isinstance(part, Tensor)
            moved[name] = part
        return moved

    def by_head(self, outputs: Outputs) -> dict[str, Any]:
        """Outputs by the names of their heads; a network with a single one gives its output itself."""
        return outputs if isinstance(outputs, dict) else dict.fromkeys(self.tasks, outputs)

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The mean over the heads."""
        assert isinstance(target, dict)
        by_head = self.by_head(outputs)
        scores = [task.score(by_head[name], target[name]) for name, task in self.tasks.items()]
        return torch.stack([score.float() for score in scores]).mean()

    def meter(self) -> HeadsMeter:
        """What each head's task measures."""
        return HeadsMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """What each head says."""
        by_head = self.by_head(outputs)
        each = {name: task.answers(by_head[name], most) for name, task in self.tasks.items()}
        return [_together(dict(zip(each, parts, strict=True))) for parts in zip(*each.values(), strict=True)]

    def in_image(self, answer: Answer, to_image: ToImage) -> Answer:
        """That of each head."""
        return _together({name: self.tasks[name].in_image(part, to_image) for name, part in answer.parts.items()})


def _together(parts: dict[str, Answer]) -> Answer:
    """The answers of several heads as one."""
    return Answer(
        {"heads": {name: part.record for name, part in parts.items()}},
        "; ".join(f"{name}: {part.text}" for name, part in parts.items()),
        parts,
    )


class HeadsMeter:
    """A meter for each head."""

    def __init__(self, task: SeveralHeads) -> None:
        self.task = task
        self.meters: dict[str, Meter] = {name: part.meter() for name, part in task.tasks.items()}

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        assert isinstance(target, dict)
        by_head = self.task.by_head(outputs)
        for name, meter in self.meters.items():
            meter.update(by_head[name], target[name])

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """The evaluation of each head."""
        rows = []
        figures: dict[str, float | None] = {}
        for name, meter in self.meters.items():
            measured = meter.result(images, math.nan, seconds)
            record = {
                key: value for key, value in measured.as_dict().items() if key not in ("images", "loss", "seconds")
            }
            rows.append({"head": name, **record})
            figures |= {f"{name}_{figure}": value for figure, value in measured.figures.items()}
        return Evaluation(images, loss, seconds, figures, "head", tuple(rows))


@dataclass(frozen=True)
class EarlyExits(Label):
    """One label an image, said by each of several heads on the way up, all trained together (Huang et al. 2017).

    An image leaves at the first exit whose largest probability is at least `threshold`. `macs` are the multiply-adds
    that it has taken by then, for each exit.
    """

    threshold: float = 0.9
    macs: tuple[int, ...] = ()

    kind: ClassVar[str] = "exits"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal")

    @property
    def learns(self) -> str:
        """Data of one label."""
        return Label.kind

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """One number for each class from each exit."""
        main = sum(not output.auxiliary for output in outputs)
        if main < 2 or main != len(self.macs):
            raise UserError(
                f"{whose} has {len(self.macs)} exits; the network gives {main} outputs: each exit is a head"
            )
        for output in outputs:
            if elements(output.shape) != len(self.names):
                needs = f"an exit needs {len(self.names)}"
                raise mismatch(output, needs, f"{whose} has the classes", self.names)

    def scores(self, outputs: Outputs) -> Tensor:
        """Those of the last exit."""
        return super().scores(list(outputs.values())[-1])

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """The sum over the exits (section 4.2 there: all weights are equal)."""
        labels = self.wanted(target)
        return torch.stack([self.loss_of(logits.flatten(1), labels, criterion) for logits in outputs.values()]).sum()

    def meter(self) -> Meter:
        """What each exit is right in, what thresholds cost, and all of a label for what is said at `threshold`."""
        return ExitsMeter(self)

    def run(self, network: nn.Module, images: Tensor) -> Outputs:
        """Each image by its own exit: later blocks compute those that are left, and no others."""
        from cnnatomy.catalogue.dense.msdnet import exit_early

        return exit_early(network, images, self.threshold)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """The likeliest classes, and the exit that said so, from 1, with the MACs that it took."""
        logits, taken = outputs
        answers = []
        for answer, number in zip(self.answers_of(logits.flatten(1), most), taken.tolist(), strict=True):
            cost = {"exit": number + 1} | ({"macs": self.macs[number]} if self.macs else {})
            said = f"exit {number + 1}" + (f", {self.macs[number]:,} MACs" if self.macs else "")
            answers.append(Answer({**answer.record, **cost}, f"{answer.text}  ({said})"))
        return answers


class ExitsMeter:
    """Keeps what each exit says."""

    def __init__(self, task: EarlyExits) -> None:
        self.task = task
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        assert isinstance(target, Tensor)
        self.logits.append(torch.stack([logits.flatten(1).float().cpu() for logits in outputs.values()]))
        self.labels.append(target.cpu())

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        logits, labels = torch.cat(self.logits, 1), torch.cat(self.labels)  # (exits, images, classes)
        right = logits.argmax(2) == labels
        sureness = logits.softmax(2).amax(2)
        macs = self.task.macs or (0,) * len(logits)
        rows = [
            {"exit": i + 1, "accuracy": float(share), "macs": cost or None}
            for i, (share, cost) in enumerate(zip(right.float().mean(1), macs, strict=True))
        ]
        each = [self._at(threshold, sureness, right, macs) for threshold in THRESHOLDS]
        taken = exits_taken(sureness, self.task.threshold)
        answers = self.task.measured(logits[taken, torch.arange(len(labels))], labels, loss, seconds)
        chosen = self._at(self.task.threshold, sureness, right, macs)
        figures = {
            "accuracy": float(right[-1].float().mean()),
            "accuracy_at_threshold": chosen["accuracy"],
            "mean_macs_at_threshold": chosen["mean_macs"],
            **{name: value for name, value in answers.figures.items() if name != "top_1"},
        }
        more = {"thresholds": each, "per_class": answers.rows, **answers.more}
        return Evaluation(images, loss, seconds, figures, "exit", tuple(rows), more)

    @staticmethod
    def _at(threshold: float, sureness: Tensor, right: Tensor, macs: Sequence[int]) -> dict[str, Any]:
        taken = exits_taken(sureness, threshold)
        counts = torch.bincount(taken, minlength=len(macs))
        return {
            "threshold": threshold,
            "accuracy": float(right.gather(0, taken[None]).float().mean()),
            "mean_macs": float(torch.tensor(macs, dtype=torch.float64)[taken].mean()) if any(macs) else None,
            "images_by_exit": counts.tolist(),
        }


def exits_taken(sureness: Tensor, threshold: float) -> Tensor:
    """For each image the first exit whose `sureness`, `(exits, images)`, is at least that; the last where none is."""
    sure = sureness >= threshold
    sure[-1] = True
    return sure.int().argmax(0)


@dataclass(frozen=True)
class Localised(Label):
    """One label an image and a class for each pixel: a head that votes pixel by pixel and gives its class map, too.

    The loss of the map is added with `map_weight` (lecture 000: "better classification error functions with training
    data with localized labels").
    """

    map_weight: float = 1.0

    kind: ClassVar[str] = "localised"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal")
    is_mixable: ClassVar[bool] = False

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """One number for each class, and a map of a channel for each."""
        shapes = [output.shape for output in outputs]
        classes = len(self.names)
        if len(shapes) != 2 or elements(shapes[0]) != classes or len(shapes[1]) != 3 or shapes[1][0] != classes:
            raise mismatch(
                outputs[-1],
                f"localised labels need scores of {classes} classes and their map, in YAML: head: {self.head()}",
                f"{whose} has the classes",
                self.names,
            )

    def head(self) -> str:
        """One that gives both."""
        return f"{{PixelHead: {{classes: {len(self.names)}, localise: true}}}}"

    def scores(self, outputs: Outputs) -> Tensor:
        """Those of the image, not of its pixels."""
        return super().scores(_two(outputs)[0])

    def wanted(self, target: Target) -> Tensor:
        """The classes of the images."""
        assert isinstance(target, dict)
        return super().wanted(target["label"])

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """Of the label, and of the map."""
        assert isinstance(target, dict)
        places = _two(outputs)[1]
        of_map = Mask(self.names).loss(places, target["mask"], losses.make("cross-entropy", Options()))
        return super().loss(outputs, target, criterion) + self.map_weight * of_map

    def moved(self, target: Target, move: Moving) -> Target:
        """The label stays, and the map of the classes moves."""
        assert isinstance(target, dict)
        return target | {"mask": move.classes(target["mask"])}

    def meter(self) -> Meter:
        """That of one label, and the accuracy of the pixels."""
        return LocalisedMeter(self)


def _two(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Scores and class map, of one head that gives both or of two heads in this order."""
    scores, places = outputs.values() if isinstance(outputs, dict) else outputs
    return scores, places


class LocalisedMeter(LabelMeter):
    """Measures the label as usual, and counts the pixels."""

    def __init__(self, task: Localised) -> None:
        super().__init__(task)
        self.pixels = Mask(task.names).meter()

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        assert isinstance(target, dict)
        super().update(outputs, target)
        self.pixels.update(_two(outputs)[1], target["mask"])

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        measured = super().result(images, loss, seconds)
        pixels = self.pixels.result(images, loss, seconds)
        return measured.with_figures({name: pixels.figures[name] for name in ("pixel_accuracy", "mean_iou")})
