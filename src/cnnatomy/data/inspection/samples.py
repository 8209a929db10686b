"""Images to look at: some of each class, as they are, and as training would see them in several epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from cnnatomy.data import seeds
from cnnatomy.data.frames import Pixels
from cnnatomy.data.image_set import LEFT_OUT, TRAIN
from cnnatomy.data.inspection.gathering import Gathered
from cnnatomy.data.inspection.learned import figures_of, heads_of
from cnnatomy.tasks.task import Target, chosen

AT_ONCE = 256
"""Images that are fetched together."""
WHOLE_IMAGE = ("label", "labels")
"""Kinds of targets that name what a whole image shows; of several heads, one of these says what its class is."""


class ShownImage(NamedTuple):
    """One image `(channels, rows, columns)` uint8, and what there is to learn of it: its target or map by head."""

    pixels: Pixels
    target: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class SampledImage:
    """An image as it is, and `after` augmentation, one an epoch."""

    name: str
    before: ShownImage
    after: tuple[ShownImage, ...] = ()


@dataclass(frozen=True, eq=False)
class SampledClass:
    """Samples of one class, of which there are so many images in all."""

    name: str
    images: int
    samples: tuple[SampledImage, ...]


class Augment(Protocol):
    """Changes a batch as training does: images `(images, channels, rows, columns)` uint8, targets, a seed for each."""

    def __call__(self, images: Tensor, target: Target, seeds: Tensor) -> tuple[Tensor, Target]: ...


def sample_rows(
    data: Gathered, count: int, seed: int = 0, augment: Augment | None = None, epochs: int = 0, most: int = 10**6
) -> list[SampledClass]:
    """`count` images of each class, of the first classes for which that are `most` images at most.

    They are drawn by `seed` out of the training images, and out of the others where those do not suffice. With
    `augment` they are of the training images alone, as others are never augmented.
    """
    generator = np.random.default_rng(seed)
    groups = _groups(data)[: max(1, most // (count * (1 + epochs)))]
    picked = []
    for _, members in groups:
        training = data.splits[members] == TRAIN
        mixed = [generator.permutation(part) for part in (members[training], members[~training])]
        picked.append((mixed[0] if augment else np.concatenate(mixed))[:count])
    order = np.concatenate([np.zeros(0, np.int64), *picked])
    shown = iter(_fetched(data, order, seed, augment, epochs))
    return [
        SampledClass(name, len(members), tuple(next(shown) for _ in part))
        for (name, members), part in zip(groups, picked, strict=True)
    ]


def _groups(data: Gathered) -> list[tuple[str, np.ndarray]]:
    """Names with the images in which they are; one group of all where images are not told apart by names."""
    used = np.flatnonzero(data.splits != LEFT_OUT)
    by_name = WHOLE_IMAGE if isinstance(data.targets, dict) else (*WHOLE_IMAGE, "objects", "mask")
    for _, kind, names, values in heads_of(data.task, data.targets):
        if kind in by_name:
            there, _ = figures_of(kind, names, values.numpy(), data.splits, data.seen.areas)
            return [(name, used[there[used, number] > 0]) for number, name in enumerate(names)]
    return [("images", used)]


def _fetched(data: Gathered, order: np.ndarray, seed: int, augment: Augment | None, epochs: int) -> list[SampledImage]:
    samples: list[SampledImage] = []
    for indices in torch.from_numpy(order).split(AT_ONCE) if len(order) else ():
        decoded = data.decoded(indices)
        target: Target = chosen(data.targets, indices) if decoded.maps is None else decoded.maps
        after = (
            []
            if augment is None
            else [_shown(*augment(decoded.images, target, _seeds(indices, seed, epoch))) for epoch in range(epochs)]
        )
        before = _shown(decoded.images, target)
        for place, index in enumerate(indices.tolist()):
            samples.append(SampledImage(str(data.names[index]), before[place], tuple(part[place] for part in after)))
    return samples


def _seeds(indices: Tensor, seed: int, epoch: int) -> Tensor:
    """Those of training: see `data.seeds`."""
    numbers = indices.numpy()
    return torch.from_numpy(seeds.of_images(seed, epoch, numbers, np.zeros_like(numbers)))


def _shown(images: Tensor, target: Target) -> list[ShownImage]:
    pixels = images.float().round().clamp(0, 255).byte().numpy()
    targets = target if isinstance(target, dict) else {"": target}
    return [
        ShownImage(pixels[place], {name: values[place] for name, values in targets.items()})
        for place in range(len(pixels))
    ]
