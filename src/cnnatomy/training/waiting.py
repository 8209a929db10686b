"""How long training waits for data: the time in which nothing is computed because the next batch is not there yet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


class Waiting:
    """Adds up the seconds in which a device has nothing to do until the next of some batches is there.

    A CPU waits while a batch is asked for. A GPU computes meanwhile what it was given before, so its own clock is
    asked: it is stamped when all of that is done, and when the batch is there.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._stamps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def seconds(self) -> float:
        """Until now; of a GPU once it has computed what it was given."""
        milliseconds: float = sum(begun.elapsed_time(ended) for begun, ended in self._stamps)
        return self._seconds + milliseconds / 1000

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches."""
        iterator = iter(batches)
        while True:
            begun = self._stamp()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._add(begun, self._stamp())
            yield batch

    def _stamp(self) -> float | torch.cuda.Event:
        if self.device.type != "cuda":
            return time.perf_counter()
        stamp = torch.cuda.Event(enable_timing=True)
        stamp.record()
        return stamp

    def _add(self, begun: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> None:
        if isinstance(begun, float):
            assert isinstance(ended, float)
            self._seconds += ended - begun
        else:
            assert not isinstance(ended, float)
            self._stamps.append((begun, ended))
