"""A recipe: everything that decides how a network is trained, as one value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, get_type_hints

from cnnatomy.errors import UserError, nearest, shown
from cnnatomy.plain import checked
from cnnatomy.runs.run import Run

INITIALISATIONS = ("he", "xavier", "calibrated", "torch")


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum and weight decay (L2, added to the gradient), the learning rate cut on a plateau.

    `cut` is the factor on the learning rate after `cut_patience` epochs without a lower validation loss; `patience` the
    epochs without one after which training stops early. `initialisation` is `he` (variance 2/n), `xavier`
    (2/(n_in + n_out)), `calibrated` (1/n) or `torch` (torch's own default); `bias` is what every bias begins with.
    Training images are moved at random, see `cnnatomy.data.augmentation.move`, by up to `shift`, `rotation`
    and `scale`.
    Raises `UserError` for a value that makes no sense.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 64
    epochs: int = 30
    cut: float = 0.1
    cut_patience: int = 3
    patience: int = 10
    initialisation: str = "he"
    bias: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            number = getattr(self, name)
            if not (low <= number <= high and math.isfinite(number)) or (name == "learning_rate" and number == 0):
                raise UserError(
                    f"recipe: {name.replace('_', ' ')} is {shown(number)}, expected {_range(name)}."
                    f" Set {name}; on the command line with --set {name}=VALUE"
                )
        if self.initialisation not in INITIALISATIONS:
            hint = nearest(self.initialisation, INITIALISATIONS)
            raise UserError(
                f"recipe: no initialisation {self.initialisation}: one of {', '.join(INITIALISATIONS)}.{hint}"
            )

    @classmethod
    def of(cls, run: Run) -> Self:
        """The recipe of a run; the default where its weights were trained elsewhere.

        Raises:
            UserError: if the run has a field that no recipe has, or a value that makes no sense.
        """
        known = [field.name for field in fields(cls)]
        for name in run.recipe:
            if name not in known:
                raise UserError(f"the recipe of {run.name} has a field {name!r}, which none has.{nearest(name, known)}")
        hints = get_type_hints(cls)
        return cls(**{name: checked(got, hints[name], f"recipe: {name}") for name, got in run.recipe.items()})

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as a run folder keeps them."""
        return asdict(self)


_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, math.inf),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, math.inf),
    "batch_size": (1, 2**20),
    "epochs": (1, 10**6),
    "cut": (0.0, 1.0),
    "cut_patience": (0, 10**6),
    "patience": (1, 10**6),
    "bias": (-1e30, 1e30),
    "shift": (0.0, 1.0),
    "rotation": (0.0, 180.0),
    "scale": (0.0, 0.9),
    "seed": (0, 2**63 - 1),
}


def _range(name: str) -> str:
    """What a field may be, in words."""
    low, high = _RANGES[name]
    if isinstance(high, int):
        return f"a whole number from {low:g} to {high:,}"
    if math.isfinite(high):
        return f"a number from {low:g} to {high:g}"
    return "a finite number " + ("above 0" if name == "learning_rate" else f"of at least {low:g}")


def changed(base: Recipe, settings: Iterable[str]) -> Recipe:
    """A recipe with fields set as `--set` writes them: `momentum=0.8`, `learning_rate=1e-3`.

    Raises:
        UserError: if there is no such field, with the nearest, or the value is of another type or makes no sense.
    """
    hints = get_type_hints(Recipe)
    values = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"--set {setting}: write FIELD=VALUE, such as momentum=0.8")
        if name not in hints:
            raise UserError(
                f"--set {setting}: a recipe has no {name!r}.{nearest(name, hints)} It has {', '.join(hints)}"
            )
        values[name] = checked(_value(text), hints[name], f"--set {name}")
    return replace(base, **values)


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


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
