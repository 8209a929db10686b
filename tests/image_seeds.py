"""Seeds of images, for tests of what is done to them at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cnnatomy.data.seeds import of_images


def image_seeds(count: int, epoch: int = 0, seed: int = 0) -> Tensor:
    """Seeds of so many images of an epoch, as batches give them."""
    numbers = np.arange(count)
    return torch.from_numpy(of_images(seed, epoch, numbers, np.zeros_like(numbers)))
