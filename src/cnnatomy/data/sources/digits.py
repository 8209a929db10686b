"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from cnnatomy.data.image_set import TRAIN, FromArray, ImageSet
from cnnatomy.data.truth import Classes


def recognises(name: str) -> bool:
    """By its name."""
    return name == "digits"


def read(name: str = "digits") -> ImageSet:
    """The 1,797 handwritten digits of 8 x 8 pixels and 17 grey levels in scikit-learn (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    count = len(images)
    return ImageSet(
        source="digits",
        truth=Classes(tuple(str(digit) for digit in range(10)), bunch.target.astype(np.int64)),
        splits=np.full(count, TRAIN, np.int8),
        has=frozenset({TRAIN}),
        fetch=FromArray(images),
        names=tuple(f"digit {index}" for index in range(count)),
    )
