"""Means over folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cnnatomy.errors import UserError
from cnnatomy.runs.folds import fold_mean


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_students(figures: list[float], confidence: float) -> None:
    found = fold_mean(figures, confidence)
    assert found.mean == pytest.approx(np.mean(figures))
    assert found.std == pytest.approx(np.std(figures, ddof=1))
    if found.std > 1e-9:
        low, high = stats.t.interval(confidence, len(figures) - 1, np.mean(figures), stats.sem(figures))
        assert (found.low, found.high) == pytest.approx((low, high))


def test_five_folds_by_hand() -> None:
    """t of four degrees of freedom is 2.776 (Student 1908); the standard deviation of 0.8, 0.85, ..., 1 is 0.0791."""
    found = fold_mean([0.8, 0.85, 0.9, 0.95, 1.0])
    assert found.folds == 5
    assert found.mean == pytest.approx(0.9)
    assert found.high - found.mean == pytest.approx(2.776 * 0.07906 / 5**0.5, abs=1e-4)
    assert fold_mean([0.5, 0.5]).low == 0.5


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(UserError, match="2 folds or more, not of 1"):
        fold_mean([0.9])
    with pytest.raises(UserError, match="not all finite"):
        fold_mean([0.9, float("nan")])
    with pytest.raises(UserError, match="a confidence of 95"):
        fold_mean([0.9, 0.8], 95)
