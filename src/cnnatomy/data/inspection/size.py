"""The size that suits a data set where nobody has said one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from cnnatomy.data.dataset import Source
from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.image_set import Decode, ImageSet
from cnnatomy.data.images import ImageError, quiet_decoders
from cnnatomy.data.inspection.taking import evenly
from cnnatomy.data.sources import scenes
from cnnatomy.data.sources.drawn import DrawnScenes

SAMPLE = 200
"""Images that are looked at."""
LARGEST_SIDE = 256
"""Up to here images are taken at their own size, where it is that of all."""
DEFAULT_SIDE = 224
"""Of the input of most published networks, where images have several sizes or are larger."""
SCENE_SIDE = 64


class LookedAt(NamedTuple):
    """The shape (channels, rows, columns) in which images are looked at, and why it is that."""

    shape: ImageShape
    reason: str


def suitable_size(source: Source) -> LookedAt:
    """The images' own size where all of a sample have the same and it is small; in colour if any has colours."""
    if isinstance(source, DrawnScenes):
        channels = scenes.KINDS[source.kind].channels[0] if source.kind in scenes.KINDS else 1
        return LookedAt((channels, SCENE_SIDE, SCENE_SIDE), "drawn at this size unless --input says another")
    sizes, colour = _sampled(source)
    channels = 3 if colour else 1
    if len(sizes) == 1:
        (rows, columns) = next(iter(sizes))
        if max(rows, columns) <= LARGEST_SIDE:
            return LookedAt((channels, rows, columns), "the images' own size")
        reason = f"the images are larger than {LARGEST_SIDE}"
    else:
        reason = "the images have several sizes" if sizes else "no image could be read"
    return LookedAt((channels, DEFAULT_SIDE, DEFAULT_SIDE), f"{reason}; --input says another")


def _sampled(image_set: ImageSet) -> tuple[set[tuple[int, int]], bool]:
    """Sizes of a sample, rows and columns upright, and whether any has colours; it ends when more cannot matter."""
    frame = Frame((3, 8, 8), "stretch")
    sizes: set[tuple[int, int]] = set()
    colour = False
    with quiet_decoders():
        for decode in _sample(image_set):
            try:
                stored = decode(frame).stored
            except ImageError:
                continue
            sizes.add(stored.upright)
            colour = colour or stored.colour
            if colour and (len(sizes) > 1 or max(stored.upright) > LARGEST_SIDE):
                break
    return sizes, colour


def _sample(image_set: ImageSet) -> Iterator[Decode]:
    """Evenly through all images; of those that only come one after another, the first."""
    if image_set.stream is not None:
        return islice(image_set.decoders(), SAMPLE)
    return (partial(image_set.fetch, index) for index in evenly(len(image_set), SAMPLE).tolist())
