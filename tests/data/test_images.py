from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from cnnatomy.data import Frame, ImageError, read_image
from cnnatomy.data import images as module
from cnnatomy.data.images import read_map, read_stored
from cnnatomy.limits import MAX_IMAGE_BYTES

GREY, RGB = Frame((1, 8, 8)), Frame((3, 8, 8))


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def halves(mode: str, left: object, right: object, size: int = 8) -> Image.Image:
    """A square image, its left half of one colour and its right half of another."""
    image = Image.new(mode, (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


def test_grey_stays_exact(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(read_image(save(Image.fromarray(pixels), tmp_path / "a.png"), GREY)[0], pixels)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    pixels = read_image(save(halves("L", 10, 200), tmp_path / "a.png"), RGB)
    assert pixels.shape == RGB.shape
    assert (pixels == pixels[0]).all()


def test_colour_becomes_grey_by_its_luma(tmp_path: Path) -> None:
    pixels = read_image(save(Image.new("RGB", (8, 8), (255, 0, 0)), tmp_path / "a.png"), GREY)
    assert set(pixels.flat) == {76}  # 0.299 * 255


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = halves("RGB", (255, 0, 0), (0, 0, 255)).convert("P", palette=Image.Palette.ADAPTIVE)
    pixels = read_image(save(image, tmp_path / "a.png"), RGB)
    assert tuple(pixels[:, 0, 0]) == (255, 0, 0)
    assert tuple(pixels[:, 0, 7]) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    clear, black = ((0, 0, 0, 0), (0, 0, 0, 255)) if mode == "RGBA" else ((0, 0), (0, 255))
    pixels = read_image(save(halves(mode, clear, black), tmp_path / "a.png"), RGB)
    assert set(pixels[:, :, 0].flat) == {255}
    assert set(pixels[:, :, 7].flat) == {0}


def test_a_transparent_palette_colour_is_laid_on_white(tmp_path: Path) -> None:
    path = save(halves("P", 0, 1), tmp_path / "a.gif", transparency=0)
    assert set(read_image(path, RGB)[:, :, 0].flat) == {255}


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]] * 4, np.uint16)
    pixels = read_image(save(Image.fromarray(values), tmp_path / "a.png"), Frame((1, 4, 4)))
    assert pixels[0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_strips_join_to_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (23, 17, 4), dtype=np.uint8)
    wide = Image.fromarray(noise.view(np.uint16)[..., 0].copy())
    image = wide if mode == "I;16" else Image.fromarray(noise).convert("RGB" if mode in ("P", "CMYK") else mode)
    path = save(image.convert(mode), tmp_path / "a.tiff")
    whole = read_image(path, RGB)
    monkeypatch.setattr(module, "_STRIP", 50)
    assert np.array_equal(read_image(path, RGB), whole)


def test_bilevel_cmyk_and_webp_are_read(tmp_path: Path) -> None:
    assert set(read_image(save(halves("1", 0, 1), tmp_path / "a.png"), GREY).flat) == {0, 255}
    assert read_image(save(Image.new("CMYK", (8, 8)), tmp_path / "a.jpg"), RGB).min() > 250
    assert read_image(save(Image.new("RGB", (8, 8), "white"), tmp_path / "a.webp"), RGB).min() > 250


def test_floating_point_pixels_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="floating-point"):
        read_image(save(Image.new("F", (8, 8)), tmp_path / "a.tiff"), GREY)


def test_exif_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    path = save(halves("L", 0, 255, 64), tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = read_image(path, GREY)
    assert pixels[0, 4, 0] > 200
    assert pixels[0, 4, 7] < 50


def test_the_middle_of_a_long_image_is_taken(tmp_path: Path) -> None:
    image = Image.new("L", (32, 8), 0)
    image.paste(255, (12, 0, 20, 8))
    assert read_image(save(image, tmp_path / "a.png"), GREY).min() == 255


def test_a_large_jpeg_keeps_its_content(tmp_path: Path) -> None:
    pixels = read_image(save(halves("RGB", (200, 0, 0), (0, 0, 200), 1024), tmp_path / "a.jpg"), RGB)
    assert pixels[0, 4, 1] > 180
    assert pixels[2, 4, 6] > 180


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (10_000, 60_000):  # above Pillow's limit, and above twice that
        path = tmp_path / f"{side}.png"
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with module.quiet_decoders(), pytest.raises(ImageError, match="more than 62,500,000 pixels"):
            read_image(path, RGB)


def broken(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG" if "jpeg" in kind else "PNG")
    content = buffer.getvalue()
    if kind.startswith("truncated"):
        return content[: len(content) // 2]
    return {
        "empty": b"",
        "text": b"these are no pixels\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "empty"),
        ("text", "not an image"),
        ("postscript", "not an image"),
        ("truncated png", "broken or truncated"),
        ("truncated jpeg", "broken or truncated"),
    ],
)
def test_what_is_wrong_with_a_broken_file_is_said(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(broken(kind))
    with pytest.raises(ImageError, match=reason):
        read_image(path, RGB)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.png", RGB)
    with pytest.raises(ImageError, match="a folder"):
        read_image(tmp_path, RGB)


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "me.png").symlink_to("me.png")
    for path, reason in (
        (tmp_path / "pipe.png", "it is a pipe, not a regular file"),
        (Path("/dev/zero"), "it is a device, not a regular file"),
        (tmp_path / "me.png", "Too many levels of symbolic links"),
    ):
        with pytest.raises(ImageError, match=f"^{reason}$"):
            read_image(path, RGB)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(ImageError, match=r"1,073,741,825 bytes; an image file may have at most 1,073,741,824"):
        read_image(path, RGB)


def test_no_flipped_byte_of_a_image_ends_in_anything_but_a_image_error(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    path = tmp_path / "a.png"
    for suffix in ("PNG", "GIF", "TIFF", "BMP", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        halves("RGB", (255, 0, 0), (0, 0, 255), 16).save(buffer, suffix)
        for _ in range(40):
            content = bytearray(buffer.getvalue())
            content[int(generator.integers(len(content)))] = int(generator.integers(256))
            path.write_bytes(content)
            with module.quiet_decoders(), contextlib.suppress(ImageError):
                assert read_image(path, RGB).shape == RGB.shape


@pytest.mark.parametrize(("orientation", "turn"), [(2, np.fliplr), (3, lambda each: each[::-1, ::-1]), (4, np.flipud)])
def test_a_mask_of_its_images_size_is_upright(tmp_path: Path, orientation: int, turn: Any) -> None:
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / "mask.png")
    pixels, lies = read_stored(tmp_path / "a.png", Frame((1, 3, 4)))
    assert (pixels[0] == turn(stored)).all()
    assert (read_map(tmp_path / "mask.png", lies, Frame((1, 3, 4))) == stored).all()
