"""Between which bounds the elements of a map lie, whatever the weights: what layers say of their values."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple

Sign = Literal["non-negative", "non-positive", "signed"]


class Interval(NamedTuple):
    """All elements are at least `low` and at most `high`; either may be infinite."""

    low: float = -inf
    high: float = inf

    @property
    def sign(self) -> Sign:
        """Which signs its numbers can have; [0, 0] is non-negative."""
        return "non-negative" if self.low >= 0 else "non-positive" if self.high <= 0 else "signed"

    def hull(self, *others: Interval) -> Interval:
        """The least interval that holds this and all others."""
        if not others:
            return self
        return Interval(min(self.low, *[x.low for x in others]), max(self.high, *[x.high for x in others]))

    def times(self, other: Interval) -> Interval:
        """Products of one number of each."""
        products = [times(a, b) for a in self for b in other]
        return Interval(min(products), max(products))


ANY = Interval()
"""Nothing is known: so it is after weights."""

ZERO = Interval(0.0, 0.0)
"""What padding puts in."""

Values = Interval | Literal["kept", "kept or zero"]
"""Bounds, whatever the inputs; or that each value is one of the inputs' or between such; or so, or zero."""


def times(a: float, b: float) -> float:
    """The product, where 0 times infinity is 0: the infinite end of an interval is a number that is never reached."""
    return a * b if a and b else 0.0
