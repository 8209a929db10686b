"""How images are changed in training, as fields of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cnnatomy.errors import UserError, quoted
from cnnatomy.fields import check, number, other
from cnnatomy.tasks.losses import OWN

HALF = ("flip", "flip_vertical")
"""Shares that `true` may be written for: half of the images."""
MIXING = ("mixup", "cutmix")
"""What is done to two images of a batch; an image alone does not show it."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to an image in training, by default nothing; what each field is, is said beside it.

    How much, is drawn for each image and epoch: uniformly up to what a field says, in both directions. Raises
    `UserError` for a value out of its range.
    """

    flip: float | bool = number(0.0, 0, 1, "share of the images that are mirrored, left to right; true: 0.5")
    flip_vertical: float | bool = number(0.0, 0, 1, "share that are mirrored, top to bottom; true: 0.5")
    turns: float = number(0.0, 0, 1, "share that are turned by 90, 180 or 270 degrees, exactly")
    crop: int = number(0, 0, 4096, "pixels of black around an image out of which one of the same size is cut")
    resized_crop: float = number(0.0, 0, 1, "least share of the area that is cut out and enlarged to all; 0: no cut")
    shift: float = number(0.0, 0, 1, "share of its sides by which an image is moved at most")
    rotation: float = number(0.0, 0, 180, "degrees by which it is turned at most")
    scale: float = number(0.0, 0, 0.9, "share by which it is enlarged or reduced at most")
    shear: float = number(0.0, 0, 60, "degrees by which its columns lean at most")
    perspective: float = number(0.0, 0, 0.6, "share of half its sides by which each corner moves inwards at most")
    brightness: float = number(0.0, 0, 1, "share by which it is lighter or darker at most")
    contrast: float = number(0.0, 0, 1, "share by which the distance from its mean is more or less at most")
    colour: float = number(0.0, 0, 1, "share by which it is more or less colourful at most")
    hue: float = number(0.0, 0, 0.5, "share of the circle of colours by which each colour moves at most")
    noise: float = number(0.0, 0, 1, "standard deviation of what is added to each pixel, as a share of white")
    erasing: float = number(0.0, 0, 1, "share of the images in which a rectangle is made black")
    mixup: float = number(0.0, 0, 100, "alpha of mixup, which adds two images and their losses; 0: none")
    cutmix: float = number(0.0, 0, 100, "alpha of cutmix, which puts a rectangle of another image in; 0: none")
    trivial: bool = other(False, "one operation an image, of any strength (TrivialAugment, wide)")
    rand: float = number(0.0, 0, 10, "strength of two operations an image (RandAugment), of 10; 0: none")
    transform: str = other("", "of one's own, python:package.module:callable; only from the command line or Python")

    def __post_init__(self) -> None:
        check(self)
        if self.transform and not self.transform.startswith(OWN):
            raise UserError(
                f"recipe: transform is {quoted(self.transform)}, expected one of your own: {OWN}package.module:callable"
            )
        for name in HALF:
            share = getattr(self, name)
            object.__setattr__(self, name, share / 2 if isinstance(share, bool) else float(share))


NAMES = tuple(field.name for field in fields(Augmentation))
