"""One pass over every image of a data set: what is broken, what is equal, and the pixels where memory holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from cnnatomy.data.batches import InMemory, OnDemand, Store
from cnnatomy.data.frames import OUTSIDE, Frame, Pixels
from cnnatomy.data.image_set import Decode, Fetched, ImageSet
from cnnatomy.data.images import ImageError, Stored, quiet_decoders
from cnnatomy.data.streaming import Streamed

Progress = Callable[[int, int], None]
"""Called with (images read, images in all)."""
AT_ONCE = 512
"""Images that threads decode together: it bounds how many decoded ones wait."""
THUMBNAIL = 16
"""Rows and columns of the small grey images by which near duplicates are found."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over every image finds.

    Attributes:
        store: gives the images again.
        digests: of the pixels of each; empty where it is broken.
        digests_of_maps: of the map of each that has one.
        sums, squares: of the pixels by channel, `(images, channels)`.
        thumbnails: grey, `(images, 16 x 16)`.
        stored: of those that are not broken, how they are stored.
        broken: of the others, the reason.
        classes: which classes the map of each has, `(images, names)`.
    """

    store: Store
    digests: list[bytes]
    digests_of_maps: list[bytes]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    thumbnails: Pixels
    stored: dict[int, Stored]
    broken: dict[int, str]
    classes: NDArray[np.bool_]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which images are not broken."""
        return np.array([bool(digest) for digest in self.digests], np.bool_)


def survey(image_set: ImageSet, frame: Frame, memory: int, workers: int, progress: Progress | None = None) -> Survey:
    """Reads every image once; keeps them all where they take `memory` bytes at most."""
    count, channels, has_maps = len(image_set), frame.shape[0], image_set.truth.has_maps
    area = frame.shape[1] * frame.shape[2]
    fits = count * area * (channels + has_maps) <= memory
    images = np.zeros((count, *frame.shape), np.uint8) if fits else None
    maps = np.zeros((count, *frame.shape[1:]), np.uint8) if fits and has_maps else None
    sums, squares = np.zeros((count, channels), np.int64), np.zeros((count, channels), np.int64)
    thumbnails = np.zeros((count, THUMBNAIL**2), np.uint8)
    classes = np.zeros((count, len(image_set.truth.names) if has_maps else 0), np.bool_)
    digests, digests_of_maps = [b""] * count, []
    stored: dict[int, Stored] = {}
    broken: dict[int, str] = {}
    for index, found in decode_all(image_set, frame):
        if isinstance(found, Fetched) and found.map is not None:
            try:
                classes[index] = present(found.map, classes.shape[1])
            except ImageError as error:
                found = error
        if isinstance(found, ImageError):
            broken[index] = str(found)
        else:
            pixels, stored[index], classes_of_pixels = found
            digests[index] = _digest(pixels)
            flat = pixels.reshape(channels, -1)
            sums[index] = flat.sum(1, dtype=np.int64)
            squares[index] = np.einsum("cp,cp->c", flat, flat, dtype=np.int64)
            thumbnails[index] = thumbnail(pixels)
            if images is not None:
                images[index] = pixels
            if classes_of_pixels is not None:
                digests_of_maps.append(_digest(classes_of_pixels))
                if maps is not None:
                    maps[index] = classes_of_pixels
        if progress is not None:
            progress(index + 1, count)
    streamed = Streamed(image_set, frame, max(1, memory // (area * (channels + has_maps))))
    store: Store = streamed if image_set.stream else OnDemand(image_set, frame, workers)
    if images is not None:
        store = InMemory(torch.from_numpy(images), torch.from_numpy(maps) if maps is not None else None)
    return Survey(store, digests, digests_of_maps, sums, squares, thumbnails, stored, broken, classes)


def _digest(pixels: Pixels) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


def present(classes: Pixels, count: int) -> NDArray[np.bool_]:
    """Which of so many classes a map has; raises `ImageError` where it has one that is none of them."""
    found = np.flatnonzero(np.bincount(classes.reshape(-1), minlength=OUTSIDE + 1)[:OUTSIDE])
    if len(found) and found[-1] >= count:
        raise ImageError(f"its mask has a class {found[-1]}; there are {count:,}, from 0 on ({OUTSIDE}: no class)")
    return np.isin(np.arange(count), found)


def thumbnail(pixels: Pixels) -> Pixels:
    """The means of 16 x 16 nearly equal parts of an image, over all of its channels."""
    grey = pixels.mean(0, dtype=np.float32)
    for axis, length in enumerate(grey.shape):
        edges = np.arange(THUMBNAIL) * length // THUMBNAIL
        counts = np.maximum(np.diff(edges, append=length), 1)
        grey = np.add.reduceat(grey, edges, axis) / np.expand_dims(counts, 1 - axis)
    small: Pixels = grey.reshape(-1).round().astype(np.uint8)
    return small


def decode_all(image_set: ImageSet, frame: Frame) -> Iterator[tuple[int, Fetched | ImageError]]:
    """Every image in order, files by several threads (Pillow releases the interpreter while it decodes)."""

    def fetched(decode: Decode) -> Fetched | ImageError:
        try:
            return decode(frame)
        except ImageError as error:
            return error

    decoders = image_set.decoders()
    if not image_set.files:
        yield from enumerate(map(fetched, decoders))
        return
    with quiet_decoders(), ThreadPoolExecutor() as threads:
        for start in range(0, len(image_set), AT_ONCE):
            yield from enumerate(threads.map(fetched, islice(decoders, AT_ONCE)), start)
