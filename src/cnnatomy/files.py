"""Files that are read only where they are files of a sensible size, and written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from cnnatomy.errors import UserError


def regular_file(path: Path) -> tuple[BufferedReader, int]:
    """A regular file, opened to read, and its size in bytes. Nothing else is opened, and no opening waits.

    Raises:
        OSError: with the reason in `strerror`; ValueError for a name that no file can have.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file")
    # it may have become a pipe in between
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return open(handle, "rb"), os.fstat(handle).st_size


@contextmanager
def open_regular(path: Path, limit: int, what: str) -> Iterator[IO[bytes]]:
    """A regular file of at most `limit` bytes; `what` it should be is for messages, such as "the design".

    Anything else that a name may lead to (a folder, a pipe that would be waited for, a device without an end) is
    refused unread.

    Raises:
        UserError: naming the file, what is wrong and what was expected.
    """
    try:
        file, size = regular_file(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from None
    with file:
        if size > limit:
            raise _too_large(path, limit, what, size)
        yield file


def read_bytes(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a regular file, opened by `open_regular`.

    Raises:
        UserError: as `open_regular` does.
    """
    with open_regular(path, limit, what) as file:
        try:
            content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)  # it makes room for that much
        except OSError as error:
            raise _unreadable(path, what, error) from None
    if len(content) > limit:  # it has grown since
        raise _too_large(path, limit, what, len(content))
    return content


def _unreadable(path: Path, what: str, error: OSError | ValueError) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"{path}: cannot read {what}: {reason}")


def _too_large(path: Path, limit: int, what: str, size: int) -> UserError:
    return UserError(f"{path}: {what} may have at most {limit:,} bytes, this has {size:,}")


def read_text(path: Path, limit: int, what: str) -> str:
    """`read_bytes` as text in UTF-8, without a byte order mark, and with the ends of lines as Python has them.

    Raises:
        UserError: as `read_bytes` does, and where it is no text.
    """
    try:
        return read_bytes(path, limit, what).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot read {what}: not a text file") from None


def write_whole(path: Path, write: Callable[[IO[bytes]], object], before: Path | None = None) -> None:
    """Lets `write` fill a file beside `path`, and puts it in its place when it is complete and on disk.

    What was there is kept as `before`, where that is given: at every moment one of the two is there, and whole.
    Raises OSError that names `path`, or whatever `write` raises; then `path` is as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and os.path.lexists(path):
            os.replace(path, before)
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """`write_whole` for text in UTF-8.

    Raises:
        UserError: if the text cannot be: it names a file whose name is no text. OSError as `write_whole` does.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"cannot write {ascii(str(path))[1:-1]}: {error}") from None
    write_whole(path, lambda file: file.write(content))


def write_new(path: Path, content: str | bytes) -> None:
    """`write_text`, or `write_whole` of bytes, for a file that is not there yet; nothing is left where it fails.

    Raises:
        UserError: if there is such a file. OSError as `write_whole` does.
    """
    with new_name(path):
        if isinstance(content, str):
            write_text(path, content)
        else:
            write_whole(path, lambda file: file.write(content))


@contextmanager
def new_name(path: Path) -> Iterator[None]:
    """Takes a name that no file has yet, for other programs too; where what follows fails, it is free again.

    Raises:
        UserError: if there is such a file. OSError where there can be none.
    """
    try:
        path.open("x").close()
    except FileExistsError:
        raise _taken(path) from None
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check_new(path: Path) -> None:
    """Raises the `UserError` of `write_new` before any work is done."""
    if os.path.lexists(path):
        raise _taken(path)


def check_place(path: Path) -> None:
    """`check_new`, and that there is a folder for it, which can have a file of that name."""
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    check_new(path)
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # such as a name of 300 characters
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _taken(path: Path) -> UserError:
    return UserError(f"{path} is there already, and is not overwritten; choose another name, or remove it first")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a line of names, then a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """`write_whole` for JSON with one key a line; NaN and infinity are refused (ValueError), as JSON has neither."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def writing_to(place: Path, remedy: str = "") -> Iterator[None]:
    """Turns an OSError into a `UserError` that says what was wrong, in which file or folder, and `remedy`.

    Not that of a pipe whose reader has gone (`cnnatomy ... | head`): no file was written to.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space left for {place} ({_free(place)} free). Make room. {remedy}"
        else:
            message = f"cannot write {error.filename or place}: {error.strerror or error}. {remedy}"
        raise UserError(message.rstrip()) from error


def _free(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 2**20:,.1f} MiB"
