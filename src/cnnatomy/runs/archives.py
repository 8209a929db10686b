"""Files that `torch.save` wrote, read as data: checked first, so that neither a broken one nor a bomb gets to torch."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from cnnatomy.errors import UserError
from cnnatomy.files import open_regular
from cnnatomy.limits import MAX_WEIGHTS_BYTES

ZIP = b"PK\x03\x04"
"""How a zip archive begins. Until version 1.5 torch wrote no archive; such files are still around."""

FOLDER = 0x10
"""The attribute of a folder in a zip directory; torch leaves the numbers of a tensor unread whose record has it."""


def read(path: Path, what: str) -> Any:
    """What `torch.save` was given. Nothing in a file is ever executed: `weights_only`, and nothing else.

    Raises:
        UserError: if it cannot be read, a checksum is wrong, or it holds more than tensors and plain data.
    """
    with open_regular(path, MAX_WEIGHTS_BYTES, what) as file:
        try:
            begins = file.read(len(ZIP))
        except OSError as error:
            raise UserError(f"{path}: cannot read {what}: {error.strerror}") from None
        if begins == ZIP:
            file.seek(0)
            _check(path, file)
        file.seek(0)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "Unsupported" not in str(error):
                raise _broken(path, "not a file of weights as torch.save writes it") from None
            raise UserError(
                f"{path} holds more than tensors, such as a whole module, and nothing in a file is executed."
                f" Where its classes are, load it in Python and torch.save(model.state_dict(), path)"
            ) from None
        except Exception:  # torch.load raises whatever a broken file leads it to
            raise _broken(path, "not a file of weights as torch.save writes it") from None


def _check(path: Path, file: IO[bytes]) -> None:
    """Looks at the sizes of all records before any is read, and at their checksums (CRC-32), which torch does not."""
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise _broken(path, "its records are compressed, and torch.save compresses none")
            if sum(record.file_size for record in records) > size:
                raise _broken(path, "its records would be larger than the file")
            if any(record.external_attr & FOLDER for record in records):
                raise _broken(path, "a record is marked as a folder")
            wrong = archive.testzip()
    # what a damaged directory leads zipfile to
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise _broken(path, str(error) or type(error).__name__) from None
    if wrong is not None:
        raise _broken(path, f"checksum of {wrong}")


def digest(state: Any) -> str:
    """SHA-256 of tensors and plain data, in dictionaries and lists, as text: of names, types, shapes and every bit."""
    hashed = hashlib.sha256()
    _add(state, hashed.update)
    return hashed.hexdigest()


def _add(value: Any, update: Callable[[Any], object]) -> None:
    if isinstance(value, torch.Tensor):
        update(f"{value.dtype}{tuple(value.shape)};".encode())
        update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        update(f"{{{len(value)};".encode())
        for key, item in value.items():
            _add(key, update)
            _add(item, update)
    elif isinstance(value, (list, tuple)):
        update(f"[{len(value)};".encode())
        for item in value:
            _add(item, update)
    else:
        update(f"{value!r};".encode())


def _broken(path: Path, why: str) -> UserError:
    return UserError(f"{path} is broken ({why})")
