"""What happens where memory does not suffice: one message, whoever noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cnnatomy.errors import UserError

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")
"""What torch's RuntimeErrors say of it, on Linux, on Windows, on a GPU."""


@contextmanager
def out_of_memory(name: str, remedy: str = "Choose smaller batches or a smaller input") -> Iterator[None]:
    """Turns what torch and Python raise into a `UserError` that says what `name` asked for, and `remedy`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(sign in str(error) for sign in _SIGNS):
            raise
        asked = re.search(r"allocate (\d+) bytes", str(error))
        size = f" for another {int(asked[1]) / 2**30:,.2f} GiB" if asked else ""
        raise UserError(f"{name}: the memory does not suffice{size}. {remedy}") from None
