"""A trained network: what every room takes and returns that works with weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from cnnatomy.data import Frame, ImageError, Split, load, load_labelled, open_source, recorded
from cnnatomy.data.frames import Pixels
from cnnatomy.data.images import Stored, quiet_decoders, read_stored
from cnnatomy.data.sources.drawn import DrawnScenes
from cnnatomy.design.build import build
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, some_of
from cnnatomy.files import writing_to
from cnnatomy.machine import choose_device
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.choices import chosen
from cnnatomy.runs.evaluation import EVALUATION_BATCH, evaluate
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.memory import out_of_memory
from cnnatomy.runs.model import Model, check_finite
from cnnatomy.runs.run import Run, keepable
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.losses import OWN, Options
from cnnatomy.tasks.task import Answer, Criterion, Evaluation, Task, outputs_of

IMAGES_AT_ONCE = 64
"""Images that are decoded and run at once."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: a row of metrics.csv. Losses are means over the images, scores 0 .. 1, `seconds` of all of it.

    `waiting` are those in which it waited for data; unknown, and so 0, of a time before they were measured.

    What the scores are, the task says (`task.metric`): for one label the accuracy.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_score: float
    val_loss: float
    val_score: float
    images_per_second: float
    seconds: float
    waiting: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a training went: every epoch, the one whose weights were kept, the result on the test split, summary.json."""

    epochs: tuple[Epoch, ...]
    best: Epoch
    stopped_early: bool
    test: Evaluation
    summary: Mapping[str, Any] = dataclasses.field(repr=False)


@dataclass(frozen=True)
class Prediction:
    """What is said of one image; or what is wrong with the file."""

    path: Path
    answer: Answer | None = None
    error: str = ""

    @property
    def classes(self) -> tuple[tuple[str, float], ...]:
        """The likeliest classes with their probabilities, likeliest first, where there is one label."""
        said = self.answer.record.get("predictions", ()) if self.answer is not None else ()
        return tuple((each["class"], each["probability"]) for each in said)


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights, and all that is needed to use it.

    Attributes:
        run: the design, the data and the recipe; what is done to an image (`run.normalisation`, `run.shape`) and what
            the outputs mean (`run.classes`); what it was derived from (`run.parent`, `run.change`).
        model: the built network with its normalisation before it, in evaluation.
        path: the run folder, where it was trained into one or loaded from one.
        outcome: how the training went, where that was in this process.
        choices: what was chosen on validation at its end; see `runs.choices`.
    """

    run: Run
    model: Model
    path: Path | None = None
    outcome: Outcome | None = None
    choices: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The built network, which takes normalised images `(images, channels, rows, columns)`."""
        return self.model.network

    @property
    def name(self) -> str:
        """What messages, and runs that derive from it, call it: its folder, else the name of its network."""
        return str(self.path) if self.path is not None else self.run.name

    @property
    def task(self) -> Task:
        """What it does: that of the run, of several labels with the thresholds that were chosen on validation."""
        return chosen(self.run.task, self.choices)[0] if "thresholds" in self.choices else self.run.task

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """The network of a run folder with the weights of its best epoch.

        Raises:
            UserError: if the folder is no run, its network gives other outputs than it has classes, or its weights are
                missing, broken, another network's, or not finite.
        """
        where = choose_device(device)
        folder, run = run_folder.read_run(path)
        graph = run.network.graph(run.shape)
        run.task.check(outputs_of(run.network, graph), str(folder.run))
        with out_of_memory(str(path)):
            model = Model(build(graph), run.normalisation)
            run_folder.read_weights(folder.model, model.network, run.name)
        made = run_folder.read_json(folder.summary, "the result") if run_folder.is_complete(folder) else {}
        return cls(run, model.to(where).eval(), folder.path, choices=made.get("validation", {}))

    def as_chosen(self) -> tuple[Self, float]:
        """The same with the temperature or thresholds of validation, and the probability below which it is not sure.

        Raises:
            UserError: if nothing was chosen.
        """
        task, threshold = chosen(self.run.task, self.choices)
        return dataclasses.replace(self, run=dataclasses.replace(self.run, task=task)), threshold

    def derived(self, network: Design, module: nn.Module, change: str) -> Self:
        """What some change makes of it: `module` is `network` built, with its weights; `change` says it in words.

        Raises:
            UserError: naming the first tensor of `module` that `network` has not, or has in another shape.
        """
        with torch.device("meta"):
            expected = network.build(self.run.shape)
        run_folder.check_weights("the module", module.state_dict(), expected, network.name)
        run = dataclasses.replace(self.run, network=network, name=network.name, parent=self.name, change=change)
        return type(self)(run, Model(module, run.normalisation).eval())

    def save(self, path: str | Path) -> Self:
        """Writes a new run folder: design, run and weights.

        Raises:
            UserError: if the folder exists already or cannot be written, or the network cannot be kept.
        """
        place = RunFolder(Path(path))
        run = dataclasses.replace(self.run, network=keepable(self.run.network, self.run.shape))
        run_folder.create(place, run)
        with writing_to(place.path):
            run_folder.write_weights(place.model, self.network.state_dict(), run.name)
        return dataclasses.replace(self, run=run, path=place.path)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, `(images, classes)`, for images of `(images, channels, rows, columns)`, 0 .. 255.

        Raises:
            UserError: if the task is not one label, an output is no finite number, or the memory does not suffice.
        """
        if not isinstance(self.run.task, Label):
            raise UserError(f"{self.name} does not classify: its task is {self.run.task.kind}")
        with out_of_memory(self.name):
            outputs, _ = self.model.heads(self.model(images))
            check_finite(outputs)
            return self.run.task.scores(outputs).softmax(1).cpu()

    @torch.inference_mode()
    def answers(self, images: Tensor, most: int = 5) -> list[Answer]:
        """What the network says of images of `(images, channels, rows, columns)`, 0 .. 255.

        Raises:
            UserError: if an output is no finite number, or the memory does not suffice.
        """
        with out_of_memory(self.name):
            outputs, _ = self.model.heads(self.task.run(self.network, self.model.normalised(images)))
            check_finite(outputs)
            return self.task.answers(outputs, most)

    def predict(self, paths: Sequence[str | Path], most: int = 5) -> Iterator[Prediction]:
        """One prediction a path, in order; a file that is no usable image gets an `error` and stops nothing.

        Places are in pixels of the image, upright.

        Raises `UserError` where the network takes what no image file gives, or it cannot `answer`.
        """
        frame = self.run.frame
        for start in range(0, len(paths), IMAGES_AT_ONCE):
            yield from self._predict([Path(path) for path in paths[start : start + IMAGES_AT_ONCE]], frame, most)

    def evaluate(self, source: str | Path | None = None) -> tuple[Evaluation, str]:
        """On the run's own test split, or on other data with (some of) the same classes; and in words on what.

        Of other data the test split is taken where it brings one along, else every image.
        Raises `UserError` where the run's own data has changed since, so that its splits may be others.
        """
        split, what = self.test_split(source)
        with out_of_memory(self.name):
            return evaluate(self.model, split.batches(EVALUATION_BATCH), self.task, self._criterion()), what

    def _criterion(self) -> Criterion:
        """The loss that was trained, as validation measured it; the task's own where it was one of the user's."""
        name = str(self.run.recipe.get("loss", ""))
        options = Options.of(self.run.recipe).plain()
        return self.run.task.criterion("" if name.startswith(OWN) else name, options)

    def test_split(self, source: str | Path | None = None) -> tuple[Split, str]:
        """What `evaluate` evaluates on, in the shape of the network's input, and in words what that is."""
        if source is None and not self.run.fingerprint:
            raise UserError(
                f"{self.name} holds {self.run.source}, and no data came with them: give --data with images of its"
                " classes (in Python, evaluate(source))"
            )
        run, images = self.run, open_source(recorded(self.run.source) if source is None else source)
        name, drawn, task = images.source, isinstance(images, DrawnScenes), images.task(run.shape)
        own = name == run.source
        if not own and (task.kind != run.task.learns or (drawn and task.names != run.classes)):
            raise UserError(
                f"{name} has targets of the task {task.kind} ({some_of(task.names)}); {self.name} was trained"
                f" for {run.task.kind} ({some_of(run.classes)})"
            )
        if not own and not drawn:
            return load_labelled(images, run.frame, run.classes)
        data = load(images, run.shape, run.loading)
        if own and data.fingerprint != run.fingerprint:
            raise UserError(f"{name} has changed since this run was trained: its test split may hold training images")
        return data.test, f"test split of {name}"

    def _predict(self, paths: Sequence[Path], frame: Frame, most: int) -> Iterator[Prediction]:
        found: dict[Path, tuple[Pixels, Stored]] = {}
        errors: dict[Path, str] = {}
        with quiet_decoders():
            for path in paths:
                try:
                    found[path] = read_stored(path, frame)
                except ImageError as error:
                    errors[path] = str(error)
        said = self.answers(torch.from_numpy(np.stack([pixels for pixels, _ in found.values()])), most) if found else []
        answers = {
            path: self.task.in_image(answer, frame.placement(stored.upright).to_image)
            for (path, (_, stored)), answer in zip(found.items(), said, strict=True)
        }
        for path in paths:
            yield Prediction(path, answers.get(path), errors.get(path, ""))
