"""Predicted time of a network in eager torch on this machine, from kernels that `cnnatomy calibrate` has timed once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.analysis.accounting import Account
from cnnatomy.analysis.memory.pages import fresh
from cnnatomy.analysis.time.kernels import Work, work
from cnnatomy.analysis.time.roofline import Device
from cnnatomy.errors import UserError
from cnnatomy.files import read_text
from cnnatomy.layers.layer import UNKNOWN
from cnnatomy.limits import MAX_RECORD_BYTES
from cnnatomy.machine import cores, processor, versions

FORMAT = 4
"""Of the file; raised when `Work` means something else, so that old files are measured again."""


LARGE = 2**25
"""Bytes of a matrix that no cache of a core holds."""

CACHE = 2**21
"""Bytes of traffic before a layer after which it runs halfway between warm and cold: about a core's own caches."""


LAST_CACHE = 2**22
"""Bytes of weights at which a network finds half of them still in the caches when the next batch comes."""


class Sample(NamedTuple):
    """A kernel that was timed: its work and the median seconds of one call, in three states of the caches.

    `hot`: it ran just before, so that even its weights are there; `warm`: its input, output and code are; `cold`: only
    its input is, as after a large layer.
    """

    work: Work
    hot: float
    warm: float
    cold: float


class LatencyModel:
    """The time of one class of kernels, fitted to its samples.

    seconds = overhead + operations/rate + read/bandwidth + weights/bandwidth + written/bandwidth, with no negative
    cost, fitted to relative errors; times a correction: the mean of what the samples nearest in size deviate from that.
    """

    REACH = 1.0
    """Distance in `Work.place` (powers of two) over which a sample speaks for others."""

    def __init__(self, timed: Sequence[tuple[Work, float]]) -> None:
        self.costs = _fit([(_terms(work), seconds) for work, seconds in timed])
        self.deviations = [(work.place, log(seconds / self._line(work))) for work, seconds in timed]

    def _line(self, work: Work) -> float:
        return sum(cost * term for cost, term in zip(self.costs, _terms(work), strict=True))

    def seconds(self, work: Work) -> float:
        """Predicted seconds of one call."""
        total, weight = 0.0, 0.5
        for place, deviation in self.deviations:
            near = exp(-sum((a - b) ** 2 for a, b in zip(place, work.place, strict=True)) / (2 * self.REACH**2))
            total += near * deviation
            weight += near
        return self._line(work) * exp(total / weight)


def _terms(work: Work) -> tuple[float, ...]:
    return (1.0, float(work.operations), float(work.read), float(work.weights), float(work.written))


def _fit(points: Sequence[tuple[tuple[float, ...], float]]) -> list[float]:
    """Least squares of relative errors with no negative cost, by coordinate descent."""
    rows = [[term / seconds for term in terms] for terms, seconds in points]
    columns = list(zip(*rows, strict=True))
    squares = [sum(x * x for x in column) for column in columns]
    costs = [0.0] * len(columns)
    rest = [1.0] * len(rows)
    for _ in range(2000):
        moved = 0.0
        for j, column in enumerate(columns):
            if not squares[j]:
                continue
            step = sum(x * r for x, r in zip(column, rest, strict=True)) / squares[j]
            step = max(step, -costs[j])
            costs[j] += step
            moved = max(moved, abs(step) * squares[j] ** 0.5)
            rest = [r - step * x for r, x in zip(rest, column, strict=True)]
        if moved < 1e-6:
            break
    return costs


@dataclass(frozen=True)
class PredictedTime:
    """What a network is predicted to take.

    Attributes:
        seconds: of one forward pass of the batch.
        rows: seconds of each layer, in the order of the account; None where no kernel like it was timed.
        glue: seconds spent between the layers, in Python.
        unknown: paths of the layers that were not predicted; their time is missing in `seconds`.
    """

    seconds: float
    rows: tuple[float | None, ...]
    glue: float
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """What `cnnatomy calibrate` measured on one machine.

    Attributes:
        machine: see `machine`.
        threads: that torch computed with.
        glue: seconds from the end of one layer to the start of the next in a network built by cnnatomy.
        page: seconds for each byte that the system has to provide again; the samples had none of these.
        date: of the measurement.
        noise: by how much the median of a kernel's timings was above the fastest, at the median of all.
        samples: the kernels that were timed.
    """

    machine: dict[str, str]
    threads: int
    glue: float
    page: float
    date: str
    noise: float
    samples: tuple[Sample, ...]

    @cached_property
    def classes(self) -> dict[str, list[Sample]]:
        """The samples of each class of kernels."""
        classes: dict[str, list[Sample]] = {}
        for sample in self.samples:
            classes.setdefault(sample.work.kernel, []).append(sample)
        return classes

    @cached_property
    def models(self) -> dict[str, tuple[LatencyModel, LatencyModel, LatencyModel]]:
        """For each class of kernels a model of it hot, one of it warm, and one of it cold."""
        return {
            kernel: (
                LatencyModel([(sample.work, sample.hot) for sample in samples]),
                LatencyModel([(sample.work, sample.warm) for sample in samples]),
                LatencyModel([(sample.work, sample.cold) for sample in samples]),
            )
            for kernel, samples in self.classes.items()
        }

    def seconds(self, layer: Work, before: int, weights: int) -> float | None:
        """Predicted seconds of a kernel after so many bytes of traffic, in a network of so many bytes of weights.

        None where no kernel like it was timed.
        """
        models = self.models.get(layer.kernel)
        if models is None:
            return None
        hot, warm, cold = (model.seconds(layer) for model in models)
        usual = warm + (cold - warm) * before / (before + CACHE)
        return usual + (hot - usual) * LAST_CACHE / (weights + LAST_CACHE)

    def predict(self, account: Account, batch: int = 1) -> PredictedTime:
        """Predicted time of a forward pass in evaluation, float32, in eager torch, when one follows another.

        How cold the caches are follows from the traffic of the two layers before, and from all weights; what memory has
        to be fetched from the system, from the order in which maps come and go (`pages.fresh`).
        """
        works = [work(row.node.layer, row.inputs, row.output, batch, self.threads) for row in account.rows]
        traffic = [layer.read + layer.weights + layer.written for layer in works]
        weights = sum(layer.weights for layer in works)
        fetched = fresh(account.graph, {row.path: w for row, w in zip(account.rows, works, strict=True)}, batch)
        rows: list[float | None] = []
        for i, (row, layer) in enumerate(zip(account.rows, works, strict=True)):
            known = row.kind != UNKNOWN
            seconds = self.seconds(layer, traffic[i - 1] + traffic[i - 2], weights) if known else None
            rows.append(None if seconds is None else seconds + self.page * fetched.get(row.path, 0))
        glue = self.glue * len(rows)
        unknown = tuple(row.path for row, seconds in zip(account.rows, rows, strict=True) if seconds is None)
        return PredictedTime(sum(s for s in rows if s is not None) + glue, tuple(rows), glue, unknown)

    def device(self) -> Device:
        """This machine's own roofline: the fastest kernel, and the fastest reading of a large matrix."""
        fastest = max(2 * sample.work.operations / sample.warm for sample in self.samples)
        matrices = [s for s in self.samples if s.work.kernel == "matrix by vector" and s.work.weights >= LARGE]
        moved = [(s.work.read + s.work.weights + s.work.written) / s.warm for s in matrices or self.samples]
        source = f"measured by cnnatomy calibrate, {self.date}"
        name = f"{self.machine['cpu']}, {threads(self.threads)}, measured"
        return Device(name=name, flops={"float32": max(fastest, 1.0)}, bandwidth=max(*moved, 1.0), source=source)

    def record(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        samples = [[*sample.work[:5], list(sample.work.place), *sample[1:]] for sample in self.samples]
        facts = {
            "machine": self.machine,
            "threads": self.threads,
            "glue": self.glue,
            "page": self.page,
            "date": self.date,
            "noise": self.noise,
        }
        return {"format": FORMAT, **facts, "samples": samples}

    @classmethod
    def from_record(cls, record: Any) -> Calibration:
        """The calibration that a record describes.

        Raises:
            ValueError, TypeError, KeyError: if it describes none, or one of another format.
        """
        if record["format"] != FORMAT:
            raise ValueError("measured by another version of cnnatomy")
        samples = tuple(
            Sample(
                Work(str(kernel), int(n), int(read), int(weights), int(written), tuple(map(float, place))),
                *(_positive(hot), _positive(warm), _positive(cold)),
            )
            for kernel, n, read, weights, written, place, hot, warm, cold in record["samples"]
        )
        machine = {str(key): str(value) for key, value in record["machine"].items()}
        date, noise = str(record["date"]), float(record["noise"])
        glue, page = _positive(record["glue"]), _positive(record["page"])
        return cls(machine, int(record["threads"]), glue, page, date, noise, samples)


def _positive(seconds: Any) -> float:
    number = float(seconds)
    if not 0 < number < 1e6:
        raise ValueError(f"{seconds!r} seconds")
    return number


def threads(number: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} thread" + ("" if number == 1 else "s")


def machine() -> dict[str, str]:
    """What a calibration is of: processor, cores, threads asked for and version of torch (which is not imported)."""
    torch = versions("torch").get("torch", "none")
    threads = os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS") or "default"
    return {"cpu": processor(), "cores": str(cores()), "threads": threads, "torch": torch}


def path(of: dict[str, str] | None = None) -> Path:
    """Where the calibration of a machine (default: this one) is kept: in XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache"
    identity = hashlib.sha256(json.dumps(of or machine(), sort_keys=True).encode()).hexdigest()[:12]
    return folder / "cnnatomy" / f"calibration-{identity}.json"


def load() -> Calibration | None:
    """The calibration of this machine as it is now; None where there is none, or the file is damaged or outdated."""
    try:
        calibration = Calibration.from_record(json.loads(read_text(path(), MAX_RECORD_BYTES, "the calibration")))
    except (UserError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return calibration if calibration.machine == machine() and calibration.samples else None


def required() -> Calibration:
    """The same.

    Raises:
        UserError: saying how to get one, if there is none.
    """
    calibration = load()
    if calibration is None:
        asked = ", ".join(f"{key} {value}" for key, value in machine().items())
        raise UserError(f"this machine ({asked}) has not been measured: run `cnnatomy calibrate` once (a minute)")
    return calibration
