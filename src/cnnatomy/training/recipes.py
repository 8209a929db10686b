"""The recipes that come with cnnatomy, by name, and recipes from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnatomy.errors import UserError, nearest
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.plain import checked, type_text
from cnnatomy.training.recipe import Recipe, plain, values_of

RECIPES = {
    "default": Recipe(),
    # Ours, for small networks of tanh on small images such as digits; measured in docs/training.md.
    "lenet-5": Recipe(
        learning_rate=0.05,
        batch_size=32,
        epochs=60,
        cut_patience=6,
        patience=20,
        initialisation="xavier",
        shift=0.06,
        rotation=10,
        scale=0.1,
    ),
    # Krizhevsky et al. 2012, section 5: "divide the learning rate by 10 when the validation error rate stopped
    # improving", about 90 epochs. There weights begin as N(0, 0.01) and some biases at 1; here by He.
    "alexnet": Recipe(learning_rate=0.01, weight_decay=5e-4, batch_size=128, epochs=90),
    # Simonyan and Zisserman 2014, section 3.1: 370,000 iterations, 74 epochs.
    "vgg": Recipe(learning_rate=0.01, weight_decay=5e-4, batch_size=256, epochs=74),
    # He et al. 2015, section 3.4: 600,000 iterations, 120 epochs. The lecture's slide prints a weight decay of 1e-5.
    "resnet": Recipe(learning_rate=0.1, weight_decay=1e-4, batch_size=256, epochs=120),
}


def recipe(name: str) -> Recipe:
    """The recipe of this name; raises `UserError` with the nearest name for an unknown one."""
    if name not in RECIPES:
        raise UserError(f"no recipe {name}: one of {', '.join(RECIPES)}.{nearest(name, RECIPES)}")
    return RECIPES[name]


def read(path: Path) -> Recipe:
    """A recipe from a YAML file: fields by name; `base` may name one of cnnatomy's, which the others change.

    Raises:
        UserError: with the file and the field, if it is no such file.
    """
    record = plain(read_text(path, MAX_DESIGN_BYTES, "the recipe"), str(path))
    if not isinstance(record, Mapping) or not record:
        raise UserError(f"{path}: expected a recipe, {type_text(dict[str, Any])} such as learning_rate: 0.1")
    return from_record(record, str(path), recipe("default"))


def from_record(record: Mapping[str, Any], source: str, base: Recipe) -> Recipe:
    """What a file says of a recipe: `base` may name one of cnnatomy's, and the fields change it."""
    values = dict(record)
    if "base" in values:
        base = recipe(checked(values.pop("base"), str, f"{source}: base"))
    return replace(base, **values_of(values, source))
