"""TrivialAugment and RandAugment: operations drawn out of a list, for each image its own.

Müller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art data augmentation" (the wide ranges); Cubuk et
al. 2020, "RandAugment". Shears and turns leave the middle of an image where it is, and shifts are of whole pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from cnnatomy.data.augmentation import colours
from cnnatomy.data.augmentation.draws import uniforms
from cnnatomy.data.augmentation.geometry import translation
from cnnatomy.data.augmentation.moves import Size, around_centre, rotation, shearing
from cnnatomy.data.augmentation.settings import Augmentation


class Strength(NamedTuple):
    """By how much at most: in TrivialAugment and in RandAugment; in both directions, or in one."""

    trivial: float
    rand: float
    both: bool = True
    change: colours.ColourChange | None = None


OPERATIONS: dict[str, Strength] = {
    "identity": Strength(0, 0),
    "shear across": Strength(0.99, 0.3),
    "shear down": Strength(0.99, 0.3),
    "shift across": Strength(32 / 224, 150 / 331),  # of the side: 32 pixels of ImageNet's 224
    "shift down": Strength(32 / 224, 150 / 331),
    "rotation": Strength(135, 30),
    "brightness": Strength(0.99, 0.9, change=colours.brightness),
    "colour": Strength(0.99, 0.9, change=colours.colour),
    "contrast": Strength(0.99, 0.9, change=colours.contrast),
    "sharpness": Strength(0.99, 0.9, change=colours.sharpness),
    "posterize": Strength(6, 4, both=False, change=colours.posterize),
    "solarize": Strength(1, 1, both=False, change=colours.solarize),
    "autocontrast": Strength(0, 0, change=colours.autocontrast),
    "equalize": Strength(0, 0, change=colours.equalize),
}
NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}
LEVELS = 31
"""Strengths that TrivialAugment tells apart, from none to the most."""
STRENGTHS = 10
"""Of RandAugment: at this the operation is as strong as it gets."""


class Round(NamedTuple):
    """One operation for each image, by its number in `OPERATIONS`, and by how much, both `(images,)`."""

    operations: Tensor
    amounts: Tensor


def rounds_of(seeds: Tensor, recipe: Augmentation) -> list[Round]:
    """Which operations each image goes through, one after another: none where the recipe asks for none."""
    found = []
    if recipe.trivial:
        strengths = (uniforms(seeds, "trivial strength")[:, 0] * LEVELS).floor() / (LEVELS - 1)
        found.append(_drawn(seeds, "trivial", strengths, [one.trivial for one in OPERATIONS.values()]))
    if recipe.rand:
        strength = torch.full((len(seeds),), recipe.rand / STRENGTHS, dtype=torch.float64)
        most = [one.rand for one in OPERATIONS.values()]
        found += [_drawn(seeds, f"rand {number}", strength, most) for number in (1, 2)]
    return found


def _drawn(seeds: Tensor, stream: str, strengths: Tensor, most: Sequence[float]) -> Round:
    chosen, direction = uniforms(seeds, stream, 2).unbind(1)
    operations = (chosen * len(OPERATIONS)).long()
    both = torch.tensor([one.both for one in OPERATIONS.values()])[operations]
    signs = torch.where(both & (direction < 0.5), -1.0, 1.0)
    return Round(operations, signs * strengths * torch.tensor(most, dtype=torch.float64)[operations])


def matrices_of(rounds: Sequence[Round], size: Size) -> Tensor:
    """Where all operations that move something take the places of images of `size`, `(images, 3, 3)`."""

    def moved(one: Round) -> Tensor:
        def amount(name: str) -> Tensor:
            return torch.where(one.operations == NUMBERS[name], one.amounts, 0.0)

        rows, columns = size
        centred = around_centre(
            rotation(amount("rotation")) @ shearing(amount("shear across"), amount("shear down")), size
        )
        across, down = (amount("shift across") * columns).round(), (amount("shift down") * rows).round()
        return translation(across, down) @ centred

    return reduce(lambda before, after: after @ before, map(moved, rounds))


def changed(images: Tensor, rounds: Sequence[Round]) -> Tensor:
    """Float images of 0 .. 1 after all operations that change their values: those of one operation together."""
    for one in rounds:
        for number, operation in enumerate(OPERATIONS.values()):
            which = (one.operations == number).nonzero()[:, 0]
            if operation.change is not None and len(which):
                places, amounts = which.to(images.device), one.amounts[which].to(images)
                part = operation.change(images.index_select(0, places), amounts)
                images = images.index_copy(0, places, part)
    return images
