"""Errors that the user can correct: one message each, never a traceback on the command line."""

from __future__ import annotations

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from cnnatomy.limits import MAX_NAME_LENGTH


class UserError(Exception):
    """Something the user asked for cannot be done.

    The message says what was wrong, where, and what was expected; the command line prints it and exits 2. `parts` are
    the layer and the blocks around it, from the inside, where it was met in a design.
    """

    parts: tuple[object, ...] = ()


class LimitError(UserError):
    """A number is above the limit for what it counts."""


class ShapeError(UserError):
    """A feature map does not fit a layer. The message names the layer, what it got, what it needs, and a remedy."""


@contextmanager
def own_code(what: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Whatever code of the user's own raises becomes one message of this kind, that `what` failed; what ends Python
    too, but for an interrupt from the keyboard. A `UserError` stays as it is."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise kind(f"{what} failed: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """The kind of an error, and what it says, where it can say it."""
    try:
        return f"{type(error).__name__}: {shown(error)}"
    except Exception:
        return type(error).__name__


MAX_SHOWN = 80
"""Characters that a message repeats of what came in."""


def printable(name: object) -> str:
    """Text on one line: line breaks, control characters and bytes that are no UTF-8 are escaped, as in a literal of
    Python (`\\n`, `\\x1b`, `\\udce9` for the byte 0xe9)."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(ascii(one)[1:-1] if unicodedata.category(one) in _BREAKING or one in _BIDI else one for one in text)


_BREAKING = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode: control characters, surrogates, line separators, paragraph separators."""

_BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of what follows them."""


def shown(value: object) -> str:
    """What came in as a message repeats it: text as it is, all else as Python writes it; on a line, shortened."""
    try:
        text = printable(str(value) if isinstance(value, (str, BaseException)) else _BRIEF.repr(value))
    except ValueError:  # an integer of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def quoted(value: object) -> str:
    """The same in quotes."""
    return f"'{shown(value)}'"


def literal(value: object) -> str:
    """What came in as it would be typed: text in quotes, all else as Python writes it; on a line, shortened."""
    return quoted(value) if isinstance(value, str) else shown(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = MAX_SHOWN


def some_of(names: Sequence[str], most: int = 5) -> str:
    """At most so many of several names, and that there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def counted(number: int, what: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`' Did you mean A or B?'` for the known names closest to `name`, or of these initials; `''` where nothing is."""
    if len(name) > MAX_NAME_LENGTH:  # comparing takes the square of the length
        return ""
    by_lower = {one.lower(): one for one in known if len(one) <= MAX_NAME_LENGTH}
    if initials := [one for one in by_lower.values() if "".join(part[:1] for part in one.split("_")) == name != one]:
        return f" Did you mean {' or '.join(map(printable, initials))}?"
    close = [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(map(printable, close))}?" if close else ""
