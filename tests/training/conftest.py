"""What holds for tests that train."""

from __future__ import annotations

import pytest

import cnnatomy.training  # noqa: F401  before any test imports Lightning itself: see its `libraries.py`


@pytest.fixture(autouse=True, scope="module")
def in_one_thread(one_thread: None) -> None:
    """All of them."""
