"""The recipes that come with cnnatomy, by name, and recipes from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.plain import checked, type_text
from cnnatomy.readers.yaml.source import KeyLines, plain_places
from cnnatomy.training.schema import Recipe, values_of
from cnnatomy.training.shipped import SHIPPED, Shipped

RECIPES: dict[str, Recipe] = {name: one.recipe for name, one in SHIPPED.items()}


def recipe(name: str) -> Recipe:
    """The recipe of this name; raises `UserError` with the nearest name for an unknown one."""
    if name not in RECIPES:
        raise UserError(f"no recipe {quoted(name)}: one of {', '.join(RECIPES)}.{nearest(name, RECIPES)}")
    return RECIPES[name]


def find(name: str) -> Shipped:
    """The recipe of this name, or of a file that ends in .yaml or .yml, with what is said of it.

    Raises:
        UserError: if there is none.
    """
    if name.lower().endswith((".yaml", ".yml")):
        return Shipped(recipe=read(Path(name)), title="a file of yours")
    recipe(name)
    return SHIPPED[name]


def read(path: Path) -> Recipe:
    """A recipe from a YAML file: fields by name; `base` may name one of cnnatomy's, which the others change.

    Raises:
        UserError: with the file and the field, if it is no such file.
    """
    record, places = plain_places(read_text(path, MAX_DESIGN_BYTES, "the recipe"), str(path))
    if not isinstance(record, Mapping) or not record:
        raise UserError(f"{path}: expected a recipe, {type_text(dict[str, Any])} such as learning_rate: 0.1")
    return from_record(record, places, recipe("default"))


def from_record(record: Mapping[str, Any], places: KeyLines, base: Recipe) -> Recipe:
    """What a file says of a recipe: `base` may name one of cnnatomy's, and the fields change it."""
    values = dict(record)
    if "base" in values:
        base = recipe(checked(values.pop("base"), str, places("base")))
    return replace(base, **values_of(values, places))
