"""What `compare` prints: counts, published accuracies, and predicted time where this machine was calibrated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnatomy.analysis import Account
from cnnatomy.analysis.time import latency
from cnnatomy.analysis.time.latency import Calibration
from cnnatomy.catalogue import find
from cnnatomy.catalogue.accuracy import ACCURACY, Accuracy
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.report import plot
from cnnatomy.report.records import peak_record, totals_record
from cnnatomy.report.reports import NOT_PUBLISHED
from cnnatomy.report.tables import Column, render

Changed = tuple[int | None, Shape | None]
"""The classes and the input that were asked for; None where the network's own are meant."""

KNOWN = (
    ("top1", "published top-1 (%)"),
    ("top5", "published top-5 (%)"),
    ("predicted_seconds", "predicted seconds, one image, here"),
)
"""Key and heading of each figure that is known rather than counted."""


def accuracy(name: str, classes: int | None = None, input: Shape | None = None) -> Accuracy:
    """What was published of the network that a command line names: only for the catalogue's own, unchanged."""
    try:
        entry = find(name)
    except UserError:
        return NOT_PUBLISHED  # a design or a file, whatever it is called
    if classes not in (None, entry.classes) or input not in (None, entry.input):
        return NOT_PUBLISHED
    return ACCURACY.get(entry.name, NOT_PUBLISHED)


def compare(names: Sequence[str], accounts: Sequence[Account], changed: Changed, format: str) -> str:
    """What `compare` prints of the networks that a command line names."""
    calibration = latency.load()
    known = [
        figures(account, accuracy(name, *changed), calibration) for name, account in zip(names, accounts, strict=True)
    ]
    return table(accounts, format, known)


def draw(names: Sequence[str], accounts: Sequence[Account], changed: Changed, file: Path) -> str:
    """Draws the charts of the same networks into a file; what to say about it.

    Raises:
        UserError: if they cannot be drawn or written.
    """
    balls = [
        plot.Plotted(account.name or name, account, accuracy(name, *changed).top1)
        for name, account in zip(names, accounts, strict=True)
    ]
    left_out = plot.plot(balls, file)
    drawn = f"drawn into {file}"
    if left_out:
        drawn += f"; in the chart of accuracies without {', '.join(left_out)}: no published accuracy is known"
    return drawn


def figures(account: Account, published: Accuracy, calibration: Calibration | None) -> dict[str, Any]:
    """The figures of one network; None where one is not known, or where part of the time cannot be predicted."""
    prediction = calibration.predict(account) if calibration else None
    predicted = prediction.seconds if prediction and not prediction.unknown else None
    return {"top1": published.top1, "top5": published.top5, "predicted_seconds": predicted}


COUNTED = (
    ("parameters", "parameters"),
    ("buffers", "buffers"),
    ("macs", "MACs"),
    ("multiplies", "multiplies"),
    ("adds", "adds"),
    ("compares", "compares"),
    ("divides", "divides"),
    ("exponentials", "exponentials"),
    ("feature_map_elements", "feature map elements"),
    ("parameter_bytes", "weights, bytes"),
    ("peak_feature_map_bytes", "peak of feature maps, bytes"),
    ("training_bytes", "training, bytes"),
    ("layers", "layers"),
    ("depth", "depth (weight layers)"),
    ("receptive_field", "receptive field (rows)"),
    ("stride", "stride of the last map (rows)"),
)


def record(accounts: Sequence[Account], known: Sequence[dict[str, float | None]] = ()) -> dict[str, Any]:
    """Networks side by side as plain data, each figure with its ratio to the first network's.

    `known` are the figures of `KNOWN` for each network.
    """
    figures = [_figures(account) for account in accounts]
    for got, more in zip(figures, known, strict=False):
        got |= more
    networks = [
        {"name": key, "input": list(account.input)}
        | got
        | {"ratio": {figure: _ratio(got[figure], figures[0][figure]) for figure in got}}
        for key, account, got in zip(_keys(accounts), accounts, figures, strict=True)
    ]
    return {"networks": networks}


def _keys(accounts: Sequence[Account]) -> list[str]:
    """The names of networks, with a number where two have the same."""
    names = [account.name for account in accounts]
    return [name if names.count(name) == 1 else f"{name} #{i + 1}" for i, name in enumerate(names)]


def table(accounts: Sequence[Account], format: str, known: Sequence[dict[str, float | None]] = ()) -> str:
    """The same as text; a table leaves out the figures that no network has."""
    compared = record(accounts, known)
    if format == "json":
        return json.dumps(compared, indent=2)
    networks = compared["networks"]
    records = [
        {"figure": heading if format != "csv" else figure}
        | {got["name"]: got[figure] for got in networks}
        | {f"{got['name']} ratio": got["ratio"][figure] for got in networks}
        for figure, heading in [*COUNTED, *KNOWN]
        if any(got.get(figure) is not None for got in networks)
    ]
    columns = [Column("figure", "")]
    for i, (got, account) in enumerate(zip(networks, accounts, strict=True)):
        key, heading = got["name"], f"{got['name']} {account.graph.takes}"
        columns.append(Column(key, heading, _figure, number=True))
        if i:
            columns.append(Column(f"{key} ratio", "ratio", _ratio_text, number=True, beside=True))
    return render(columns, records, format)


def _figures(account: Account) -> dict[str, Any]:
    totals = totals_record(account.totals) | {"depth": account.depth}
    field = account.receptive_field
    totals |= peak_record(account) | {"training_bytes": account.training_memory.total}
    seen = (field.size[0], field.stride[0]) if account.has_pixels else (None, None)
    totals |= dict(zip(("receptive_field", "stride"), seen, strict=True))  # type: ignore[arg-type]
    return {figure: totals[figure] for figure, _ in COUNTED}


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:,}" if isinstance(number, int) else f"{float(number):,.4g}"


def _ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"x {float(ratio):.3g}"


def _ratio(number: float | None, first: float | None) -> float | None:
    return number / first if first and number is not None else None
