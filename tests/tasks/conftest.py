"""What holds for tests of tasks that train: one thread, and few scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import pytest

from cnnatomy.data import Data, load
from cnnatomy.data.parts import Split


@pytest.fixture(autouse=True, scope="module")
def in_one_thread(one_thread: None) -> None:
    """All of them."""


def shortened(split: Split, count: int) -> Split:
    """The first images of a split."""
    return dataclasses.replace(split, indices=split.indices[:count])


@cache
def few(kind: str) -> Data:
    """600 scenes of a kind to train on, 100 to validate and 100 to test, of 32 x 32 pixels."""
    data = load(f"scenes:{kind}", (2 if kind == "motion" else 1, 32, 32))
    return dataclasses.replace(
        data, train=shortened(data.train, 600), val=shortened(data.val, 100), test=shortened(data.test, 100)
    )


@pytest.fixture(scope="session")
def scenes() -> Callable[[str], Data]:
    """Few scenes by kind, drawn once."""
    return few
