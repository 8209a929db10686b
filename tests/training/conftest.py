"""What holds for tests that train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import cnnatomy.training  # noqa: F401  before any test imports Lightning itself: see `cnnatomy/training/libraries.py`


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing by two threads, and lose much where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
