"""What `compare` knows besides counting: published accuracies, and predicted time where this machine was calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cnnatomy.analysis import Account, latency
from cnnatomy.analysis.latency import Calibration
from cnnatomy.catalogue import find
from cnnatomy.catalogue.accuracy import ACCURACY, Accuracy
from cnnatomy.errors import UserError
from cnnatomy.export import plot
from cnnatomy.layers.layer import Shape

Changed = tuple[int | None, Shape | None]
"""The classes and the input that were asked for; None where the network's own are meant."""

ROWS = (
    ("top1", "published top-1 (%)"),
    ("top5", "published top-5 (%)"),
    ("predicted_seconds", "predicted seconds, one image, here"),
)
"""Key and heading of each figure."""

NOT_PUBLISHED = Accuracy(None, None, "")


def accuracy(name: str, classes: int | None = None, input: Shape | None = None) -> Accuracy:
    """What was published of the network that a command line names: only for the catalogue's own, unchanged."""
    try:
        entry = find(name)
    except UserError:
        return NOT_PUBLISHED  # a design or a file, whatever it is called
    if classes not in (None, entry.classes) or input not in (None, entry.input):
        return NOT_PUBLISHED
    return ACCURACY.get(entry.name, NOT_PUBLISHED)


def compare(names: Sequence[str], accounts: Sequence[Account], changed: Changed, format: str, file: Path | None) -> str:
    """What `compare` prints of the networks that a command line names; with a file, the charts are drawn into it.

    Raises:
        UserError: if the charts cannot be drawn or written.
    """
    from cnnatomy.export import reports  # which knows the rows of this file

    if file:
        plot.check(file)
    published = [accuracy(name, *changed) for name in names]
    calibration = latency.load()
    known = [figures(account, got, calibration) for account, got in zip(accounts, published, strict=True)]
    text = reports.compare(accounts, format, known)
    if not file:
        return text
    balls = [
        plot.Plotted(account.name or name, account, got.top1)
        for name, account, got in zip(names, accounts, published, strict=True)
    ]
    left_out = plot.plot(balls, file)
    drawn = f"drawn into {file}"
    if left_out:
        drawn += f"; in the chart of accuracies without {', '.join(left_out)}: no published accuracy is known"
    click.echo(drawn, err=True)  # what is printed stays a table, or JSON
    return text


def figures(account: Account, published: Accuracy, calibration: Calibration | None) -> dict[str, Any]:
    """The figures of one network; None where one is not known, or where part of the time cannot be predicted."""
    prediction = calibration.predict(account) if calibration else None
    predicted = prediction.seconds if prediction and not prediction.unknown else None
    return {"top1": published.top1, "top5": published.top5, "predicted_seconds": predicted}
