# ruff: noqa: E501 - a table has a line for a case, or for many
"""Images for `predict`, and folders of images for `train`, that are damaged, hostile, or only strange."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

from bad_inputs.case import GOOD_DESIGN, NO_FILES, Case, Content, case, fifo, link_to

TWO = GOOD_DESIGN.replace("classes: 10", "classes: 2")
"""A design for two classes."""


def untouched(run: Path) -> None:
    """The run folder as it is."""


def cases() -> Iterator[Case]:
    """All of them."""
    yield from single_images()
    yield from class_folders()
    yield from idx_folders()


def encoded(format: str = "PNG", mode: str = "L", size: tuple[int, int] = (8, 8)) -> Content:
    """What writes an image in this format, when it is needed; images of other paths differ."""
    return lambda path: path.write_bytes(_encoded(format, mode, size, shade=crc32(os.fsencode(path)) % 256))


def _encoded(format: str, mode: str, size: tuple[int, int], shade: int = 0) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", size, shade).convert(mode).save(file, format)
    return file.getvalue()


def cut(share: float, format: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> Content:
    """What writes the beginning of an image."""

    def write(path: Path) -> None:
        content = _encoded(format, mode, size)
        path.write_bytes(content[: int(share * len(content))])

    return write


def png(columns: int, rows: int, pixels: bytes = b"", kind: int = 0) -> bytes:
    """A PNG file that promises this size, whatever is in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def predicted(what: str, file: str, content: Content) -> Case:
    """An image that `predict` refuses by the name of its file."""
    return case(f"predict: {what}", f"predict run {file}", {file: content}, says=re.escape(file), run=untouched)


def single_images() -> Iterator[Case]:
    """One image for `predict`."""
    for name, content in {
        "of no bytes": b"", "of one byte": b"x", "of text": "no image\n", "of zero bytes": b"\0" * 10_000, "that is YAML": "tail: ReLU\n", "of only a header": b"\x89PNG\r\n\x1a\n",
        "cut to a half": cut(0.5), "cut to a tenth": cut(0.1), "of 100,000 x 100,000 promised pixels": png(100_000, 100_000), "of 2^31 columns": png(2**31 - 1, 1), "of no rows": png(8, 0),
        "of no columns": png(0, 8), "of no pixels": png(8, 8), "of an unknown kind of colour": png(8, 8, b"\0" * 100, 9), "of 9,400 x 9,400 promised pixels": png(9_400, 9_400),
        "that is a decompression bomb": png(20_000, 20_000, b"\0" * 50_000_000), "that is HTML": "<html>", "that is a zip": b"PK\x03\x04" + b"\0" * 100, "that is a GIF cut short": b"GIF89a\xff\xff\xff\xff",
        "that is PostScript": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "that is an SVG": '<svg xmlns="http://www.w3.org/2000/svg"/>', "with a chunk of 4 GB": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + b"\0" * 50,
        "of random bytes": bytes(range(256)) * 40,
    }.items():  # fmt: skip
        yield predicted(f"an image {name}", "image.png", content)
    for name, content in {
        "cut to a half": cut(0.5, "JPEG"),
        "of only a header": b"\xff\xd8\xff\xe0",
        "that is a PNG cut short": cut(0.5),
        "of markers": b"\xff\xd8" + b"\xff\xe1\xff\xff" * 1_000,
    }.items():
        yield predicted(f"a JPEG {name}", "image.jpg", content)
    for what, make in NO_FILES.items():
        yield predicted(f"an image that is {what}", "image.png", make)
        yield predicted(f"an image without a suffix that is {what}", "image", make)
    for name, content in {
        "of one pixel": encoded(size=(1, 1)), "of 50,000 x 1 pixels": encoded(size=(50_000, 1)), "of 1 x 50,000 pixels": encoded(size=(1, 50_000)), "of 16 bits": encoded(mode="I;16"), "of one bit": encoded(mode="1"),
        "of a palette": encoded(mode="P"), "with transparency": encoded(mode="RGBA"), "of grey and transparency": encoded(mode="LA"), "that is larger than the input": encoded(mode="RGB", size=(2_000, 1_500)),
    }.items():  # fmt: skip
        yield case(
            f"predict: an image {name}",
            "predict run image.png",
            {"image.png": content},
            code=(0, 2) if "50,000" in name else 0,
            run=untouched,
        )
    for format, mode in (
        ("JPEG", "CMYK"),
        ("TIFF", "F"),
        ("TIFF", "CMYK"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
        ("PPM", "RGB"),
        ("TIFF", "I;16"),
        ("ICO", "RGBA"),
    ):
        file = f"image.{format.lower()}"
        yield case(
            f"predict: an image in {format} of {mode}",
            f"predict run {file}",
            {file: encoded(format, mode)},
            code=(0, 2),
            run=untouched,
        )
    names = (
        "missing.png",
        "",
        "x" * 300,
        "\x1b[31m.png",
        "a\nb.png",
        "\udcff.png",
        "good.yaml",
        "run/model.safetensors",
        "http://example.com/x.png",
        "image.png/x",
        "-",
        "\u202e.png",
    )
    for name in names:
        yield case(
            f"predict: the image {ascii(name)[:60]}",
            ("predict", "run", "--", name),
            {"image.png": encoded()},
            run=untouched,
        )
    for format in ("json", "csv", "table"):
        command = f"predict run image.png missing.png broken.png --format {format}"
        yield case(
            f"predict: a good image and two bad ones as {format}",
            command,
            {"image.png": encoded(), "broken.png": b"x"},
            run=untouched,
            messages=2,
            says="missing",
        )
    yield case(
        "predict: the same missing image 300 times",
        "predict run " + "missing.png " * 300,
        run=untouched,
        messages=300,
        says="missing",
    )
    yield case(
        "predict: an image whose name has escape sequences",
        ("predict", "run", "\x1b[31m.png"),
        {"\x1b[31m.png": encoded()},
        code=(0, 2),
        run=untouched,
    )
    yield case(
        "predict: an image whose name has a newline",
        ("predict", "run", "a\nb.png"),
        {"a\nb.png": encoded()},
        code=(0, 2),
        run=untouched,
    )


def images(*names: str) -> dict[str, Content]:
    """Good images under these names."""
    return {f"data/{name}": encoded() for name in names}


BOTH = images(*(f"{kind}/{i}.png" for kind in "ab" for i in range(12)))


def trained(what: str, files: dict[str, Content], code: int | tuple[int, ...] = 2, says: str = "data") -> Case:
    """A case that trains on the folder `data`."""
    return case(
        f"train: a folder {what}",
        "train two.yaml --data data --epochs 1",
        {"two.yaml": TWO, **files},
        code=code,
        says=says if code == 2 else "",
    )


def class_folders() -> Iterator[Case]:
    """Folders of class folders."""
    folder: Callable[[Path], None] = lambda path: path.mkdir(parents=True)  # noqa: E731 - short
    yield trained("without anything", {"data": folder})
    yield trained("of one class", images("a/1.png", "a/2.png"))
    yield trained("of images without classes", images("1.png", "2.png"))
    yield trained("of empty classes", {"data/a": folder, "data/b": folder})
    yield trained("of one image a class", images("a/1.png", "b/1.png"))
    yield trained("of text files", {"data/a/x.txt": "x", "data/b/x.txt": "x"})
    yield trained("with an unknown class in test", images("train/a/1.png", "train/b/1.png", "test/c/1.png"))
    yield trained("of only test", images("test/a/1.png", "test/b/1.png"))
    yield trained("of train and training", images("train/a/1.png", "training/a/1.png"))
    yield trained("with an empty validation split", {**images("train/a/1.png", "train/b/1.png"), "data/val": folder})
    for what, make in NO_FILES.items():
        yield trained(f"with an image that is {what}", {**BOTH, "data/a/x.png": make}, (0, 2))
        yield trained(f"with a class that is {what}", {**BOTH, "data/c": make}, (0, 2))
        yield trained(f"that is itself {what}", {"data": make})
    for what, content in {
        "of no bytes": b"",
        "of text": "text",
        "cut to a half": cut(0.5),
        "of promised pixels": png(100_000, 100_000),
        "that is a bomb": png(20_000, 20_000, b"\0" * 10_000_000),
        "of no rows": png(8, 0),
    }.items():
        yield trained(f"with an image {what}", {**BOTH, "data/a/x.png": content}, 0, says=r"x\.png")
        yield trained(
            f"with only images {what}",
            {f"data/{kind}/{i}.png": content for kind in "ab" for i in range(8)},
            says="png|data",
        )
    yield trained(
        "with images of unlike sizes",
        {**BOTH, "data/a/x.png": encoded(size=(999, 3)), "data/b/y.png": encoded(mode="RGBA")},
        0,
    )
    yield trained(
        "with a class of escape sequences",
        {f"data/{kind}/{i}.png": encoded() for kind in ("\x1b[31mred", "b") for i in range(12)},
        (0, 2),
    )
    yield trained(
        "with a class that is no text",
        {f"data/{kind}/{i}.png": encoded() for kind in ("\udcff", "b") for i in range(12)},
        (0, 2),
    )
    yield trained(
        "with a class named by a newline",
        {f"data/{kind}/{i}.png": encoded() for kind in ("two\nlines", "b") for i in range(12)},
        (0, 2),
    )
    yield trained("with a link to itself", {**BOTH, "data/a/again": lambda path: os.symlink("..", path)}, (0, 2))
    yield trained("with a pipe among its files", {**BOTH, "data/a/pipe.png": fifo}, (0, 2))
    yield trained("with 2,000 classes", {f"data/c{i}/1.png": encoded(size=(1, 1)) for i in range(2_000)}, (0, 2))


def idx(sizes: tuple[int, ...], content: bytes | None = None, kind: int = 8) -> bytes:
    """An IDX file that promises these sizes."""
    total = 1
    for size in sizes:
        total *= size
    head = struct.pack(">HBB", 0, kind, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes)
    return head + (bytes(i % 2 for i in range(total)) if content is None else content)


IDX: dict[str, Content] = {
    "data/train-images-idx3-ubyte": idx((40, 8, 8)), "data/train-labels-idx1-ubyte": idx((40,)),
    "data/t10k-images-idx3-ubyte": idx((20, 8, 8)), "data/t10k-labels-idx1-ubyte": idx((20,)),
}  # fmt: skip


def idx_folders() -> Iterator[Case]:
    """Folders of IDX files, of which one is damaged."""
    place = "data/train-images-idx3-ubyte"
    zeros = gzip.compress(bytes(1_000_000))
    packed = lambda path: path.write_bytes(gzip.compress(idx((2**16, 2**15, 1), b"")) + zeros * 2_200)  # noqa: E731 - 2.2 GB of zeros
    for what, content in {
        "of no bytes": b"", "of one byte": b"\0", "of text": "text", "of another kind of number": idx((40, 8, 8), kind=13), "of one axis": idx((40,)), "of 4 billion images": idx((2**32 - 1, 28, 28), b""),
        "of 2^96 bytes": idx((2**32 - 1,) * 3, b""), "of one byte too few": idx((40, 8, 8))[:-1], "of one byte too many": idx((40, 8, 8)) + b"x", "of no images": idx((0, 8, 8)), "of images of no rows": idx((40, 0, 8)),
        "of fewer images than labels": idx((39, 8, 8)), "of images of other sizes": idx((40, 9, 9)), "of 4 GB promised": idx((2**16, 2**8, 2**8), b""),
    }.items():  # fmt: skip
        yield trained(f"with an IDX file {what}", {**IDX, place: content}, says="idx3|data")
    without = {name: content for name, content in IDX.items() if name != place}
    for what, content in {
        "of no bytes": b"",
        "cut short": gzip.compress(idx((40, 8, 8)))[:-20],
        "that is none": b"x" * 1000,
        "that is a bomb": packed,
        "of a broken sum": gzip.compress(idx((40, 8, 8)))[:-8] + b"\0" * 8,
    }.items():
        yield trained(f"with a gzip file {what}", {**without, place + ".gz": content}, says="idx3|data")
    for what, make in NO_FILES.items():
        yield trained(f"with an IDX file that is {what}", {**IDX, place: make})
    yield trained(
        "with labels of one class",
        {
            **IDX,
            "data/train-labels-idx1-ubyte": idx((40,), b"\0" * 40),
            "data/t10k-labels-idx1-ubyte": idx((20,), b"\0" * 20),
        },
    )
    yield trained(
        "with labels up to 255", {**IDX, "data/train-labels-idx1-ubyte": idx((40,), bytes([255] * 40))}, (0, 2)
    )
    yield trained("without test files", {name: content for name, content in IDX.items() if "t10k" not in name})
    yield trained("with a link to an IDX file elsewhere", {**without, place: link_to("nowhere")})
