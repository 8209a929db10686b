"""Images in batches: from memory by index where they fit, else decoded as they are needed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnatomy.data import seeds
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import Fetched, ImageSet
from cnnatomy.data.images import ImageError
from cnnatomy.data.ordering import within_window
from cnnatomy.errors import UserError
from cnnatomy.tasks.task import Target

WORTH_WORKERS = 256
"""Images from which on worker processes decode them."""


class Draw(NamedTuple):
    """Which images are in a batch, and the seed of each for what is done to it at random, both `(images,)` int64."""

    indices: Tensor
    seeds: Tensor


class Decoded(NamedTuple):
    """Images `(images, channels, rows, columns)` uint8, and their maps `(images, rows, columns)` uint8, if any."""

    images: Tensor
    maps: Tensor | None = None


class Store(Protocol):
    """Decoded images by index.

    Attributes:
        window: how many places before its turn an image may be asked for; None where there are no turns.
    """

    @property
    def window(self) -> int | None: ...

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """The images of each draw."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Every image in one tensor, `(images, channels, rows, columns)` uint8, and every map of classes."""

    images: Tensor
    maps: Tensor | None = None
    window = None

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """See `Store`."""
        for indices, _ in order:
            maps = self.maps.index_select(0, indices) if self.maps is not None else None
            yield Decoded(self.images.index_select(0, indices), maps)


@dataclass(frozen=True, eq=False)
class OnDemand(Dataset[Decoded]):
    """Images decoded by worker processes each time, a batch at a time: for data sets larger than memory.

    `workers` are the processes; 0 where there are none.
    """

    image_set: ImageSet
    frame: Frame
    workers: int
    window = None

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, draw: Draw) -> Decoded:
        fetched = [self._fetch(index) for index in draw.indices.tolist()]
        images = torch.from_numpy(np.stack([each.pixels for each in fetched]))
        maps = [each.map for each in fetched if each.map is not None]
        return Decoded(images, torch.from_numpy(np.stack(maps)) if maps else None)

    def _fetch(self, index: int) -> Fetched:
        try:
            return self.image_set.fetch(index, self.frame)
        except ImageError as error:
            raise UserError(f"{self.image_set.names[index]} could be read at the start, but no more: {error}") from None

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """See `Store`."""
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=order,
            num_workers=self.workers if sum(len(draw.indices) for draw in order) > WORTH_WORKERS else 0,
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


def processors() -> int:
    """Worker processes that decode images where no other number is asked for."""
    return min(os.cpu_count() or 1, 8)


def _start(worker: int) -> None:
    warnings.simplefilter("ignore")  # in the worker process: the first reading has reported what there was to report


class Order:
    """In which order an epoch goes through the images: shuffled by (seed, epoch) alone, so it can be repeated.

    With `weights`, one for each of `indices`, an epoch draws as many images, each as often as its weight says. With a
    `window`, no image comes more places before its turn than so many: see `ordering.within_window`.
    """

    def __init__(
        self,
        indices: Tensor,
        batch_size: int,
        seed: int | None,
        weights: Tensor | None = None,
        window: int | None = None,
    ):
        self.indices, self.batch_size, self.seed, self.weights = indices, batch_size, seed, weights
        self.window = window
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """From now on the order is that of this epoch, beginning with its batch `first`; both are counted from 0."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        batches, rest = divmod(len(self.indices), self.batch_size)
        return batches + (rest > 0) - self._leaves_one_out()

    def batches(self) -> list[Draw]:
        """What is in each batch that is left of the epoch.

        In training, a last batch of a single image is left out: batch normalisation has no variance to divide by.
        """
        if self.seed is None:
            nothing = torch.zeros(0, dtype=torch.int64)
            return [Draw(indices, nothing) for indices in self.indices.split(self.batch_size)]
        generator = torch.Generator().manual_seed(seeds.mix(self.seed, self.epoch))
        order = self._shuffled(generator)
        of_images = seeds.of_images(self.seed, self.epoch, order.numpy(), _times(order.numpy()))
        parts = order.split(self.batch_size), torch.from_numpy(of_images).split(self.batch_size)
        return [Draw(*part) for part in zip(*parts, strict=True)][self.first : len(self)]

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        order = self.indices
        if self.weights is not None:
            order = order[torch.multinomial(self.weights, len(order), replacement=True, generator=generator)]
        if self.window is not None:
            return order.sort().values[within_window(len(order), self.window, generator)]
        return order[torch.randperm(len(order), generator=generator)] if self.weights is None else order

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
        self.order = Order(indices, batch_size, seed, weights, store.window)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        for images, target, _ in self.drawn():
            yield images, target

    def drawn(self) -> Iterator[tuple[Tensor, Target, Tensor]]:
        """(images uint8, target, seeds) for every batch; each image's seed is for what is done to it at random."""
        order = self.order.batches()  # at the first batch, when the epoch is known
        for draw, (images, maps) in zip(order, self.store.batches(order), strict=True):
            yield images, chosen(self.targets, draw.indices) if maps is None else maps, draw.seeds


def chosen(targets: Target, indices: Tensor) -> Target:
    """The targets of some images."""
    if isinstance(targets, Tensor):
        return targets.index_select(0, indices)
    return {name: tensor.index_select(0, indices) for name, tensor in targets.items()}


def _times(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many times each number was there before."""
    places = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[places], prepend=-1))
    times = np.empty_like(order)
    times[places] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return times
