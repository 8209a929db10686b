"""What the runs of several folds say together: mean, standard deviation, and how far the mean can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnnatomy.errors import UserError
from cnnatomy.runs import listing


@dataclass(frozen=True)
class FoldMean:
    """Of one figure of the runs: its mean, the standard deviation from fold to fold, and between which bounds the mean
    is with a probability of `confidence`."""

    mean: float
    std: float
    low: float
    high: float
    folds: int
    confidence: float = 0.95


def fold_mean(figures: Sequence[float], confidence: float = 0.95) -> FoldMean:
    """The mean of a figure over folds with its interval by Student's t, of one degree of freedom less than folds.

    The interval takes the folds for independent. They are not, since any two share training images, and nothing that is
    computed of one cross-validation alone makes up for that (Bengio and Grandvalet 2004, "No unbiased estimator of the
    variance of K-fold cross-validation"): in truth it is too narrow as a rule. It may also exceed what the figure can
    be, such as 100 %.

    Raises:
        UserError: if there are fewer than two figures, one is not finite, or the confidence is not between 0 and 1.
    """
    if len(figures) < 2:
        raise UserError(f"an interval needs the figures of 2 folds or more, not of {len(figures)}")
    if not all(map(math.isfinite, figures)):
        raise UserError(f"the figures of the folds are not all finite: {', '.join(map(str, figures))}")
    if not 0 < confidence < 1:
        raise UserError(f"a confidence of {confidence}: expected more than 0 and less than 1, such as 0.95")
    from scipy.special import stdtrit

    count = len(figures)
    mean, std = statistics.fmean(figures), statistics.stdev(figures)
    margin = float(stdtrit(count - 1, (1 + confidence) / 2)) * std / math.sqrt(count)
    return FoldMean(mean, std, mean - margin, mean + margin, count, confidence)


@dataclass(frozen=True)
class Folds:
    """The runs of all folds: their paths, what each measured on its test split, and the mean of each figure."""

    paths: tuple[Path, ...]
    figures: tuple[Mapping[str, float], ...]
    means: Mapping[str, FoldMean]

    def as_dict(self) -> dict[str, Any]:
        """As folds.json keeps it."""
        folds = [{"run": path.name, **figures} for path, figures in zip(self.paths, self.figures, strict=True)]
        return {"folds": folds, "mean": {name: asdict(mean) for name, mean in self.means.items()}}


def across(paths: Sequence[Path]) -> Folds:
    """What complete runs, one for each fold, measured together: of each figure that all of them have.

    Raises:
        UserError: naming a run that is not complete.
    """
    runs = [listing.read(path) for path in paths]
    for one in runs:
        if one.state != listing.COMPLETE:
            raise UserError(f"{one.path} is {one.state} {one.note}".rstrip())
    figures = [dict(one.test) for one in runs]
    shared = [name for name in figures[0] if all(name in each for each in figures)]
    means = {name: fold_mean([each[name] for each in figures]) for name in shared}
    return Folds(tuple(paths), tuple(figures), means)
