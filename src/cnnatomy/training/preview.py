"""Images as training would see them, without a training."""

from __future__ import annotations

from torch import Tensor

from cnnatomy.data.augmentation import augmented
from cnnatomy.data.augmentation.own import Transform
from cnnatomy.data.augmentation.settings import MIXING, NAMES
from cnnatomy.data.inspection.samples import Augment
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.tasks.task import Target, Task
from cnnatomy.training import augmenting
from cnnatomy.training.schema import Recipe


def preview(recipe: Recipe, task: Task, shape: Shape, transform: Transform | None = None) -> Augment:
    """What a recipe does to images of this shape, and to what is learned of them, but for mixing two of them.

    Raises:
        UserError: where it cannot be done to these images and targets, or the recipe does nothing to an image.
    """
    augmenting.check(recipe, task, shape)
    own = augmenting.own(recipe, transform)
    if not any(getattr(recipe, name) for name in NAMES if name not in MIXING):
        raise UserError("recipe: nothing in it changes an image by itself; --set flip=true, for one, does")

    def augment(images: Tensor, target: Target, seeds: Tensor) -> tuple[Tensor, Target]:
        return augmented(images, target, seeds, recipe, task, own)

    return augment
