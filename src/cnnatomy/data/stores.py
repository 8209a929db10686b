"""Where decoded images come from: memory by index where they fit, else files, which worker processes decode."""

from __future__ import annotations

import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnatomy import machine
from cnnatomy.data.augmentation.moves import windows
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import ImageSet
from cnnatomy.data.images import ImageError
from cnnatomy.errors import UserError

WORTH_WORKERS = 256
"""Images from which on worker processes decode them."""


class Draw(NamedTuple):
    """Which images are in a batch, and the seed of each for what is done to it at random, both `(images,)` int64.

    There are no seeds where nothing is done at random. With `cut`, a part of each with at least this share of its area
    is drawn and becomes the whole, by a store that can cut it out of the file.
    """

    indices: Tensor
    seeds: Tensor = torch.zeros(0, dtype=torch.int64)
    cut: float = 0.0


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

    def on(self, device: torch.device, room: int) -> Store:
        """The same for a network that is trained on this device in so many bytes of its memory."""

    def close(self) -> None:
        """Ends what is at work between two sequences of batches; it begins again when there is another."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Every image in one tensor, `(images, channels, rows, columns)` uint8, and every map of classes."""

    images: Tensor
    maps: Tensor | None = None
    window: int | None = None

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """See `Store`."""
        for indices, *_ in order:
            where = indices.to(self.images.device)
            maps = self.maps.index_select(0, where) if self.maps is not None else None
            yield Decoded(self.images.index_select(0, where), maps)

    def on(self, device: torch.device, room: int) -> InMemory:
        """See `Store`."""
        size = self.images.nbytes + (self.maps.nbytes if self.maps is not None else 0)
        if device.type == "cpu" or not is_held(size, room):
            return self
        maps = self.maps.to(device) if self.maps is not None else None
        return InMemory(self.images.to(device), maps, self.window)

    def close(self) -> None:
        """See `Store`: nothing is at work."""


def is_held(size: int, room: int) -> bool:
    """Whether a device with `room` bytes for a training holds images of `size` bytes: a quarter is theirs at most."""
    return size <= room // 4


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Images decoded by worker processes each time, a batch at a time: for data sets larger than memory.

    `workers` are the processes; 0 where there are none. They live until `close`, or until nobody has this any more.
    `pixels` is how many an image is stored with, on average.
    With `pinned` batches lie where a GPU fetches them from while it computes.
    """

    image_set: ImageSet
    frame: Frame
    workers: int
    pixels: float = 0.0
    pinned: bool = False
    _crews: list[_Crew] = field(default_factory=list)
    window: ClassVar = None

    def batches(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """See `Store`."""
        decoder = Decoder(self.image_set, self.frame)
        if not self.workers or sum(len(draw.indices) for draw in order) <= WORTH_WORKERS:
            yield from (decoder[draw] for draw in order)
            return
        crew = next((crew for crew in self._crews if not crew.busy), None)
        if crew is None:
            crew = _Crew(decoder, self.workers, self.pinned)
            self._crews.append(crew)
        yield from crew.decoded(order)

    @property
    def cuts(self) -> bool:
        """Whether the files have more pixels than the frame, on average: a part of them is sharper than of a frame."""
        return self.image_set.files and self.pixels > self.frame.shape[1] * self.frame.shape[2]

    def on(self, device: torch.device, room: int) -> OnDemand:
        """See `Store`: with workers of its own."""
        return replace(self, pinned=device.type == "cuda", _crews=[])

    def close(self) -> None:
        """See `Store`."""
        while self._crews:
            self._crews.pop().end()


@dataclass(frozen=True, eq=False)
class Decoder(Dataset[Decoded]):
    """What a worker process has: it decodes the images of a batch."""

    image_set: ImageSet
    frame: Frame

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, draw: Draw) -> Decoded:
        images = torch.empty((len(draw.indices), *self.frame.shape), dtype=torch.uint8)
        has_maps = self.image_set.truth.has_maps
        maps = torch.empty((len(images), *self.frame.shape[1:]), dtype=torch.uint8) if has_maps else None
        frames = [self.frame] * len(images)
        if draw.cut:
            left, top, right, bottom = windows(draw.seeds, draw.cut).T.tolist()
            frames = [replace(self.frame, window=each) for each in zip(left, top, right, bottom, strict=True)]
        for place, (index, frame) in enumerate(zip(draw.indices.tolist(), frames, strict=True)):
            with still_read(self.image_set.names[index]):
                fetched = self.image_set.fetch(index, frame)
            images.numpy()[place] = fetched.pixels
            if maps is not None:
                maps.numpy()[place] = fetched.map
        return Decoded(images, maps)


@contextmanager
def still_read(name: str) -> Iterator[None]:
    """Turns the error of an image that was sound when all were surveyed into one for the user."""
    try:
        yield
    except ImageError as error:
        raise UserError(f"{name} could be read at the start, but no more: {error}") from None


class _Crew:
    """Worker processes, which decode one sequence of batches after another; they end with this object at the latest."""

    def __init__(self, decoder: Decoder, workers: int, pinned: bool) -> None:
        self.busy = False
        self._order: list[Draw] = []
        self._loader: DataLoader[Decoded] | None = DataLoader(
            decoder,
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            worker_init_fn=_start,
            persistent_workers=True,
            pin_memory=pinned,
            generator=torch.Generator(),  # its own, so that dropout draws the same numbers as from memory
        )
        self._batches: Iterator[Decoded] | None = None

    def decoded(self, order: Sequence[Draw]) -> Iterator[Decoded]:
        """The images of each draw; what is left of an earlier sequence is dropped."""
        assert self._loader is not None
        self.busy = True
        try:
            self._order[:] = order
            with watched():
                self._batches = iter(self._loader)
            for _ in order:
                yield self._next()
        finally:
            self.busy = False

    def _next(self) -> Decoded:
        assert self._batches is not None  # in this object alone, so that `end` releases it whoever iterates
        try:
            with watched():
                return next(self._batches)
        except UserError as error:  # from a worker it comes with the worker's traceback
            reason = str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]
            error.__traceback__ = None  # it holds the loader, whose workers would end when garbage is looked for
        raise UserError(reason)

    def end(self) -> None:
        """Ends the processes: the loader does so when nothing holds it."""
        self._batches = self._loader = None


@contextmanager
def watched() -> Iterator[None]:
    """Where a worker process ends, whose end torch reports at whatever is done at that time, one message says so."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        how = re.search(r"killed by signal: ([^.]*)", str(error))
        reason = f" (killed: {how[1].lower()})" if how else ""
        raise UserError(
            f"a process that decodes images has ended{reason}; memory may not suffice, or /dev/shm: use fewer --workers"
            " (0: none, images are decoded by the process that trains)"
        ) from None


def processors() -> int:
    """Worker processes that decode images where no other number is asked for."""
    return min(machine.cores(), 8)


def _start(worker: int) -> None:
    """In a worker process: the first reading has reported what there was to report, and Ctrl-C is not its business.

    Its errors are told by the process that trains; what a thread of it has to say when that has ended, nobody hears.
    """
    warnings.simplefilter("ignore")
    sys.excepthook = lambda *_: None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
