"""The images that a command is given: files, folders, and names on standard input."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cnnatomy.errors import UserError, printable
from cnnatomy.limits import MAX_NAME_BYTES

STDIN = "-"
_EXPECTED = "expected names of files or folders, one a line"


@dataclass(frozen=True)
class NamedImage:
    """An image file that was named or found; or a folder, or standard input, that gives none, and why."""

    path: Path
    error: str = ""


def named_images(names: Sequence[str | Path], at_once: int) -> Iterator[list[NamedImage]]:
    """What `names` lead to, in order, in batches of `at_once`, or fewer where more would have to be waited for.

    A folder stands for all images in it; `-` for the names on standard input, one a line, or each ended by a NUL.
    """
    batch: list[NamedImage] = []
    for name in names:
        for found in _on_stdin() if str(name) == STDIN else _at(name):
            batch += [found] if found is not None else []
            if len(batch) == at_once or (batch and found is None):
                yield batch
                batch = []
    if batch:
        yield batch


def _at(name: str | Path) -> Iterator[NamedImage]:
    """The file itself, or the images in the folder; how many others are in it is said on standard error."""
    path = Path(name)
    if not str(name):
        yield NamedImage(path, "an empty name; expected the name of a file or folder")
        return
    if not os.path.isdir(path):
        yield NamedImage(path)
        return
    from cnnatomy.data.sources.folders import IMAGES, find_images, unread_note

    try:
        found, others, unread = find_images(path)
    except UserError as error:
        yield NamedImage(path, str(error))
        return
    if others:
        files = "1 file" if others == 1 else f"{others:,} files"
        click.echo(f"cnnatomy: {printable(path)}: {files} ignored, without an image's suffix", err=True)
    if unread:
        click.echo(f"cnnatomy: {printable(path)}: {unread_note(unread, path)}", err=True)
    if not found:
        yield NamedImage(path, f"no images in this folder ({IMAGES})")
    yield from map(NamedImage, found)


def _on_stdin() -> Iterator[NamedImage | None]:
    """What the names on standard input lead to; None where the next of them is not there yet."""
    any_there = False
    try:
        for name in _names():
            if name is None:
                yield None
                continue
            any_there = True
            yield from _at(name)
        if not any_there:
            raise UserError(f"standard input names no image; {_EXPECTED}")
    except UserError as error:
        yield NamedImage(Path(STDIN), str(error))


def _names() -> Iterator[str | None]:
    if sys.stdin is None:
        raise UserError(f"standard input is closed; {_EXPECTED}")
    stream: Any = sys.stdin.buffer
    chunk = rest = b""
    separator, is_first = b"\n", True
    while chunk or is_first:
        if not _is_ready(stream):
            yield None
        chunk = stream.read1(MAX_NAME_BYTES)
        if is_first and _is_image(chunk):
            raise UserError(f"standard input is an image itself; {_EXPECTED}")
        is_first = False
        separator = b"\0" if b"\0" in chunk else separator
        *names, rest = (rest + (chunk or separator)).split(separator)  # nothing more: the last name ends
        if len(rest) > MAX_NAME_BYTES:
            raise UserError(f"standard input: a name may have at most {MAX_NAME_BYTES:,} bytes, this has more")
        for name in names:
            if name := name.removesuffix(b"\r") if separator == b"\n" else name:
                yield os.fsdecode(name)


def _is_ready(stream: Any) -> bool:
    """Whether reading does not wait."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # Windows knows of sockets only; a stream in memory has no descriptor
        return False


def _is_image(start: bytes) -> bool:
    from io import BytesIO

    from PIL import Image

    from cnnatomy.data.images import FORMATS

    try:
        Image.open(BytesIO(start), formats=list(FORMATS))
    except Exception:  # names of files lead Pillow's decoders to whatever they like
        return False
    return True
