"""Which move each image of a batch makes: drawn by its seed, from what a recipe says."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from cnnatomy.data.augmentation.draws import between, first_fitting, happens, rectangle_sides, uniforms
from cnnatomy.data.augmentation.geometry import Move, matrix, translation
from cnnatomy.data.augmentation.settings import Augmentation

ASPECT = math.log(4 / 3)
"""Of a part that is cut out, to that of the image, at most or at least (Szegedy et al. 2014, section 6)."""

Size = tuple[int, int]


def move_of(seeds: Tensor, size: Size, recipe: Augmentation) -> Move | None:
    """The move of each image of `size` (rows, columns) by its seed; None where the recipe asks for none.

    Everything becomes one matrix, so that an image is interpolated once at most, and nothing is lost that comes back.
    """
    drawn = [
        make(seeds, size, recipe)
        for makes, make in (
            (recipe.perspective, _perspective),  # the first: it draws where it sees the corners of the image
            (recipe.resized_crop, _part),
            (recipe.flip, _mirrored),
            (recipe.flip_vertical, _upside_down),
            (recipe.turns, _turned),
            (recipe.crop, _cropped),
            (recipe.shear or recipe.scale or recipe.rotation or recipe.shift, _affine),
        )
        if makes
    ]
    return Move(reduce(lambda before, after: after @ before, drawn), size) if drawn else None


def around_centre(linear: Tensor, size: Size) -> Tensor:
    """The same `(images, 3, 3)`, leaving the middle of the image where it is."""
    down, across = (side / 2 for side in size)
    return translation(across, down) @ linear @ translation(-across, -down)


def rotation(degrees: Tensor) -> Tensor:
    """By so many degrees, to the right where rows go down."""
    angle = degrees.deg2rad()
    return matrix([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0], [0.0, 0.0, 1.0]])


def scaling(across: Tensor | float, down: Tensor | float) -> Tensor:
    """By these factors."""
    return matrix([[across, 0.0, 0.0], [0.0, down, 0.0], [0.0, 0.0, 1.0]])


def shearing(across: Tensor | float, down: Tensor | float) -> Tensor:
    """A place moves by so many times its y across, and by so many times its x down."""
    return matrix([[1.0, across, 0.0], [down, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _mirrored(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    return around_centre(scaling(1.0 - 2 * happens(seeds, "flip", recipe.flip), 1.0), size)


def _upside_down(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    return around_centre(scaling(1.0, 1.0 - 2 * happens(seeds, "flip_vertical", recipe.flip_vertical)), size)


def _turned(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    chosen, quarters = uniforms(seeds, "turns", 2).unbind(1)
    return around_centre(rotation(torch.where(chosen < recipe.turns, 90 * (1 + (3 * quarters).floor()), 0.0)), size)


def _cropped(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    places = (uniforms(seeds, "crop", 2) * (2 * recipe.crop + 1)).floor() - recipe.crop
    return translation(*places.unbind(1))


def _affine(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    """Sheared, enlarged, turned, and then shifted."""
    lean = between(seeds, "shear", -recipe.shear, recipe.shear).deg2rad().tan()
    factor = 1 + between(seeds, "scale", -recipe.scale, recipe.scale)
    turn = rotation(between(seeds, "rotation", -recipe.rotation, recipe.rotation))
    across, down = ((2 * uniforms(seeds, "shift", 2) - 1) * recipe.shift).unbind(1)
    rows, columns = size
    centred = around_centre(turn @ scaling(factor, factor) @ shearing(lean, 0.0), size)
    return translation(across * columns, down * rows) @ centred


def _part(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    """A part of the image that is enlarged to all of it."""
    left, top, right, bottom = windows(seeds, recipe.resized_crop).unbind(1)
    rows, columns = size
    return scaling(1 / (right - left), 1 / (bottom - top)) @ translation(-left * columns, -top * rows)


def windows(seeds: Tensor, least: float) -> Tensor:
    """A part of each image with at least this share of its area: the first of some that fits, else the whole image.

    Left, top, right and bottom as shares of its sides, `(images, 4)` float64.
    """
    sides, places = rectangle_sides(seeds, "resized_crop", (least, 1.0), (-ASPECT, ASPECT))
    chosen = first_fitting(sides, (sides <= 1).all(2), 1.0)
    corner = places * (1 - chosen)
    return torch.cat([corner, corner + chosen], 1)


def _perspective(seeds: Tensor, size: Size, recipe: Augmentation) -> Tensor:
    """The corners go to places that are drawn for each."""
    from kornia.geometry import get_perspective_transform

    rows, columns = size
    sides = torch.tensor([columns, rows], dtype=torch.float64)
    corners = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    inwards = uniforms(seeds, "perspective", 8).view(-1, 4, 2) * recipe.perspective / 2
    places = (corners + (1 - 2 * corners) * inwards) * sides
    return get_perspective_transform((corners * sides).expand_as(places), places)
