"""Images and targets in batches, in the order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data import seeds
from cnnatomy.data.ordering import within_window
from cnnatomy.data.stores import Draw, Store
from cnnatomy.tasks.task import Target, chosen


class Order:
    """In which order an epoch goes through the images: shuffled by (seed, epoch) alone, so it can be repeated.

    With `weights`, one for each of `indices`, an epoch draws as many images, each as often as its weight says. `cut`
    is that of `Draw`. With a `window`, no image comes more places before its turn than so many: see
    `ordering.within_window`.
    """

    def __init__(
        self,
        indices: Tensor,
        batch_size: int,
        seed: int | None,
        weights: Tensor | None = None,
        cut: float = 0.0,
        window: int | None = None,
    ):
        self.indices, self.batch_size, self.seed, self.weights = indices, batch_size, seed, weights
        self.cut, self.window = cut, window
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
            return [Draw(indices) for indices in self.indices.split(self.batch_size)]
        generator = torch.Generator().manual_seed(seeds.mix(self.seed, self.epoch))
        order = self._shuffled(generator)
        of_images = seeds.of_images(self.seed, self.epoch, order.numpy(), _times(order.numpy()))
        parts = order.split(self.batch_size), torch.from_numpy(of_images).split(self.batch_size)
        return [Draw(*part, self.cut) for part in zip(*parts, strict=True)][self.first : len(self)]

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        order = self.indices
        if self.weights is not None:
            order = order[torch.multinomial(self.weights, len(order), replacement=True, generator=generator)]
        if self.window is not None and self.window < len(order):
            return order.sort().values[within_window(len(order), self.window, generator)]
        return order[torch.randperm(len(order), generator=generator)] if self.weights is None else order

    def _leaves_one_out(self) -> bool:
        return self.seed is not None and len(self.indices) > 1 and len(self.indices) % self.batch_size == 1


class Batches:
    """(images uint8, target) for every batch of an epoch; shuffled where there is a seed."""

    def __init__(self, store: Store, targets: Target, order: Order):
        self.store, self.targets, self.order = store, targets, order

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


def _times(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many times each number was there before."""
    places = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[places], prepend=-1))
    times = np.empty_like(order)
    times[places] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return times
