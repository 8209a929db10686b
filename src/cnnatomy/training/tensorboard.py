"""What TensorBoard shows of a training: curves, every layer's gradients and changes, activations, wrong images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnatomy.runs.trained import Epoch
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.task import Outputs, Target
from cnnatomy.training.layers import Layers, some, weights
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import STEPS_BETWEEN_POINTS, Watcher, points

IMAGES_LOOKED_AT = 32
"""Of validation, the first: for the histograms of activations."""
LAYERS_LOOKED_AT = 8
"""Whose activations are shown: the first, the last, and some between."""
NUMBERS_LOOKED_AT = 4096
"""Of the activations of a layer; the histogram of more takes longer than small networks train."""
TOO_LARGE_TO_SHOW = 1e20
"""From which on TensorBoard's bins hold no number; a layer with such activations has no histogram."""
WRONG_SHOWN = 16
"""Images that are wrong with the highest probability."""
MAX_MATRIX = 1_000
"""Classes of a confusion matrix that is shown."""
MATRIX_SIDE, IMAGE_SIDE = 256, 96
"""Pixels that the longer side of a confusion matrix, and of an image of the grid, is enlarged towards."""
SHARE = 0.01
"""Of the time of a training that histograms and images may take at most; an epoch that comes too soon has none."""


class TensorBoard(Watcher):
    """Writes event files into a folder, to be shown by `tensorboard --logdir`.

    Histograms and images are made of the first epoch, the last, and as many between as `share` of the time allows.
    """

    def __init__(self, folder: Path, layers: Layers | None = None, share: float = SHARE) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here, so that it counts neither as time nor as memory

        self.folder, self.layers, self.share = folder, layers, share
        self._next = 0.0
        self._open = SummaryWriter
        self._writer: Any = None
        self._images: Tensor | None = None
        self._answers = Answers()

    def begin(self, training: Training) -> None:
        """Opens the file; points of steps that are run again are removed."""
        self._writer = self._open(str(self.folder), purge_step=training.steps + 1)

    def step(self, training: Training, loss: Tensor) -> None:
        """Now and then a point of the loss, and of each layer."""
        if training.steps % STEPS_BETWEEN_POINTS == 0:
            self._writer.add_scalar("loss/batch", float(loss), training.steps)
        for path, (gradient, change) in (self.layers.latest if self.layers else {}).items():
            self._writer.add_scalar(f"gradient_norm/{path}", gradient, training.steps)
            self._writer.add_scalar(f"relative_change/{path}", change, training.steps)

    def validated(self, training: Training, images: Tensor, outputs: Outputs, target: Target) -> None:
        """Keeps what is wrong, and the images for the histograms."""
        if self._images is None:
            self._images = images[:IMAGES_LOOKED_AT].clone()
        if isinstance(training.objective.task, Label) and isinstance(outputs, Tensor) and isinstance(target, Tensor):
            self._answers.add(images, outputs.flatten(1), target)

    def epoch(self, training: Training, row: Epoch) -> None:
        """The points of an epoch."""
        for name, value in points(training, row).items():
            self._writer.add_scalar(name, value, training.steps)
        answers, self._answers = self._answers, Answers()
        started = time.monotonic()
        if started >= self._next or training.is_over:
            self._show_activations(training)
            self._show_answers(training, answers)
            self._next = time.monotonic() + (time.monotonic() - started) / self.share
        self._writer.flush()

    def end(self, training: Training) -> None:
        """Closes the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _show_activations(self, training: Training) -> None:
        if self._images is not None:
            for path, values in activations(training.evaluated, self._images).items():
                self._writer.add_histogram(f"activations/{path}", values, training.steps)

    def _show_answers(self, training: Training, answers: Answers) -> None:
        names, step = training.objective.task.names, training.steps
        if answers.counts is not None:
            matrix = matrix_image(answers.counts.numpy())
            self._writer.add_image("validation/confusion_matrix", matrix, step, dataformats="HWC")
        if answers.wrong:
            grid = grid_image([wrong.image for wrong in answers.wrong])
            self._writer.add_image("validation/most_wrong", grid, step, dataformats="HWC")
            lines = [
                f"{number}. {names[wrong.label]}, taken for {names[wrong.taken]} ({wrong.probability:.1%})"
                for number, wrong in enumerate(answers.wrong, 1)
            ]
            self._writer.add_text("validation/most_wrong", "\n".join(lines), step)


class Wrong:
    """An image, `(channels, rows, columns)` uint8, its label, what it was taken for, and with what probability."""

    def __init__(self, image: NDArray[np.uint8], label: int, taken: int, probability: float) -> None:
        self.image, self.label, self.taken, self.probability = image, label, taken, probability


class Answers:
    """How often each class was taken for each other, and the images that were taken wrongly most surely."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.wrong: list[Wrong] = []

    def add(self, images: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Counts a batch."""
        classes = logits.shape[1]
        sureness, taken = logits.softmax(1).max(1)
        if classes <= MAX_MATRIX:
            counts = torch.bincount(labels * classes + taken, minlength=classes**2).view(classes, classes).cpu()
            self.counts = counts if self.counts is None else self.counts + counts
        wrongly = torch.where(taken != labels, sureness, -1.0)
        values, places = (each.tolist() for each in wrongly.topk(min(WRONG_SHOWN, len(labels))))
        found = [
            Wrong(images[place].cpu().numpy(), int(labels[place]), int(taken[place]), value)
            for value, place in zip(values, places, strict=True)
            if value >= 0
        ]
        self.wrong = sorted(self.wrong + found, key=lambda wrong: -wrong.probability)[:WRONG_SHOWN]


@torch.inference_mode()
def activations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What some layers with weights put out for images, in evaluation: evenly spaced numbers of it, by path."""
    network: nn.Module = model.network  # type: ignore[assignment]
    modules = dict(network.named_modules())
    paths = [path for path in weights(network) if path in modules]
    if len(paths) > LAYERS_LOOKED_AT:
        paths = [paths[round(i * (len(paths) - 1) / (LAYERS_LOOKED_AT - 1))] for i in range(LAYERS_LOOKED_AT)]
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen[path] = some(output.float(), NUMBERS_LOOKED_AT).cpu()

        return hook

    hooks = [modules[path].register_forward_hook(keep(path)) for path in paths]
    try:
        with _evaluating(model):
            model(images)
    finally:
        for handle in hooks:
            handle.remove()
    return {path: values for path, values in seen.items() if (values.abs() < TOO_LARGE_TO_SHOW).all()}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation; afterwards in the mode in which it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def matrix_image(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """A confusion matrix as an image (rows, columns, 3): row t, column p, the darker the more of class t are taken for
    p; what is right is green, what is wrong red."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ink = np.sqrt(shares)[..., None]  # so that a few percent can be seen
    right = np.eye(len(counts), dtype=bool)[..., None]
    colour = np.where(right, np.array([0, 110, 60]), np.array([190, 20, 30]))
    pixels = np.round(255 + ink * (colour - 255)).astype(np.uint8)
    return enlarged(pixels, MATRIX_SIDE)


def grid_image(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images `(channels, rows, columns)` side by side, in rows of four, as `(rows, columns, 3)`: three channels are
    colours, of others the first is shown."""
    tiles = [enlarged(_colours(image), IMAGE_SIDE) for image in images]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 4)
    framed = [np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles]
    return np.concatenate([np.concatenate(framed[i : i + 4], 1) for i in range(0, len(framed), 4)], 0)


def _colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (image if len(image) == 3 else np.repeat(image[:1], 3, 0)).transpose(1, 2, 0)


def enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Each pixel as a square, so that the longer side is nearly `side`, if it is shorter."""
    times = max(1, side // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)
