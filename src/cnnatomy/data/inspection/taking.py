"""Some of many images to look at, where all would take too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """`most` of the numbers below `count`, from the first to the last; all of them where they are fewer."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
