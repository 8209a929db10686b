"""One pass over every image of a data set: what is broken, what is equal, and the pixels where memory holds them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cnnatomy.data.duplicates import SIDE, thumbnail
from cnnatomy.data.frames import OUTSIDE, Frame, Pixels, Placement
from cnnatomy.data.image_set import Decode, Fetched, ImageSet
from cnnatomy.data.images import ImageError, Stored, quiet_decoders
from cnnatomy.data.stores import InMemory, OnDemand, Store
from cnnatomy.data.streaming import BUFFER, Streamed
from cnnatomy.errors import UserError

Progress = Callable[[int, int], None]
"""Called with (images read, images in all)."""
AT_ONCE = 512
"""Images that are decoded before they are measured together, if they take `AT_ONCE_BYTES` at most."""
AT_ONCE_BYTES = 2**23


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over every image finds.

    Attributes:
        store: gives the images again.
        originals: the same out of the files, where these have more pixels than the frame.
        digests: of the pixels of each; empty where it is broken.
        digests_of_maps: of the map of each; empty where it has none.
        sums, squares: of the pixels by channel, `(images, channels)`.
        thumbnails: grey, `(images, 16, 16)`; none where they were not asked for.
        stored: of those that are not broken, how they are stored.
        broken: of the others, the reason.
        areas: pixels of each class in the map of each, `(images, names)`.
    """

    store: Store
    originals: OnDemand | None
    digests: list[bytes]
    digests_of_maps: list[bytes]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    thumbnails: Pixels
    stored: dict[int, Stored]
    broken: dict[int, str]
    areas: NDArray[np.int32]

    @property
    def classes(self) -> NDArray[np.bool_]:
        """Which classes the map of each has, `(images, names)`."""
        return self.areas > 0

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which images are not broken."""
        return np.array([bool(digest) for digest in self.digests], np.bool_)


def survey(
    image_set: ImageSet,
    frame: Frame,
    memory: int,
    workers: int,
    progress: Progress | None = None,
    thumbnails: bool = True,
) -> Survey:
    """Reads every image once; keeps them all where they take `memory` bytes at most."""
    count, channels, has_maps = len(image_set), frame.shape[0], image_set.truth.has_maps
    area = frame.shape[1] * frame.shape[2]
    fits = count * area * (channels + has_maps) <= memory
    images = np.zeros((count, *frame.shape), np.uint8) if fits else None
    maps = np.zeros((count, *frame.shape[1:]), np.uint8) if fits and has_maps else None
    sums, squares = np.zeros((count, channels), np.int64), np.zeros((count, channels), np.int64)
    small = np.zeros((count if thumbnails else 0, SIDE, SIDE), np.uint8)
    areas = np.zeros((count, len(image_set.truth.names) if has_maps else 0), np.int32)
    digests, digests_of_maps = [b""] * count, [b""] * count
    stored: dict[int, Stored] = {}
    broken: dict[int, str] = {}
    for part, fetched in decode_all(image_set, frame):
        whole: dict[int, Pixels] = {}
        for index, found in zip(part, fetched, strict=True):
            if isinstance(found, Fetched) and found.map is not None:
                try:
                    areas[index] = areas_of(found.map, areas.shape[1])
                except ImageError as error:
                    found = error
            if isinstance(found, ImageError):
                broken[index] = str(found)
                continue
            whole[index], stored[index], classes_of_pixels = found
            if classes_of_pixels is not None:
                digests_of_maps[index] = _digest(classes_of_pixels)
                if maps is not None:
                    maps[index] = classes_of_pixels
        if whole:
            where, pixels = list(whole), np.stack(list(whole.values()))
            several = measured(pixels)
            for index, digest in zip(where, several.digests, strict=True):
                digests[index] = digest
            sums[where], squares[where] = several.sums, several.squares
            if thumbnails:
                small[where] = thumbnails_of(pixels, [frame.placement(stored[index].upright) for index in where])
            if images is not None:
                images[where] = pixels
        if progress is not None:
            progress(part.stop, count)
    mean_size = sum(math.prod(each.size) for each in stored.values()) / max(len(stored), 1)
    on_demand = OnDemand(image_set, frame, workers, mean_size)
    store: Store = on_demand
    window = None
    if image_set.stream:  # an epoch has one order, whether or not memory holds all images
        store = streamed = Streamed(image_set, frame, max(1, BUFFER // (area * (channels + has_maps))))
        window = streamed.window
    if images is not None:
        store = InMemory(torch.from_numpy(images), torch.from_numpy(maps) if maps is not None else None, window)
    originals = on_demand if on_demand.cuts and not image_set.stream else None
    return Survey(store, originals, digests, digests_of_maps, sums, squares, small, stored, broken, areas)


class Measures(NamedTuple):
    """Of images: digests of their pixels, sums of them and of their squares, `(images, channels)`."""

    digests: list[bytes]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]


def measured(images: Pixels) -> Measures:
    """Of images `(images, channels, rows, columns)` uint8, all at once: small ones take far longer one by one."""
    sums, squares = np.empty(images.shape[:2], np.int64), np.empty(images.shape[:2], np.int64)
    step = _at_once(images.shape[1:])
    for start in range(0, len(images), step):
        some = images[start : start + step]
        exact = some.reshape(*some.shape[:2], -1).astype(np.float64)  # all sums stay far below 2^53
        sums[start : start + step] = exact.sum(2)
        squares[start : start + step] = np.einsum("icp,icp->ic", exact, exact)
    digests = [_digest(image) for image in images]
    return Measures(digests, sums, squares)


def thumbnails_of(images: Pixels, places: Sequence[Placement] = ()) -> Pixels:
    """Small grey ones `(images, 16, 16)` of images in their frames.

    `places` say where each lies in its frame, where not all of it is image: a thumbnail is of the image without its
    margin, so that a copy that was made smaller has the same.
    """
    inside = [_inside(image, place) for image, place in zip(images, places, strict=True)] if places else images
    return np.stack([thumbnail(image) for image in inside])


def _inside(image: Pixels, place: Placement) -> Pixels:
    (row, column), (rows, columns) = place.at, place.size
    return image[:, row : row + rows, column : column + columns]


def _at_once(shape: tuple[int, ...]) -> int:
    """How many images of this shape are decoded, and measured, together: bounds what they take."""
    return max(1, min(AT_ONCE, AT_ONCE_BYTES // math.prod(shape)))


def _digest(pixels: Pixels) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


def areas_of(classes: Pixels, count: int) -> NDArray[np.int64]:
    """Pixels of each of so many classes in a map; raises `ImageError` where it has one that is none of them."""
    areas = np.bincount(classes.reshape(-1), minlength=OUTSIDE + 1)[:OUTSIDE]
    found = np.flatnonzero(areas)
    if len(found) and found[-1] >= count:
        raise ImageError(f"its mask has a class {found[-1]}; there are {count:,}, from 0 on ({OUTSIDE}: no class)")
    return areas[:count]


def decode_all(image_set: ImageSet, frame: Frame) -> Iterator[tuple[range, list[Fetched | ImageError]]]:
    """Every image in order, some at once; files by several threads (Pillow releases the interpreter meanwhile)."""

    def fetched(decode: Decode) -> Fetched | ImageError:
        try:
            return decode(frame)
        except ImageError as error:
            return error

    decoders = image_set.decoders()
    step = _at_once(frame.shape)
    parts = (range(start, min(start + step, len(image_set))) for start in range(0, len(image_set), step))
    with ExitStack() as stack:
        spread: Callable[..., Iterator[Fetched | ImageError]] = map
        if image_set.files:
            stack.enter_context(quiet_decoders())
            spread = stack.enter_context(ThreadPoolExecutor()).map
        for part in parts:
            found = list(spread(fetched, islice(decoders, len(part))))
            if len(found) < len(part):
                raise UserError(
                    f"{image_set.source} ends after {part.start + len(found):,} of {len(image_set):,} images"
                )
            yield part, found
