"""What `roofline`, `time` and `calibrate` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import floor, log10
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import Account
from cnnatomy.analysis.time import latency
from cnnatomy.analysis.time import roofline as analysis
from cnnatomy.analysis.time.latency import Calibration, PredictedTime, threads
from cnnatomy.analysis.time.roofline import Bound, Device
from cnnatomy.report.tables import Column, render, short

if TYPE_CHECKING:
    from cnnatomy.timing.measure import Measured, Spread


BUSY = 0.2
"""Noise of a calibration above which it is not to be relied on; a quiet machine has 0.05 or less."""


def milliseconds(seconds: float | None) -> str:
    """Three digits at least, in milliseconds: 0.0123, 1.25, 125."""
    if seconds is None:
        return "?"
    ms = seconds * 1e3
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.{2 - floor(log10(ms))}f}" if ms else "0"


def _some_milliseconds(seconds: float | None) -> str:
    """The same; nothing for zero, as of a view, which has no work to do."""
    return "" if seconds == 0 else milliseconds(seconds)


def _bytes(number: float) -> str:
    return short(number) + "B" if number >= 1000 else f"{number:.0f} B" if number else ""


def roofline(account: Account, device: str, batch: int, dtype: str, format: str) -> str:
    """What `roofline` prints for a named device, or for this machine.

    Raises:
        UserError: if there is no such device, or this machine has not been measured.
    """
    measured = latency.required() if device == "here" else None
    on = measured.device() if measured else analysis.device(device)
    bounds = analysis.roofline(account, on, batch, dtype)
    return _roofline(
        account, on, bounds, (batch, dtype), format, measured.predict(account, batch) if measured else None
    )


def _roofline(
    account: Account, on: Device, bounds: Sequence[Bound], run: tuple[int, str], format: str, here: PredictedTime | None
) -> str:
    """A line a layer; `run` is batch and number format, `here` the prediction where the device is this machine."""
    batch, dtype = run
    records: list[dict[str, Any]] = [
        {
            "path": bound.row.path,
            "layer": bound.row.layer,
            "flops": bound.flops,
            "bytes": bound.bytes,
            "intensity": bound.intensity,
            "bound": bound.bound,
            "seconds": bound.seconds,
        }
        for bound in bounds
    ]
    for record, seconds in zip(records, here.rows if here else (), strict=False):
        record["predicted_seconds"] = seconds
    ridge = on.flops[dtype] / on.bandwidth
    totals = {
        "seconds": sum(bound.seconds for bound in bounds),
        "compute_bound": sum(bound.bound == "compute" for bound in bounds),
        "memory_bound": sum(bound.bound == "memory" for bound in bounds),
    }
    if here:
        totals |= {"predicted_seconds": here.seconds}
    if format == "json":
        device = {"name": on.name, "flops": on.flops[dtype], "bandwidth": on.bandwidth, "ridge": ridge}
        head = {"name": account.name, "input": list(account.input), "batch": batch, "dtype": dtype}
        told = {"source": on.source, "derived": on.derived}
        return json.dumps({**head, "device": device | told, "totals": totals, "nodes": records}, indent=2)
    columns = [
        Column("path", "path", shortest=16, short="middle"),
        Column("layer", "layer", shortest=8),
        Column("flops", "FLOPs", lambda n: short(n) if n else "", number=True),
        Column("bytes", "moved", _bytes, number=True),
        Column("intensity", "FLOPs/byte", lambda n: f"{n:.1f}" if n else "", number=True),
        Column("bound", "bound"),
        Column("seconds", "at least ms", _some_milliseconds, number=True),
    ]
    if here:
        columns.append(Column("predicted_seconds", "predicted ms", _some_milliseconds, number=True))
    title = f"{account.name or 'network'} on {on.name}, batch {batch}, {dtype}"
    text = render(columns, records, format, title)
    if format == "csv":
        return text
    lines = [
        f"{short(on.flops[dtype])}FLOP/s and {short(on.bandwidth)}B/s: compute-bound above {ridge:.1f} FLOPs/byte",
        f"at least {milliseconds(totals['seconds'])} ms: {totals['compute_bound']} layers compute-bound,"
        f" {totals['memory_bound']} memory-bound",
        *_prediction_line(here),
        f"figures: {on.source}" + (f" ({on.derived})" if on.derived else ""),
    ]
    return text + "\n\n" + "\n".join("- " + line if format == "markdown" else line for line in lines)


def _prediction_line(prediction: PredictedTime | None) -> list[str]:
    if prediction is None:
        return []
    named = ", ".join(prediction.unknown[:3]) + (", ..." if len(prediction.unknown) > 3 else "")
    missing = f", without {len(prediction.unknown)} layers whose kernels were not timed ({named})"
    return [f"predicted {milliseconds(prediction.seconds)} ms" + (missing if prediction.unknown else "")]


def timing(account: Account, batch: int, repetitions: int, device: str, format: str) -> str:
    """What `time` prints: measures now, and predicts beside it where this machine was calibrated.

    Raises:
        UserError: if the network cannot be built or run here.
    """
    from cnnatomy.timing.measure import measure

    measured = measure(account.graph, batch, repetitions, device)
    calibration = latency.load() if device == "cpu" else None
    return _timing(account, measured, calibration.predict(account, batch) if calibration else None, format)


def _timing(account: Account, measured: Measured, prediction: PredictedTime | None, format: str) -> str:
    """A line a layer, measured by hooks; the whole beside it, and the prediction where there is one."""
    by_path = prediction.rows if prediction else (None,) * len(account.rows)
    records: list[dict[str, Any]] = []
    for row, predicted in zip(account.rows, by_path, strict=True):
        spread = measured.layers.get(row.path)
        times = _spread(spread) if spread else dict.fromkeys(("median", "lower", "upper", "fastest"))
        records.append({"path": row.path, "layer": row.layer, **times, "predicted": predicted})
    of_layers = sum(spread.median for spread in measured.layers.values())
    for record in records:
        record["share"] = record["median"] / of_layers if record["median"] is not None else None
    if format == "json":
        facts = {"name": account.name, "input": list(account.input), "batch": measured.batch, "device": measured.device}
        how = {"repetitions": measured.repetitions, "threads": measured.threads}
        whole = _spread(measured.whole) | {"predicted": prediction.seconds if prediction else None}
        return json.dumps({**facts, **how, "whole": whole, "nodes": records}, indent=2)
    columns = [
        Column("path", "path", shortest=16, short="middle"),
        Column("layer", "layer", shortest=8),
        Column("median", "median ms", milliseconds, number=True),
        Column("lower", "quartile", milliseconds, number=True),
        Column("upper", "quartile", milliseconds, number=True),
        Column("share", "share", lambda n: "" if n is None else f"{n:.1%}", number=True),
    ]
    if prediction or format == "csv":
        columns.append(Column("predicted", "predicted ms", milliseconds, number=True))
    title = f"{account.name or 'network'}, batch {measured.batch}, {measured.device}, {threads(measured.threads)}"
    text = render(columns, records, format, title)
    return text if format == "csv" else text + "\n\n" + "\n".join(_whole(measured, of_layers, prediction))


def _spread(spread: Spread) -> dict[str, float]:
    return spread._asdict()


def _whole(measured: Measured, of_layers: float, prediction: PredictedTime | None) -> list[str]:
    whole = measured.whole
    images = measured.batch / whole.median
    lines = [
        f"whole: {milliseconds(whole.median)} ms, quartiles {milliseconds(whole.lower)} and"
        f" {milliseconds(whole.upper)}, fastest {milliseconds(whole.fastest)}, of {measured.repetitions} repetitions;"
        f" {short(images)} images/s",
        f"layers: {milliseconds(of_layers)} ms in all, with a hook before and after each, which adds a little",
    ]
    if prediction:
        error = prediction.seconds / whole.median - 1
        lines += [f"{line} ({error:+.0%})" for line in _prediction_line(prediction)]
    elif measured.device == "cpu":
        lines.append("no prediction: run `cnnatomy calibrate` once (half a minute to two)")
    return lines


def calibration(measured: Calibration, file: str, format: str) -> str:
    """What was found of each class of kernels."""
    records = []
    for kernel, samples in sorted(measured.classes.items()):
        rate = max(2 * s.work.operations / s.warm for s in samples)
        moved = max((s.work.read + s.work.weights + s.work.written) / s.warm for s in samples)
        overhead = measured.models[kernel][0].costs[0]
        records.append({"kernel": kernel, "samples": len(samples), "overhead": overhead, "flops": rate, "bytes": moved})
    if format == "json":
        return json.dumps({"file": file, **measured.record(), "kernels": records}, indent=2)
    columns = [
        Column("kernel", "class of kernels"),
        Column("samples", "timed", number=True),
        Column("overhead", "overhead µs", lambda s: f"{s * 1e6:.1f}", number=True),
        Column("flops", "at most FLOP/s", lambda n: short(n) if n else "", number=True),
        Column("bytes", "at most B/s", lambda n: short(n) if n else "", number=True),
    ]
    title = f"{measured.machine['cpu']}, {threads(measured.threads)}, torch {measured.machine['torch']}"
    text = render(columns, records, format, title)
    if format == "csv":
        return text
    lines = [f"kept in {file}", f"timings were {measured.noise:.0%} above the fastest of their kind, at the median"]
    if measured.noise > BUSY:
        lines.append("the machine was busy: predictions will be off; calibrate again when nothing else runs")
    return text + "\n\n" + "\n".join(lines)
