"""Images in batches: from memory by index where they fit, else decoded as they are needed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnatomy.data.images import ImageError, ImageShape
from cnnatomy.data.sources import ImageSet
from cnnatomy.errors import UserError
from cnnatomy.tasks.task import Target

WORTH_WORKERS = 256
"""Images from which on worker processes decode them."""


class Store(Protocol):
    """Decoded images by index."""

    def batches(self, order: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each tensor of indices the images, `(images, channels, rows, columns)` uint8."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Every image in one tensor, `(images, channels, rows, columns)` uint8."""

    images: Tensor

    def batches(self, order: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Store`."""
        return (self.images.index_select(0, indices) for indices in order)


@dataclass(frozen=True, eq=False)
class OnDemand(Dataset[Tensor]):
    """Images decoded by worker processes each time: for data sets larger than memory."""

    image_set: ImageSet
    shape: ImageShape

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> Tensor:
        try:
            return torch.from_numpy(self.image_set.fetch(index, self.shape)[0])
        except ImageError as error:
            raise UserError(f"{self.image_set.names[index]} could be read at the start, but no more: {error}") from None

    def batches(self, order: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Store`."""
        workers = min(os.cpu_count() or 1, 8) if sum(map(len, order)) > WORTH_WORKERS else 0
        loader = DataLoader(
            self,
            batch_sampler=[indices.tolist() for indices in order],
            num_workers=workers,
            worker_init_fn=_start,
            generator=torch.Generator(),  # its own, so that dropout draws the same numbers as from memory
        )
        try:
            yield from loader
            return
        except UserError as error:  # from a worker it comes with the worker's traceback
            reason = str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]
            error.__traceback__ = None  # it holds the loader, whose workers would end when garbage is looked for
        raise UserError(reason)


def _start(worker: int) -> None:
    warnings.simplefilter("ignore")  # in the worker process: the first reading has reported what there was to report


class Order:
    """In which order an epoch goes through the images: shuffled by (seed, epoch) alone, so it can be repeated.

    With `weights`, one for each of `indices`, an epoch draws as many images, each as often as its weight says.
    """

    def __init__(self, indices: Tensor, batch_size: int, seed: int | None, weights: Tensor | None = None):
        self.indices, self.batch_size, self.seed, self.weights = indices, batch_size, seed, weights
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """From now on the order is that of this epoch, beginning with its batch `first`; both are counted from 0."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        batches, rest = divmod(len(self.indices), self.batch_size)
        return batches + (rest > 0) - self._leaves_one_out()

    def batches(self) -> list[Tensor]:
        """The indices of each batch. In training, a last batch of a single image is left out for this epoch: batch
        normalisation has no variance to divide by."""
        if self.seed is None:
            return list(self.indices.split(self.batch_size))
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        if self.weights is None:
            order = self.indices[torch.randperm(len(self.indices), generator=generator)]
        else:
            drawn = torch.multinomial(self.weights, len(self.indices), replacement=True, generator=generator)
            order = self.indices[drawn]
        return list(order.split(self.batch_size))[self.first : len(self)]

    def _leaves_one_out(self) -> bool:
        return self.seed is not None and len(self.indices) > 1 and len(self.indices) % self.batch_size == 1


class Batches:
    """(images uint8, target) for every batch of an epoch; shuffled where there is a seed."""

    def __init__(
        self,
        store: Store,
        indices: Tensor,
        targets: Target,
        batch_size: int,
        seed: int | None = None,
        weights: Tensor | None = None,
    ):
        self.store, self.targets = store, targets
        self.order = Order(indices, batch_size, seed, weights)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        order = self.order.batches()  # at the first batch, when the epoch is known
        for indices, images in zip(order, self.store.batches(order), strict=True):
            yield images, chosen(self.targets, indices)


def chosen(targets: Target, indices: Tensor) -> Target:
    """The targets of some images."""
    if isinstance(targets, Tensor):
        return targets.index_select(0, indices)
    return {name: tensor.index_select(0, indices) for name, tensor in targets.items()}


def mix(seed: int, epoch: int) -> int:
    """One 63-bit seed for (seed, epoch), so that neighbours share no stream (splitmix64, Steele et al. 2014)."""
    value = (seed * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return (value ^ (value >> 31)) >> 1
