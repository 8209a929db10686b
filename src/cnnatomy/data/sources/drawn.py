"""Drawn scenes as a data set: `scenes:KIND`, made for the network's input."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cnnatomy.data.frames import ImageShape
from cnnatomy.data.image_set import SPLITS, TEST, TRAIN, VAL
from cnnatomy.data.loading import Loading
from cnnatomy.data.parts import Data, Normalisation, Report, splits_of
from cnnatomy.data.sources import scenes
from cnnatomy.data.stores import InMemory
from cnnatomy.errors import UserError, nearest
from cnnatomy.tasks.maps import Keypoints, Mask, PixelNumbers
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.objects import Objects
from cnnatomy.tasks.several import Localised, SeveralHeads
from cnnatomy.tasks.task import Target, Task

PREFIX = "scenes:"
HEADS = ("labels", "numbers", "mask")
"""The heads of `scenes:heads`, each with the targets of that kind."""
KINDS = (*scenes.KINDS, "localised", "heads")


@dataclass(frozen=True)
class DrawnScenes:
    """Scenes with targets of one kind, drawn by the project; see `cnnatomy.data.sources.scenes`."""

    kind: str

    @property
    def source(self) -> str:
        """What a run folder calls it."""
        return PREFIX + self.kind

    @property
    def outputs(self) -> int | None:
        """How many numbers a network gives for an image; None where its head must be of another form."""
        return len(scenes.KINDS[self.kind].names) if self.kind in ("labels", "numbers") else None

    def __len__(self) -> int:
        return sum(scenes.SCENES.values())

    def task(self, shape: ImageShape) -> Task:
        """What there is to learn of images of this shape."""
        if self.kind == "heads":
            return SeveralHeads(HEADS, {name: DrawnScenes(name).task(shape) for name in HEADS})
        if self.kind == "localised":
            return Localised(scenes.DIGITS)
        names = scenes.KINDS[self.kind].names
        if self.kind == "keypoints":
            return Keypoints(names, size=shape[1:])
        if self.kind == "objects":
            return Objects(names, size=shape[1:])
        if self.kind == "motion":
            return PixelNumbers(names, displacements=True)
        kinds: dict[str, type[Task]] = {"mask": Mask, "labels": Labels, "numbers": Numbers}
        return kinds.get(self.kind, PixelNumbers)(names)

    def check(self, shape: ImageShape) -> None:
        """Raises `UserError` where scenes cannot have that shape."""
        scenes.check(HEADS[-1] if self.kind in ("heads", "localised") else self.kind, shape)

    def grouped_by(self, group: str) -> Self:
        """The same: they have no columns."""
        return self

    def load(self, shape: ImageShape, loading: Loading = Loading()) -> Data:
        """Draws every scene for this shape; the seed of the splits is that of the scenes."""
        if loading.group or loading.folds:
            raise UserError(f"{self.source} are drawn, each split by itself: they have no groups and no folds")
        drawn = [self._drawn(shape, split, loading.split_seed) for split in (TRAIN, VAL, TEST)]
        images = [own for own, _ in drawn]
        store, targets = InMemory(torch.cat(images)), joined([target for _, target in drawn])
        splits = np.repeat(np.array([TRAIN, VAL, TEST], np.int8), [len(own) for own in images])
        pixels = images[0].double().transpose(0, 1).flatten(1) / 255
        normalisation = Normalisation(tuple(pixels.mean(1).tolist()), tuple(pixels.std(1, correction=0).tolist()))
        counts = {name: {"scenes": len(own)} for name, own in zip(SPLITS, images, strict=True)}
        return Data(
            source=self.source,
            task=self.task(shape),
            shape=shape,
            loading=loading,
            **splits_of(store, splits, targets),
            normalisation=normalisation,
            report=Report(counts, drawn_from="the 1,797 digits that come with scikit-learn"),
            fingerprint=fingerprint(store.images, targets),
            originals=None,
        )

    def _drawn(self, shape: ImageShape, split: int, seed: int) -> tuple[Tensor, Target]:
        if self.kind == "heads":
            each = {name: scenes.draw(name, shape, split, seed=seed) for name in HEADS}
            return each[HEADS[0]].images, {name: drawn.targets for name, drawn in each.items()}
        if self.kind == "localised":
            return _localised(shape, split, seed)
        drawn = scenes.draw(self.kind, shape, split, seed=seed)
        return drawn.images, drawn.targets


def _localised(shape: ImageShape, split: int, seed: int) -> tuple[Tensor, Target]:
    """Scenes of one digit: its class, and the class of each of its pixels, 255 elsewhere."""
    drawn = [scenes.draw_scene(shape, split, number, seed, most=1) for number in range(scenes.SCENES[split])]
    images = np.stack([np.concatenate(scene.frames) for scene in drawn])
    labels = np.array([scene.classes[0] for scene in drawn])
    masks = np.stack([np.where(scene.owner == 0, scene.classes[0], 255).astype(np.uint8) for scene in drawn])
    return torch.from_numpy(images), {"label": torch.from_numpy(labels), "mask": torch.from_numpy(masks)}


def joined(targets: list[Target]) -> Target:
    """The targets of several splits, one after another."""
    by_name = [target for target in targets if not isinstance(target, Tensor)]
    if by_name:
        return {name: torch.cat([target[name] for target in by_name]) for name in by_name[0]}
    return torch.cat([target for target in targets if isinstance(target, Tensor)])


def fingerprint(images: Tensor, targets: Target) -> str:
    """What tells these images and targets from others."""
    hashed = hashlib.blake2b(digest_size=16)
    for tensor in (images, *(targets.values() if isinstance(targets, dict) else (targets,))):
        hashed.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return hashed.hexdigest()


def recognises(name: str) -> bool:
    """By the prefix."""
    return name.startswith(PREFIX)


def read(name: str) -> DrawnScenes:
    """The scenes that `scenes:KIND` names; raises `UserError` with the nearest for an unknown kind."""
    kind = name.removeprefix(PREFIX)
    if kind not in KINDS:
        raise UserError(f"no drawn scenes of {kind}: one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    return DrawnScenes(kind)
