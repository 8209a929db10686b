"""Images changed in training, each by its own seed, and their targets with them."""

from cnnatomy.data.augmentation.mixing import Wanted, blended
from cnnatomy.data.augmentation.pipeline import augmented
from cnnatomy.data.augmentation.settings import Augmentation

__all__ = ["Augmentation", "Wanted", "augmented", "blended"]
