"""How a data set is read: what a run records, so that it can be read again the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, get_type_hints

from cnnatomy.errors import UserError, nearest
from cnnatomy.plain import checked

FITS = {
    "auto": "small images enlarged by the largest whole factor, the rest a margin; larger ones as crop",
    "crop": "the largest central part of the right proportions, scaled",
    "whole": "all of the image, scaled, the rest a margin",
    "stretch": "all of the image, each side scaled by itself",
    "imagenet": "scaled so that the central part taken is 7/8 of the shorter side: 256, then 224",
}
"""How images may be fitted, and what that is in words."""
AUTO, IMAGENET = "auto", "imagenet"
SPLITS = ("train", "val", "test")
"""In the order of the numbers that `image_set` gives them."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How images are fitted into the network's input, and divided into splits.

    Attributes:
        fit: see `FITS`.
        split_seed: of the splits that are drawn.
        group: a column of the data, or a regular expression for the names of the images, whose images stay together.
        folds, fold: of so many folds, which one is the test split, from 1; 0 where there are none.
        near: whether near duplicates stay together.

    Raises `UserError` for a value that makes no sense.
    """

    fit: str = AUTO
    split_seed: int = 0
    group: str = ""
    folds: int = 0
    fold: int = 0
    near: bool = True

    def __post_init__(self) -> None:
        check_fit(self.fit)
        if self.folds and self.folds < 2:
            raise UserError(
                f"{self.folds} folds: expected 2 or more, as each is tested once and trained on by the others"
            )
        if self.folds and not 1 <= self.fold <= self.folds:
            raise UserError(f"fold {self.fold} of {self.folds}: expected 1 to {self.folds}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.as_dict().items() if value or name == "fit")

    @property
    def splitting(self) -> Self:
        """What decides the splits alone."""
        return replace(self, fit=AUTO)

    def as_dict(self) -> dict[str, Any]:
        """As run.json keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str) -> Self:
        """What `as_dict` gave; before there were fits, images were cropped, and nobody looked for near duplicates.

        Raises:
            UserError: for a value of another type.
        """
        values = {"fit": "crop", "near": False, **record}
        hints = get_type_hints(cls)
        given = {name: hint for name, hint in hints.items() if name in values}
        return cls(**{name: checked(values[name], hint, f"{source}: {name}") for name, hint in given.items()})


def check_fit(fit: str) -> None:
    """Raises `UserError` for an unknown fit, with the nearest."""
    if fit not in FITS:
        raise UserError(f"no fit {fit}: one of {', '.join(FITS)}.{nearest(fit, FITS)}")
