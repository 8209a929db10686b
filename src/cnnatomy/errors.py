"""Errors that the user can correct: one message each, never a traceback on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cnnatomy.limits import MAX_NAME_LENGTH


class UserError(Exception):
    """Something the user asked for cannot be done.

    The message says what was wrong, where, and what was expected; the command line prints it and exits 2.
    """


class ShapeError(UserError):
    """A feature map does not fit a layer. The message names the layer, what it got, what it needs, and a remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`' Did you mean A or B?'` for the known names closest to `name`, or `''` where nothing is close."""
    if len(name) > MAX_NAME_LENGTH:
        return ""
    by_lower = {one.lower(): one for one in known if len(one) <= MAX_NAME_LENGTH}
    close = [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(map(printable, close))}?" if close else ""


def printable(text: str) -> str:
    """A text from a file as messages and tables print it: in one line, control characters escaped, long ones cut."""
    text = text if len(text) <= MAX_NAME_LENGTH else text[:MAX_NAME_LENGTH] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """The same in quotes."""
    return repr(text if len(text) <= MAX_NAME_LENGTH else text[:MAX_NAME_LENGTH] + "...")
