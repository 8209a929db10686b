"""Augmentation before the first step: whether it fits, and a transform of one's own, tried before anything is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from cnnatomy.data import Data
from cnnatomy.data.augmentation import augmented
from cnnatomy.data.augmentation.own import Transform, guarded
from cnnatomy.data.augmentation.settings import MIXING, NAMES
from cnnatomy.data.batches import Batches
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.tasks.task import Task
from cnnatomy.training.schema import Recipe

TRIED = 8
"""Images that are augmented before training begins."""


def check(recipe: Recipe, task: Task, shape: Shape) -> None:
    """Raises `UserError` where a field of the recipe does not fit images of this shape, or what is learned of them."""
    rows, columns = shape[-2:]
    if recipe.turns and rows != columns:
        raise UserError(
            f"recipe: turns needs square images, and these have {rows} rows and {columns} columns: set turns=0, or use"
            " rotation=DEGREES"
        )
    if recipe.crop >= min(rows, columns):
        raise UserError(
            f"recipe: crop={recipe.crop} can leave nothing of an image of {rows} x {columns} pixels: set crop to less"
            f" than {min(rows, columns)}, such as {max(1, min(rows, columns) // 8)}"
        )
    mixing = [name for name in MIXING if getattr(recipe, name)]
    if mixing and not task.is_mixable:
        raise UserError(
            f"recipe: {mixing[0]} adds two images and their losses, for targets of the whole image: one label, several"
            f" labels or numbers; the task is {task.kind}: set {' and '.join(f'{name}=0' for name in mixing)}"
        )


def batches(data: Data, recipe: Recipe, weights: Tensor | None) -> Batches:
    """Those of the training split, of whose images a part is cut out while they are decoded, if it may be then."""
    if not cuts_files(recipe, data):
        return data.train.batches(recipe.batch_size, recipe.seed, weights)
    assert data.originals is not None
    split = replace(data.train, store=data.originals)
    return split.batches(recipe.batch_size, recipe.seed, weights, recipe.resized_crop)


def cuts_files(recipe: Recipe, data: Data) -> bool:
    """Whether `resized_crop` cuts a part out of the files, which are decoded in every epoch then: that stays sharp.

    That is where they have more pixels than what is decoded of them, nothing comes before, and no target has places in
    the image.
    """
    return recipe.resized_crop > 0 and data.originals is not None and data.task.is_mixable and not recipe.perspective


def said(recipe: Recipe, shape: Shape) -> list[str]:
    """What happens to the images of a training, in a line; and what of it changes nothing, as they have no colours."""
    values = {name: getattr(recipe, name) for name in NAMES if getattr(recipe, name)}
    words = {name: name if value is True else f"{name} {value}" for name, value in values.items()}
    alone = [words[name] for name in words if name not in MIXING]
    mixed = [words[name] for name in words if name in MIXING]
    lines = [f"augmented, each training image in each epoch by itself: {', '.join(alone)}"] if alone else []
    lines += [f"mixed, two images of a batch: {', '.join(mixed)}"] if mixed else []
    vain = [name for name in ("colour", "hue") if name in values]
    if vain and shape[0] != 3:
        change, channels = "change" + "s" * (len(vain) == 1), f"{shape[0]} channel" + "s" * (shape[0] > 1)
        lines.append(f"{' and '.join(vain)} {change} nothing: images of {channels} have no red, green and blue")
    return lines


def own(recipe: Recipe, transform: Callable[[Tensor], Any] | None) -> Transform | None:
    """A transform of one's own, whose mistakes are told as a user's.

    Raises:
        UserError: if the recipe names code that was not given.
    """
    name = recipe.own("transform", transform)
    return guarded(transform, name) if transform is not None else None


def try_out(data: Data, task: Task, recipe: Recipe, transform: Transform) -> None:
    """Augments a few training images; raises `UserError` of `own.guarded` where a transform of one's own cannot."""
    some = replace(data.train, indices=data.train.indices[:TRIED])
    images, target, seeds = next(some.batches(TRIED, recipe.seed).drawn())
    augmented(images, target, seeds, recipe, task, transform)
