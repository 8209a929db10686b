"""What the pixels of masks mean: which of their numbers or colours is which class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnatomy.data.class_list import FILE, ClassList, Colour
from cnnatomy.data.frames import OUTSIDE, Pixels
from cnnatomy.data.images import FORMATS, Coding, ColoursError, ImageError, class_numbers, look_at_each, opened_image
from cnnatomy.errors import UserError, some_of

BINARY = ("background", "foreground")
"""The classes of masks that hold nothing but 0 and 255."""


@dataclass(frozen=True, eq=False)
class Renumbered:
    """The classes of masks by what they hold: `numbers[n]` is the class of pixels of number n."""

    numbers: Pixels

    def __call__(self, image: Image.Image) -> Pixels:
        found: Pixels = self.numbers[class_numbers(image)]
        return found


@dataclass(frozen=True)
class Coloured:
    """The classes of masks by their colours, in order."""

    colours: tuple[Colour, ...]

    def __call__(self, image: Image.Image) -> Pixels:
        known = np.array(self.colours) @ (65_536, 256, 1)
        order = known.argsort()
        pixels = np.asarray(image.convert("RGB")).astype(np.int32) @ np.array((65_536, 256, 1), np.int32)
        places = np.searchsorted(known, pixels, sorter=order).clip(max=len(known) - 1)
        classes = order[places]
        if (wrong := known[classes] != pixels).any():
            colour = int(pixels[wrong][0])
            written = f"{colour >> 16} {colour >> 8 & 255} {colour & 255}"
            raise ImageError(f"its mask has the colour {written}, which is no class of {FILE}")
        found: Pixels = classes.astype(np.uint8)
        return found


class Meaning(NamedTuple):
    """The names of the classes of masks, what gives their numbers, and what is to be said of it."""

    names: tuple[str, ...]
    coding: Coding
    notes: tuple[str, ...] = ()


def meaning(
    masks: Iterable[Callable[[], Path | bytes]], names: Sequence[str], listed: ClassList | None, source: str
) -> Meaning:
    """What the pixels of masks mean: each of `masks` gives its file, or its content; `names` are theirs, for messages.

    By the colours of `listed`, or its names, which are those of the numbers from 0 on; else the numbers are the
    classes that are found in them. Masks of nothing but 0 and 255 tell background from foreground; in all others 255
    is no class.
    Raises `UserError` where they hold colours that nothing tells of, or nothing to tell apart.
    """
    if any(name.lower().endswith(FORMATS["JPEG"]) for name in names):
        raise UserError(f"{source}: masks in JPEG have other numbers than were drawn: save them as PNG")
    if listed is not None and len(listed.names) > OUTSIDE:
        raise UserError(f"{listed.path} has {len(listed.names):,} classes; masks have {OUTSIDE} at most")
    if listed is not None and listed.colours:
        return Meaning(listed.names, Coloured(listed.colours))
    if listed is not None and len(listed.names) > len(BINARY):
        return Meaning(listed.names, class_numbers)
    found, reasons = _found(masks, names, source)
    if reasons and not found:
        raise UserError(f"{source}: no mask can be read; the first, {names[0]}: {reasons[0]}")
    if set(found) == {0, OUTSIDE}:
        binary = np.zeros(OUTSIDE + 1, np.uint8)
        binary[OUTSIDE] = 1
        classes = listed.names if listed is not None and len(listed.names) == len(BINARY) else BINARY
        note = f"the masks hold 0 and {OUTSIDE} alone: {' and '.join(classes)}"
        return Meaning(classes, Renumbered(binary), (note,))
    if listed is not None:
        return Meaning(listed.names, class_numbers)
    values = [value for value in found if value != OUTSIDE]
    if len(values) < 2:
        raise UserError(
            f"{source}: the masks hold nothing but {', '.join(map(str, found)) or 'no number'}: expected two classes"
            f" at least, from 0 on ({OUTSIDE}: no class)"
        )
    classes = tuple(map(str, values))
    if values == list(range(len(values))):
        return Meaning(classes, class_numbers)
    numbers = np.full(OUTSIDE + 1, OUTSIDE, np.uint8)
    numbers[values] = range(len(values))
    note = f"the masks hold the numbers {some_of(classes, 8)}, which are the classes; {FILE} beside them names all"
    return Meaning(classes, Renumbered(numbers), (note,))


def _found(
    masks: Iterable[Callable[[], Path | bytes]], names: Sequence[str], source: str
) -> tuple[list[int], list[str]]:
    """Every number that is in a mask, and why masks cannot be read; those are told by who reads them with images."""
    reasons: list[str] = []
    seen: NDArray[np.bool_] = np.zeros(OUTSIDE + 1, np.bool_)

    def numbers(named: tuple[Callable[[], Path | bytes], str]) -> NDArray[np.bool_] | str:
        mask, name = named
        try:
            with opened_image(mask()) as image:
                return np.bincount(class_numbers(image).reshape(-1), minlength=OUTSIDE + 1) > 0
        except ColoursError:
            raise UserError(
                f"{source}: the mask {name} has colours. Write {FILE} beside with a line `name red green blue`"
                " for each class, or save masks whose grey levels are the numbers of the classes"
            ) from None
        except ImageError as error:
            return str(error)

    for found in look_at_each(numbers, zip(masks, names, strict=True)):
        if isinstance(found, str):
            reasons.append(found)
        else:
            seen |= found
    return np.flatnonzero(seen).tolist(), reasons
