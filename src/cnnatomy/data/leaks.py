"""Which images belong together by their names, and what lies in several splits although it belongs together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.image_set import LEFT_OUT, SPLITS
from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.limits import MAX_PATTERN_LENGTH, MAX_PATTERN_SECONDS

NAMED = 5
"""How many pairs or groups a message names."""


@dataclass(frozen=True)
class Grouping:
    """The group of each image by its name, None where it is a group of its own."""

    names: tuple[str | None, ...]

    @property
    def alone(self) -> int:
        """How many images are a group of their own."""
        return self.names.count(None)


@dataclass(frozen=True)
class Overlap:
    """What belongs together and lies in different splits: `what` of it in the singular and plural, how many, and some
    of it in words."""

    what: tuple[str, str]
    count: int
    examples: tuple[str, ...]

    def counted(self) -> str:
        """`2 groups`."""
        return f"{self.count:,} {self.what[self.count != 1]}"

    def line(self) -> str:
        """`2 groups lie in different splits: anna (train, test); bert (train, val)`."""
        more = "; ..." if self.count > len(self.examples) else ""
        verb = "lies" if self.count == 1 else "lie"
        return f"{self.counted()} {verb} in different splits: {'; '.join(self.examples)}{more}"


def groups_of(names: Sequence[str], pattern: str) -> Grouping:
    """Groups by a regular expression of Python that is searched in each name (of a file, with its folders): its first
    group in parentheses if it has one, else all that it matches.

    `(person\\d+)_` puts person7_a.jpg and person7_b.jpg together. Patterns can take forever, and nothing in Python
    stops them, so another process searches, for `MAX_PATTERN_SECONDS` at most.

    Raises:
        UserError: if it is no regular expression, is found in no name or makes one group of all of them, or takes too
            long.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UserError(
            f"the pattern of groups has {len(pattern):,} characters; at most {MAX_PATTERN_LENGTH:,} are tried"
        )
    found = Grouping(tuple(_searched(names, pattern)))
    if found.alone == len(names):
        raise UserError(f"{_pattern(pattern)} is found in no name, such as {shown(names[0]) if names else ''}")
    if not found.alone and len(set(found.names)) == 1:
        raise UserError(
            f"{_pattern(pattern)} puts all {len(names):,} images into one group, {quoted(found.names[0])}, which"
            " cannot be divided among splits"
        )
    return found


def near_across(pairs: NDArray[np.int64], names: Sequence[str], splits: NDArray[np.int8]) -> Overlap | None:
    """Near duplicates `(pairs, 2)` in different splits; None where there are none."""
    sides = splits[pairs.reshape(-1, 2)]
    apart = pairs[(sides[:, 0] != sides[:, 1]) & (sides != LEFT_OUT).all(1)]
    examples = [
        ", ".join(f"{shown(names[index])} ({SPLITS[splits[index]]})" for index in pair) for pair in apart[:NAMED]
    ]
    what = ("pair of near duplicates", "pairs of near duplicates")
    return Overlap(what, len(apart), tuple(examples)) if len(apart) else None


def groups_across(groups: Sequence[str | None], splits: NDArray[np.int8]) -> Overlap | None:
    """Groups of which images are in different splits; None where there are none."""
    places: dict[str, set[int]] = {}
    for name, split in zip(groups, splits.tolist(), strict=True):
        if name is not None and split != LEFT_OUT:
            places.setdefault(name, set()).add(split)
    apart = [(name, sorted(found)) for name, found in places.items() if len(found) > 1]
    examples = [f"{shown(name)} ({', '.join(SPLITS[split] for split in found)})" for name, found in apart[:NAMED]]
    return Overlap(("group", "groups"), len(apart), tuple(examples)) if apart else None


_SEARCH = """
import json, re, sys
names, pattern = json.load(sys.stdin)
try:
    search = re.compile(pattern).search
except (re.error, RecursionError, OverflowError) as error:
    found = str(error)
else:
    found = [match and match.group(min(1, match.re.groups)) or None for match in map(search, names)]
json.dump(found, sys.stdout)
"""


def _searched(names: Sequence[str], pattern: str) -> list[str | None]:
    # -I -S: nothing of the user's Python is imported
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _SEARCH]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([list(names), pattern]),
            text=True,
            capture_output=True,
            timeout=MAX_PATTERN_SECONDS,
        )
        found: str | list[str | None] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{_pattern(pattern)} takes more than {MAX_PATTERN_SECONDS} seconds for {len(names):,} names, as a"
            " repetition of a repetition does, such as (a+)+"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{_pattern(pattern)} could not be tried: {shown(error)}") from None
    if isinstance(found, str):
        raise UserError(f"{_pattern(pattern)} is no regular expression: {found}")
    return found


def _pattern(pattern: str) -> str:
    return f"the pattern of groups {quoted(pattern)}"
