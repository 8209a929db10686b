"""Files that are written whole or not at all, and what to say when they cannot be."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cnnatomy.errors import UserError


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Lets `write` fill a file beside `path`, and puts it in its place when it is complete and on disk.

    Raises OSError, or whatever `write` raises; then `path` is as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_whole` for text in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """`write_whole` for JSON with one key a line; NaN and infinity are refused (ValueError), as JSON has neither."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def writing_to(folder: Path, remedy: str = "") -> Iterator[None]:
    """Turns an OSError into a `UserError` that says what was wrong, where, and `remedy`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space left for {folder} ({_free(folder)} free). Make room. {remedy}"
        else:
            message = f"cannot write {error.filename or folder}: {error.strerror or error}. {remedy}"
        raise UserError(message.rstrip()) from error


def _free(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 2**20:,.1f} MiB"
