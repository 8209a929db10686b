"""Many runs at once: which there are below a folder, how far each is, and how good; several seeds of one as a group."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnatomy.errors import UserError
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_FOLDERS, MAX_RECORD_BYTES
from cnnatomy.readers import RUN_RECORD
from cnnatomy.readers.yaml import listed
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.run import Run

CURVES = ("train_loss", "val_loss", "train_score", "val_score")
COMPLETE, INTERRUPTED, WEIGHTS, BROKEN = "complete", "interrupted", "only weights", "broken"


@dataclass(frozen=True)
class Listed:
    """A run folder in a list.

    Attributes:
        state: complete, interrupted, only weights (never trained here), or broken.
        note: how far an interrupted one came, or what is wrong with a broken one.
        run: None where it is broken.
        curves: of each epoch the number, `CURVES` and the seconds, by name; what the scores are is `run.task.metric`.
        test: of summary.json; empty where the run is not complete.
    """

    path: Path
    state: str
    note: str = ""
    run: Run | None = None
    curves: tuple[dict[str, float], ...] = ()
    test: tuple[tuple[str, float], ...] = ()

    @property
    def best(self) -> dict[str, float] | None:
        """The epoch with the lowest validation loss, the first of equals; the last where nothing was validated."""
        known = [row for row in self.curves if not math.isnan(row["val_loss"])]
        return min(known, key=lambda row: row["val_loss"]) if known else self.curves[-1] if self.curves else None

    @property
    def val_score(self) -> float | None:
        """Of the best epoch."""
        return _known(self.best["val_score"]) if self.best else None

    @property
    def val_loss(self) -> float | None:
        """Of the best epoch."""
        return _known(self.best["val_loss"]) if self.best else None

    @property
    def test_score(self) -> float | None:
        """The first figure that the task measures on the test split: for one label top-1."""
        return self.test[0][1] if self.test else None

    @property
    def seconds(self) -> float | None:
        """Of all epochs."""
        return sum(row["seconds"] for row in self.curves) if self.curves else None


def find(folder: Path) -> list[Listed]:
    """All runs in a folder and below, the best by validation first, then those without a score, then broken ones.

    Raises:
        UserError: if there is no such folder, or more than `MAX_FOLDERS` in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder. Runs are made by `cnnatomy train ... --out {folder}/NAME`")
    return ordered([read(path) for path in _run_folders(folder)])


def ordered(runs: Sequence[Listed]) -> list[Listed]:
    """The best by validation first, then those without a score, then broken ones; by name where they are equal."""
    return sorted(runs, key=lambda one: (one.state == BROKEN, one.val_score is None, -(one.val_score or 0), one.path))


def _run_folders(folder: Path) -> Iterator[Path]:
    for count, (place, folders, files) in enumerate(os.walk(folder)):
        if count >= MAX_FOLDERS:
            raise UserError(f"{folder} has more than {MAX_FOLDERS:,} folders in it: name one with fewer")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if RUN_RECORD in files:
            yield Path(place)


def read(path: Path) -> Listed:
    """A run folder, whatever state it is in: nothing is raised for what is wrong in it."""
    place = RunFolder(path)
    try:
        _, run = run_folder.read_run(path)
        if not run.recipe:
            return Listed(path, WEIGHTS, run=run)
        curves = _curves(place, run.task.metric)
        if run_folder.is_complete(place):
            return Listed(path, COMPLETE, "", run, curves, _test(place))
    except UserError as error:
        return Listed(path, BROKEN, str(error).replace("\n", " "))
    if not curves and place.model.exists() and not place.last.exists():
        return Listed(path, WEIGHTS, run.change, run)
    epochs = run.recipe.get("epochs")
    asked = f"{epochs:g}" if _is_number(epochs) else "?"
    return Listed(path, INTERRUPTED, f"after epoch {len(curves)} of {asked}", run, curves)


def _curves(place: RunFolder, metric: str) -> tuple[dict[str, float], ...]:
    if not os.path.lexists(place.metrics):
        return ()
    lines = csv.DictReader(io.StringIO(read_text(place.metrics, MAX_RECORD_BYTES, "the epochs")))
    names = {name: name.replace("score", metric) for name in ("epoch", *CURVES, "seconds")}
    try:
        if missing := set(names.values()) - set(lines.fieldnames or ()):
            raise KeyError(*missing)
        return tuple({name: float(line[column]) for name, column in names.items()} for line in lines)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{place.metrics}: expected {', '.join(names.values())}, all numbers ({reason})") from None


def _test(place: RunFolder) -> tuple[tuple[str, float], ...]:
    record = run_folder.read_json(place.summary, "the result").get("test")
    if not isinstance(record, dict):
        raise UserError(f"{place.summary}: test is missing, expected a record")
    others = ("images", "loss", "seconds")
    return tuple((name, value) for name, value in record.items() if _is_number(value) and name not in others)


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds or folds."""

    members: tuple[Listed, ...]

    def mean(self, figure: str) -> float | None:
        """Of `val_score`, `val_loss`, `test_score` or `seconds`, over the members that have it."""
        values = self._values(figure)
        return statistics.fmean(values) if values else None

    def deviation(self, figure: str) -> float | None:
        """The standard deviation of a sample; None for fewer than two."""
        values = self._values(figure)
        return statistics.stdev(values) if len(values) > 1 else None

    def _values(self, figure: str) -> list[float]:
        return [value for one in self.members if (value := getattr(one, figure)) is not None]


def groups(runs: Sequence[Listed]) -> list[Group]:
    """Complete runs by all but seeds and folds, in the order of the first of each, and each as it is in the list.

    Of several with the same seed and fold, which are the same, the first stands for all.
    """
    found: dict[str, dict[Any, Listed]] = {}
    for one in runs:
        if one.run is not None and one.state == COMPLETE:
            record = one.run.as_dict()
            seed = record["recipe"].pop("seed", None), record["data"].pop("fold")
            if record["data"]["folds"]:  # each has its own training images, and what is computed of them
                del record["data"]["fingerprint"], record["normalisation"]
            key = json.dumps([record, listed.write(one.run.network)], sort_keys=True, default=str)
            found.setdefault(key, {}).setdefault(seed, one)
    return [Group(tuple(members.values())) for members in found.values()]


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What is not the same in run.json of all of them, by name: `recipe.momentum`, `input`, ...; the design aside."""
    flat = [_flat(run.as_dict()) for run in runs]
    names = {name: None for one in flat for name in one}
    values = {name: [one.get(name) for one in flat] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
