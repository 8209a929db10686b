"""How an image of any size becomes one of the network's input: what of it is taken, how it is scaled, where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from cnnatomy.data.loading import AUTO, IMAGENET, check_fit
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_IMAGE_PIXELS
from cnnatomy.tasks.losses import IGNORED

ImageShape: TypeAlias = tuple[int, int, int]
"""(channels, rows, columns)"""
Pixels: TypeAlias = NDArray[np.uint8]
Coordinates = TypeVar("Coordinates", float, NDArray[np.float64])
"""Along one axis: of one place, or of several."""
Shares: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the sides."""

CENTRAL = 224 / 256
"""Share of the shorter side that ImageNet's protocol of evaluation takes (Krizhevsky et al. 2012: 256, then 224)."""
OUTSIDE = IGNORED
"""What a map of classes has in the margin: no class, which counts for nothing."""


class Placement(NamedTuple):
    """Which part of an image is taken, and where it comes to lie.

    Attributes:
        box: left, top, right and bottom of that part, in pixels of the image.
        size: rows and columns that it becomes.
        at: row and column of the frame at which it begins; around it is the margin.
        sharp: whether it is enlarged by a whole factor, so that its pixels stay squares.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    at: tuple[int, int] = (0, 0)
    sharp: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """Of columns and of rows."""
        left, top, right, bottom = self.box
        return self.size[1] / (right - left), self.size[0] / (bottom - top)

    def to_frame(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Where place (x, y) of the image (column, row) comes to lie; of several, too."""
        (across, down), (row, column) = self.scale, self.at
        return (x - self.box[0]) * across + column, (y - self.box[1]) * down + row

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Where place (x, y) of the frame lies in the image."""
        (across, down), (row, column) = self.scale, self.at
        return (x - column) / across + self.box[0], (y - row) / down + self.box[1]

    def through(self, window: Shares, frame: tuple[int, int]) -> Placement:
        """Where the image comes to lie when a window of the frame (rows, columns) becomes all of it.

        Of `size` (0, 0) where the window shows nothing but margin.
        """
        rows, columns = frame
        left, top, right, bottom = window[0] * columns, window[1] * rows, window[2] * columns, window[3] * rows
        across, down = columns / (right - left), rows / (bottom - top)
        (row, column), (height, width) = self.at, self.size
        begins = max(0, round((row - top) * down)), max(0, round((column - left) * across))
        ends = min(rows, round((row + height - top) * down)), min(columns, round((column + width - left) * across))
        if ends[0] <= begins[0] or ends[1] <= begins[1]:
            return Placement(self.box, (0, 0))
        first = self.to_image(begins[1] / across + left, begins[0] / down + top)
        last = self.to_image(ends[1] / across + left, ends[0] / down + top)
        low, high = self.box[:2], self.box[2:]
        box = tuple(min(max(place, low[i % 2]), high[i % 2]) for i, place in enumerate((*first, *last)))
        return Placement((box[0], box[1], box[2], box[3]), (ends[0] - begins[0], ends[1] - begins[1]), begins)


@dataclass(frozen=True)
class Frame:
    """What images are fitted into: the shape of the network's input, and how; see `loading.FITS`.

    With a `window` that part of it becomes the whole: it is cut out of the image itself, which may have more pixels.
    Raises `UserError` for an unknown fit, and where images cannot become that shape: they have 1 channel (grey) or
    3 (RGB), and so many pixels at most as are decoded of a file.
    """

    shape: ImageShape
    fit: str = AUTO
    window: Shares | None = None

    def __post_init__(self) -> None:
        check_fit(self.fit)
        channels, rows, columns = self.shape
        if channels not in (1, 3):
            raise UserError(f"the network takes {channels} channels; images give 1 (grey) or 3 (RGB): choose --input")
        if rows * columns > MAX_IMAGE_PIXELS:
            raise UserError(
                f"the network takes images of {rows:,} x {columns:,} pixels; at most {MAX_IMAGE_PIXELS:,} are decoded:"
                " choose a smaller --input"
            )

    def decoded(self, size: tuple[int, int]) -> int | None:
        """Pixels of the shorter side that a JPEG of `size` (rows, columns), upright, may be decoded at, at least.

        None: at its own, so that each pixel counts as in the published protocol.
        """
        if self.window is not None:
            return max(1, math.ceil(min(size) * max(self.placement(size).scale)))
        return None if self.fit == IMAGENET else max(self.shape[1:])

    def placement(self, size: tuple[int, int]) -> Placement:
        """Of an image of `size` (rows, columns)."""
        place = self._fitted_place(size)
        return place if self.window is None else place.through(self.window, self.shape[1:])

    def _fitted_place(self, size: tuple[int, int]) -> Placement:
        (rows, columns), (_, new_rows, new_columns) = size, self.shape
        everything = (0.0, 0.0, float(columns), float(rows))
        if self.fit == "stretch":
            return Placement(everything, (new_rows, new_columns))
        if self.fit == AUTO and rows <= new_rows and columns <= new_columns:
            factor = min(new_rows // rows, new_columns // columns)
            return self._centred(everything, (rows * factor, columns * factor), sharp=True)
        if self.fit == "whole":
            scale = min(new_rows / rows, new_columns / columns)
            return self._centred(everything, (max(1, round(rows * scale)), max(1, round(columns * scale))))
        if self.fit == IMAGENET:
            return _central(size, (new_rows, new_columns))
        return Placement(largest_part(size, (new_rows, new_columns)), (new_rows, new_columns))

    def _centred(self, box: tuple[float, float, float, float], size: tuple[int, int], sharp: bool = False) -> Placement:
        return Placement(box, size, ((self.shape[1] - size[0]) // 2, (self.shape[2] - size[1]) // 2), sharp)

    def fitted(self, image: Image.Image, size: tuple[int, int] | None = None) -> Pixels:
        """A grey or colour image as `(channels, rows, columns)` uint8, scaled bilinearly; RGB to grey by ITU-R 601-2.

        `size` (rows, columns) is that of the image in its file, where it was decoded at another.
        """
        channels = self.shape[0]
        mode = "L" if channels == 1 else "RGB"
        if image.mode not in ("L", mode):
            image = image.convert(mode)
        if self.window is not None:
            return self._cut(image, size)
        image = self._placed(image, size, Image.Resampling.BILINEAR, 0)
        if image.mode != mode:  # grey stays grey until it is small
            image = image.convert(mode)
        pixels = np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _cut(self, image: Image.Image, size: tuple[int, int] | None) -> Pixels:
        """`fitted` for a window, at whole pixels; by torch, which takes half of Pillow's time."""
        rows, columns = size or (image.height, image.width)
        place = self.placement((rows, columns))
        frame = np.zeros(self.shape, np.uint8)
        if all(place.size):
            across, down = image.width / columns, image.height / rows
            left, right = _whole_pixels(place.box[0] * across, place.box[2] * across, image.width)
            top, bottom = _whole_pixels(place.box[1] * down, place.box[3] * down, image.height)
            pixels = np.array(image.crop((left, top, right, bottom))).reshape(bottom - top, right - left, -1)
            some = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            scaled = F.interpolate(some, place.size, mode="bilinear", antialias=True)[0].numpy()
            frame[:, place.at[0] : place.at[0] + place.size[0], place.at[1] : place.at[1] + place.size[1]] = scaled
        return frame

    def fitted_array(self, pixels: Pixels) -> Pixels:
        """The same of pixels `(rows, columns)` or `(rows, columns, 3)`; without Pillow where none is interpolated."""
        (rows, columns), channels = pixels.shape[:2], self.shape[0]
        place = self.placement((rows, columns))
        if not place.sharp or self.window is not None or (pixels.ndim == 3 and channels == 1):
            return self.fitted(Image.fromarray(pixels))
        planes = pixels.reshape(rows, columns, -1).transpose(2, 0, 1)
        (top, left), (height, width) = place.at, place.size
        frame = np.zeros(self.shape, np.uint8)
        frame[:, top : top + height, left : left + width] = planes.repeat(height // rows, 1).repeat(width // columns, 2)
        return frame

    def fitted_map(self, classes: Image.Image) -> Pixels:
        """A map of classes, mode L, as `(rows, columns)` uint8 where the image of the same size comes to lie."""
        return np.asarray(self._placed(classes, None, Image.Resampling.NEAREST, OUTSIDE), dtype=np.uint8)

    def _placed(
        self, image: Image.Image, size: tuple[int, int] | None, resample: Image.Resampling, margin: int
    ) -> Image.Image:
        rows, columns = size or (image.height, image.width)
        place = self.placement((rows, columns))
        across, down = image.width / columns, image.height / rows
        left, top, right, bottom = place.box
        box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
        if self.fit in (AUTO, "crop") and not place.sharp:  # of the sides that it was decoded at, which are rounded
            box = largest_part((image.height, image.width), self.shape[1:])
        wanted = place.size[1], place.size[0]
        if (wanted, box) != (image.size, (0, 0, *image.size)):
            image = image.resize(wanted, Image.Resampling.NEAREST if place.sharp else resample, box=box)
        if place.size == self.shape[1:]:
            return image
        frame = Image.new(image.mode, (self.shape[2], self.shape[1]), margin if image.mode == "L" else (margin,) * 3)
        frame.paste(image, (place.at[1], place.at[0]))
        return frame


def _whole_pixels(begins: float, ends: float, count: int) -> tuple[int, int]:
    """The nearest, of which there is one at least."""
    first = min(round(begins), count - 1)
    return first, min(max(round(ends), first + 1), count)


def largest_part(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest central box of an image of `size` with the proportions of `wanted`, both (rows, columns).

    AlexNet's way (Krizhevsky et al. 2012, section 2).
    """
    (rows, columns), ratio = size, wanted[1] / wanted[0]
    width, height = float(columns), float(rows)
    if columns / rows > ratio:
        width = ratio * rows
    elif columns / rows < ratio:
        height = columns / ratio
    left, top = (columns - width) * 0.5, (rows - height) * 0.5
    return left, top, left + width, top + height


def _central(size: tuple[int, int], wanted: tuple[int, int]) -> Placement:
    """What remains of an image that is scaled as a whole, to whole pixels, of which the centre is then cut out.

    As torchvision's Resize and CenterCrop do it, with their rounding.
    """
    (rows, columns), (new_rows, new_columns) = size, wanted
    if new_rows / rows > new_columns / columns:
        scaled_rows = int(new_rows / CENTRAL)
        scaled_columns = max(new_columns, int(scaled_rows * columns / rows))
    else:
        scaled_columns = int(new_columns / CENTRAL)
        scaled_rows = max(new_rows, int(scaled_columns * rows / columns))
    top, left = round((scaled_rows - new_rows) / 2), round((scaled_columns - new_columns) / 2)
    across, down = columns / scaled_columns, rows / scaled_rows
    box = (left * across, top * down, (left + new_columns) * across, (top + new_rows) * down)
    return Placement(box, wanted)
