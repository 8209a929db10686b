"""One image file -> one uint8 array in the frame that a network looks at, or one sentence that says why not.

An image file is untrusted: only the formats below are tried (never PostScript), the size is checked before a pixel is
decoded, and whatever a decoder throws at a broken file becomes a `ImageError`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cnnatomy.data.frames import OUTSIDE, Frame, Pixels
from cnnatomy.errors import UserError
from cnnatomy.files import regular_file
from cnnatomy.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

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
UNREAD_FORMATS = {
    "HEIF": (".heic", ".heif", ".avif"),
    "JPEG's others": (".jxl", ".jp2", ".j2k", ".jpx"),
    "raw": (".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    "drawings": (".psd", ".svg"),
}
UNREAD_SUFFIXES = frozenset(suffix for suffixes in UNREAD_FORMATS.values() for suffix in suffixes)
"""What files of images end in that are not read."""
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of images without colours."""
LOOKED_AT_TOGETHER = 512
"""Files that threads open before any more are named to them."""
File = TypeVar("File")
Look = TypeVar("Look")
_STRIP = 2**20
"""Pixels that are converted at once."""
_TOO_LARGE = f"more than {MAX_IMAGE_PIXELS:,} pixels: make it smaller first"


@dataclass(frozen=True)
class Stored:
    """How an image lies in its file: its size (rows, columns), the EXIF `orientation`, 1 to 8, that turns it, and
    whether it has colours (a palette is taken for them)."""

    size: tuple[int, int]
    orientation: int = 1
    colour: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Rows and columns once it is turned; from 5 on, orientations exchange the two."""
        return self.size if self.orientation < 5 else self.size[::-1]


class ImageError(UserError):
    """A file is not an image that can be used. The message is the reason alone; who reports it adds the path."""


class ColoursError(ImageError):
    """A mask has colours where numbers of classes were expected."""


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keeps Pillow's warnings about metadata it corrects off the screen. Enter it in the main thread only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


Coding: TypeAlias = Callable[[Image.Image], Pixels]
"""Gives the class of each pixel of an open mask, `(rows, columns)` uint8; raises `ImageError` where there is none."""


def class_numbers(image: Image.Image) -> Pixels:
    """The classes of a mask: its grey levels, or places in its palette; colours that are all grey count as grey."""
    numbers = np.asarray(image if image.mode in ("1", "L", "P") or image.mode.startswith("I") else image.convert("RGB"))
    if numbers.ndim == 3:
        if (numbers != numbers[..., :1]).any():
            raise ColoursError(f"a mask has one number for each pixel; this one has colours (mode {image.mode})")
        numbers = numbers[..., 0]
    if numbers.max(initial=0) > OUTSIDE or numbers.min(initial=0) < 0:
        raise ImageError(f"a mask has classes from 0 to {OUTSIDE}, this one {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.uint8)


def read_image(path: Path, frame: Frame) -> Pixels:
    """The image at `path` as `(channels, rows, columns)` uint8; see `read_stored`."""
    return read_stored(path, frame)[0]


def read_stored(place: Path | bytes, frame: Frame) -> tuple[Pixels, Stored]:
    """The image of a file or its content as `(channels, rows, columns)` uint8, upright by its EXIF, fitted into a
    frame; and how it lies in its file.

    Transparency is laid on white, 16 bits are rounded to 8, a palette is looked up; of an animation the first frame
    counts.
    Raises `ImageError` with the reason where the file is missing, no regular file, empty, no image, truncated, or too
    large.
    """
    with opened_image(place) as image:
        return fitted(image, frame)


def read_content(path: Path) -> bytes:
    """An image file as bytes; raises `ImageError` where it is missing, no regular file, empty or too large."""
    with reasons():
        file, size = regular_file(path)
        with file:
            _check_bytes(size)
            return file.read()


def read_map(place: Path | bytes, stored: Stored, frame: Frame, coding: Coding = class_numbers) -> Pixels:
    """A map of classes, `(rows, columns)` uint8, where the image that is stored so is fitted; of a file or its content.

    `coding` says which number its classes have. A map lies as its image in the file, or
    upright; upright where both have one size, as with the orientations 2, 3 and 4.
    Raises `ImageError` as `read_stored`, and where it has another size than the image, or no classes.
    """
    with opened_image(place) as image:
        return placed_map(image, stored, frame, coding)


@contextmanager
def opened_image(place: Path | bytes) -> Iterator[Image.Image]:
    """An image file, or its content, opened and not yet decoded; whatever goes wrong with it becomes `ImageError`."""
    with reasons():
        file, size = regular_file(place) if isinstance(place, Path) else (io.BytesIO(place), len(place))
        with file:
            _check_bytes(size)
            with Image.open(file, formats=list(FORMATS)) as image:
                check_pixels(image.width, image.height)
                yield image


def check_pixels(width: int, height: int) -> None:
    """Raises `ImageError` for an image of more pixels than are decoded."""
    if width * height > MAX_IMAGE_PIXELS:
        raise ImageError(_TOO_LARGE)


def _check_bytes(size: int) -> None:
    if size == 0:
        raise ImageError("the file is empty")
    if size > MAX_IMAGE_BYTES:
        raise ImageError(f"{size:,} bytes; an image file may have at most {MAX_IMAGE_BYTES:,}")


@contextmanager
def reasons() -> Iterator[None]:
    """Whatever goes wrong with a file becomes an `ImageError`."""
    try:
        yield
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


def fitted(image: Image.Image, frame: Frame) -> tuple[Pixels, Stored]:
    """An image that is open as `read_stored` has it; raises whatever Pillow's decoders do."""
    size, colour = (image.height, image.width), image.mode not in GREY_MODES
    side = frame.decoded(Stored(size, _orientation(image)).upright) if image.format in ("JPEG", "MPO") else None
    if side is not None:  # at 1/2, 1/4, 1/8 of its size
        image.draft("L" if frame.shape[0] == 1 else "RGB", (side, side))
    turned, orientation = _upright(image)
    stored = Stored(size, orientation, colour)
    return frame.fitted(_eight_bits(turned), stored.upright), stored


def placed_map(image: Image.Image, stored: Stored, frame: Frame, coding: Coding = class_numbers) -> Pixels:
    """A map that is open as `read_map` has it; raises whatever Pillow's decoders do."""
    size = image.height, image.width
    if size not in (stored.size, stored.upright):
        (rows, columns), (wanted_rows, wanted_columns) = size, stored.upright
        raise ImageError(
            f"the mask has {columns} x {rows} pixels (width x height), its image {wanted_columns} x {wanted_rows}"
        )
    classes = Image.fromarray(coding(image))
    if size != stored.upright:
        classes = classes.transpose(TURNS[stored.orientation])
    return frame.fitted_map(classes)


def size_in(content: bytes) -> tuple[int, int]:
    """Rows and columns of an image as it lies in its file, of which the beginning alone is read.

    Raises:
        ImageError: if that says no size.
    """
    with opened_image(content) as image:
        return image.height, image.width


def look_at_each(look: Callable[[File], Look], files: Iterable[File]) -> Iterator[Look]:
    """What is found of each file, in order, by several threads. Go through it in the main thread only."""
    coming = iter(files)
    with quiet_decoders(), ThreadPoolExecutor() as threads:
        while part := list(islice(coming, LOOKED_AT_TOGETHER)):
            yield from threads.map(look, part)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """The image turned upright, and the EXIF orientation by which it was."""
    try:
        image.load()  # only then all of its EXIF is known
        orientation = _orientation(image)
        return (image if orientation == 1 else ImageOps.exif_transpose(image)), orientation  # which would copy it
    except Exception:  # unsound pixels are reported when they are decoded
        return image, 1


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(found) if found in range(2, 9) else 1
    except Exception:  # broken EXIF beside sound pixels
        return 1


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
