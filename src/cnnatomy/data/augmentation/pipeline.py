"""What happens to a batch in training, in order: moved, coloured, made noisy, erased, and what is one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnatomy.data.augmentation.colours import JITTER, coloured, noisy
from cnnatomy.data.augmentation.erasing import erased
from cnnatomy.data.augmentation.geometry import Move
from cnnatomy.data.augmentation.moves import Size, move_of
from cnnatomy.data.augmentation.own import Transform
from cnnatomy.data.augmentation.policies import Round, changed, matrices_of, rounds_of
from cnnatomy.data.augmentation.settings import Augmentation
from cnnatomy.tasks.task import Target, Task

CACHE = 2**22
"""Bytes of float images that a CPU changes at once."""


def augmented(
    images: Tensor,
    target: Target,
    seeds: Tensor,
    recipe: Augmentation,
    task: Task,
    transform: Transform | None = None,
) -> tuple[Tensor, Target]:
    """A batch as training sees it, and its targets, whose places move with the image.

    Args:
        images: `(images, channels, rows, columns)` uint8.
        seeds: one for each, `(images,)` int64, on the CPU; see `data.seeds`.
        task: knows which of its targets have places.
        transform: one's own, after all others.

    Returns:
        The images, as bytes, or as float32 of 0 .. 255 where more happens to them than that pixels move and are erased;
        the same tensors where nothing does.
    """
    size: Size = (images.shape[-2], images.shape[-1])
    rounds = rounds_of(seeds, recipe)
    move = _both(move_of(seeds, size, recipe), rounds, size)
    if move is not None:
        images, target = move.pixels(images), task.moved(target, move)
    if rounds or recipe.noise or any(getattr(recipe, name) for name in JITTER):
        images = _revalued(images, seeds, recipe, rounds)
    if recipe.erasing:
        images = erased(images, seeds, recipe.erasing)
    if transform is not None:
        images = transform((images.float() / 255).clamp(0, 1)) * 255  # interpolated white is a bit above it
    return images, target


def _revalued(images: Tensor, seeds: Tensor, recipe: Augmentation, rounds: Sequence[Round]) -> Tensor:
    """Images with other values where they are: on a CPU so few at once that they stay in its cache meanwhile."""
    at_once = max(1, CACHE // (4 * images[0].numel())) if images.device.type == "cpu" else len(images)
    parts = []
    for first in range(0, len(images), at_once):
        part = slice(first, first + at_once)
        values = coloured(images[part].float() / 255, seeds[part], recipe)
        values = changed(values, [Round(*(numbers[part] for numbers in each)) for each in rounds])
        parts.append((noisy(values, seeds[part], recipe.noise) if recipe.noise else values) * 255)
    return torch.cat(parts)


def _both(move: Move | None, rounds: Sequence[Round], size: Size) -> Move | None:
    """A move, and after it what the operations of policies move."""
    if not rounds:
        return move
    after = matrices_of(rounds, size)
    return Move(after if move is None else after @ move.matrices, size)
