"""What is said where training waited for its data: what would help here, by what is known of files and machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cnnatomy import machine

if TYPE_CHECKING:
    from cnnatomy.data import Data
    from cnnatomy.data.stores import OnDemand

WORTH_SAYING = 0.1
"""Share of the time of a training; where it waits longer, what to do is said."""
LARGE = 4
"""Times the pixels of the input, from which on it is worth while to store an image smaller."""
SPARE = 0.5
"""Share of this computer's memory that decoded images are advised to take at most."""


def hints(share: float, data: Data, cut: bool = False) -> list[str]:
    """What to do where training waited for so large a share of its time; nothing where that is little, or in vain.

    With `cut`, parts were cut out of the files in every epoch, whatever memory holds.
    """
    from cnnatomy.data.stores import OnDemand

    store = data.originals if cut else data.train.store
    if share <= WORTH_SAYING or not isinstance(store, OnDemand):
        return []
    advice = advised(store, machine.cores(), None if cut else machine.memory())
    return [f"{share:.0%} of the time training waited until images were decoded:", *(f"  {line}" for line in advice)]


def advised(store: OnDemand, processors: int, memory: int | None) -> list[str]:
    """What makes images come sooner on a computer with so many processors and bytes of memory, a sentence each."""
    channels, rows, columns = store.frame.shape
    lines = []
    if store.workers < processors:
        have = f"{store.workers} of {processors} processors decode" if store.workers else "no process decodes beside it"
        lines.append(f"{have}: --workers {processors}")
    size = len(store.image_set) * channels * rows * columns
    if memory is not None and size <= SPARE * memory:
        mebibytes, gibibytes = math.ceil(size / 2**20), math.ceil(size / 2**30)
        lines.append(f"memory holds all images decoded, {mebibytes:,} MiB: --hold {gibibytes}GiB")
    if store.pixels >= LARGE * rows * columns:
        much = (
            f"{store.pixels / 1e6:,.1f} million pixels, {store.pixels / (rows * columns):,.0f} times those of the input"
        )
        lines.append(f"images are stored with {much}: make smaller copies of them once")
    return lines or [f"{processors} processors decode, which is all there are: take a smaller --input, or more of them"]
