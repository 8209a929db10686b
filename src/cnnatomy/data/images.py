"""One image file -> one uint8 array in the network's input shape, or one sentence that says why not.

An image file is untrusted: only the formats below are tried (never PostScript), the size is checked before a pixel is
decoded, and whatever a decoder throws at a broken file becomes a `ImageError`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cnnatomy.errors import UserError
from cnnatomy.files import regular_file
from cnnatomy.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

ImageShape: TypeAlias = tuple[int, int, int]
"""(channels, rows, columns)"""
Pixels: TypeAlias = NDArray[np.uint8]

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),  # and MPO, which some phones write into a .jpg
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_STRIP = 2**20
"""Pixels that are converted at once."""
_TOO_LARGE = f"more than {MAX_IMAGE_PIXELS:,} pixels: make it smaller first"


@dataclass(frozen=True)
class Stored:
    """How an image lies in its file: its size (rows, columns), and the EXIF `orientation`, 1 to 8, that turns it."""

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Rows and columns once it is turned; from 5 on, orientations exchange the two."""
        return self.size if self.orientation < 5 else self.size[::-1]


class ImageError(UserError):
    """A file is not an image that can be used. The message is the reason alone; who reports it adds the path."""


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keeps Pillow's warnings about metadata it corrects off the screen. Enter it in the main thread only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_image_shape(shape: ImageShape) -> None:
    """Raises `UserError` where images cannot become `shape`: they have 1 channel (grey) or 3 (RGB), and so many pixels
    at most as are decoded of a file."""
    if shape[0] not in (1, 3):
        raise UserError(f"the network takes {shape[0]} channels; images give 1 (grey) or 3 (RGB): choose --input")
    if shape[1] * shape[2] > MAX_IMAGE_PIXELS:
        raise UserError(
            f"the network takes images of {shape[1]:,} x {shape[2]:,} pixels; at most {MAX_IMAGE_PIXELS:,} are decoded:"
            " choose a smaller --input"
        )


def read_image(path: Path, shape: ImageShape) -> Pixels:
    """The image at `path` as `(channels, rows, columns)` uint8; see `read_stored`."""
    return read_stored(path, shape)[0]


def read_stored(path: Path, shape: ImageShape) -> tuple[Pixels, Stored]:
    """The image at `path` as `(channels, rows, columns)` uint8, upright by its EXIF, cut and scaled by `fit_image`; and
    how it lies in its file.

    Transparency is laid on white, 16 bits are rounded to 8, a palette is looked up; of an animation the first frame
    counts.
    Raises `ImageError` with the reason where the file is missing, no regular file, empty, no image, truncated, or too
    large.
    """
    try:
        file, size = regular_file(path)
        with file:
            if size == 0:
                raise ImageError("the file is empty")
            if size > MAX_IMAGE_BYTES:
                raise ImageError(f"{size:,} bytes; an image file may have at most {MAX_IMAGE_BYTES:,}")
            return _decode(file, shape)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(_TOO_LARGE) from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise ImageError(f"not an image (its content is none of {known})") from None
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except IsADirectoryError:
        raise ImageError("a folder, not an image") from None
    except Exception as error:  # a broken file leads Pillow's decoders to OSError, struct.error, IndexError, ...
        if isinstance(error, OSError) and error.strerror:  # of the system, not of a decoder
            raise ImageError(error.strerror) from None
        raise ImageError(f"broken or truncated ({str(error).strip() or type(error).__name__})") from None


def _decode(file: BinaryIO, shape: ImageShape) -> tuple[Pixels, Stored]:
    with Image.open(file, formats=list(FORMATS)) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ImageError(_TOO_LARGE)
        size = image.height, image.width
        # JPEG can be decoded at 1/2, 1/4, 1/8 of its size: never below what is asked for
        image.draft("L" if shape[0] == 1 else "RGB", (max(shape[1:]), max(shape[1:])))
        turned, orientation = _upright(image)
        return fit_image(_eight_bits(turned), shape), Stored(size, orientation)


def fit_image(image: Image.Image, shape: ImageShape) -> Pixels:
    """A grey or colour image as `(channels, rows, columns)` uint8: the largest central part of the right proportions
    (AlexNet's way, Krizhevsky et al. 2012, section 2), scaled bilinearly; RGB to grey by ITU-R 601-2 luma."""
    channels, rows, columns = shape
    mode = "L" if channels == 1 else "RGB"
    if image.mode not in ("L", mode):
        image = image.convert(mode)
    if image.size != (columns, rows):
        image = ImageOps.fit(image, (columns, rows), Image.Resampling.BILINEAR)
    if image.mode != mode:  # grey stays grey until it is small
        image = image.convert(mode)
    pixels = np.asarray(image, dtype=np.uint8).reshape(rows, columns, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def cut(size: tuple[int, int], shape: ImageShape) -> tuple[float, tuple[float, float]]:
    """By how much `fit_image` scales an image of `size` (rows, columns), and how many columns and rows it cuts off at
    the left and at the top: place (x, y) of the image comes to ((x, y) - cut off) * scale."""
    (rows, columns), (_, new_rows, new_columns) = size, shape
    scale = max(new_rows / rows, new_columns / columns)
    return scale, ((columns - new_columns / scale) / 2, (rows - new_rows / scale) / 2)


def to_image(size: tuple[int, int], shape: ImageShape, x: float, y: float) -> tuple[float, float]:
    """Where place (x, y) of the network's input lies in an image of `size` (rows, columns) that `fit_image` fitted."""
    scale, (left, top) = cut(size, shape)
    return x / scale + left, y / scale + top


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """The image turned upright, and the EXIF orientation by which it was."""
    try:
        image.load()  # only then all of its EXIF is known
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if orientation not in range(2, 9):
            return image, 1  # rather than the copy that Pillow makes
        return ImageOps.exif_transpose(image), int(orientation)
    except Exception:  # broken EXIF beside sound pixels; unsound pixels are reported when they are decoded
        return image, 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as grey or RGB with 8 bits a channel; strip by strip, as what is between may take 24 bytes a pixel."""
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    width, height = image.size
    rows = max(1, _STRIP // width)
    whole: Image.Image | None = None
    for top in range(0, height, rows):
        strip = _strip(image.crop((0, top, width, min(top + rows, height))))
        whole = whole or Image.new(strip.mode, image.size)
        whole.paste(strip, (0, top))
    assert whole is not None
    return whole


def _strip(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ImageError("floating-point pixels have no fixed range: save the image with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
