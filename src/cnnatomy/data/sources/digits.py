"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from cnnatomy.data.image_set import TRAIN, ImageSet, in_memory
from cnnatomy.data.truth import Classes


def recognises(name: str) -> bool:
    """By its name."""
    return name == "digits"


def read(name: str = "digits") -> ImageSet:
    """The 1,797 handwritten digits of 8 x 8 pixels and 17 grey levels in scikit-learn (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    truth = Classes(tuple("0123456789"), bunch.target.astype(np.int64))
    return in_memory("digits", truth, [images], ["digit"], [TRAIN])
