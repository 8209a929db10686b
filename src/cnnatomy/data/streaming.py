"""Images that can only be had one after another, because all of them fit neither into memory nor onto the disk.

An epoch goes once through the stream. What it needs soon is decoded and kept in a buffer, what it does not need is
passed over undecoded; in which order it needs them, `ordering.within_window` draws so that the buffer suffices.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import Fetched, ImageSet, Stream
from cnnatomy.data.stores import Decoded, Draw, still_read
from cnnatomy.errors import UserError

BUFFER = 2**29
"""Bytes of decoded images that are held of a stream; the order of an epoch depends on it."""
AT_ONCE = 64
"""Images that are sent to the threads together, at most; of a small buffer a quarter."""


@dataclass(frozen=True, eq=False)
class FromStream:
    """Fetches one image of a stream, through which it goes up to there: for a look at a few of them."""

    stream: Stream

    def __call__(self, index: int, frame: Frame) -> Fetched:
        return next(self.stream(index))(frame)


@dataclass(frozen=True, eq=False)
class Streamed:
    """Images of a stream in the order of an epoch; `buffer` decoded ones are held at most."""

    image_set: ImageSet
    frame: Frame
    buffer: int

    @property
    def at_once(self) -> int:
        """Images that are sent to the threads together."""
        return min(AT_ONCE, max(1, self.buffer // 4))

    @property
    def window(self) -> int:
        """How far ahead of its turn an image may be needed."""
        return max(1, self.buffer - self.at_once)

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """See `Store`. Orders that are no buffer's are given too, with as many images held as they need."""
        wanted = np.concatenate([draw.indices.numpy() for draw in order] or [np.zeros(0, np.int64)])
        warnings.filterwarnings("ignore", module=r"PIL\.")  # threads decode meanwhile; the first reading has told
        with _threads() as threads:
            passing = Passing(self, threads, np.bincount(wanted, minlength=len(self.image_set)))
            for draw in order:
                passing.fill()
                fetched = [passing.image(index) for index in draw.indices.tolist()]
                maps = [each.map for each in fetched if each.map is not None]
                images = torch.from_numpy(np.stack([each.pixels for each in fetched]))
                yield Decoded(images, torch.from_numpy(np.stack(maps)) if maps else None)

    def on(self, device: torch.device, room: int) -> Streamed:
        """See `Store`: the same on all."""
        return self

    def close(self) -> None:
        """See `Store`: each sequence of batches has its own threads."""


class Passing:
    """One pass through a stream: what threads decode of it, and is still needed `left` times."""

    def __init__(self, store: Streamed, threads: ThreadPoolExecutor, left: NDArray[np.int64]):
        self.store, self.threads, self.left = store, threads, left
        self.missing = int(np.count_nonzero(left))
        first = int(np.flatnonzero(left)[0]) if self.missing else 0
        self.coming = enumerate(store.image_set.stream(first), first) if store.image_set.stream else iter(())
        self.held: dict[int, Future[Fetched]] = {}

    def fill(self) -> None:
        """Has as many images decoded as there is room for, while those who asked do something else."""
        while self.missing and len(self.held) + self.store.at_once <= self.store.buffer:
            self._advance()

    def image(self, index: int) -> Fetched:
        """The next image that is needed."""
        while index not in self.held:
            self._advance()
        self.left[index] -= 1
        decoding = self.held[index] if self.left[index] else self.held.pop(index)
        with still_read(self.store.image_set.names[index]):
            return decoding.result()

    def _advance(self) -> None:
        """Goes on until the next few images that are needed, and no further than the last one."""
        wanted = min(self.store.at_once, self.missing)
        while wanted:
            number, decode = next(self.coming, (-1, None))
            if decode is None:
                images = self.store.image_set
                raise UserError(f"{images.source} has fewer images than at the start: {len(images):,} were expected")
            if self.left[number]:
                self.held[number] = self.threads.submit(decode, self.store.frame)
                self.missing -= 1
                wanted -= 1


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that nobody waits for at the end: what is not decoded by then is not looked at any more."""
    threads = ThreadPoolExecutor()
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
