"""What `compare` knows besides counting: published accuracies, and predicted time where this machine was calibrated."""

from __future__ import annotations

from typing import Any

from cnnatomy.analysis import Account
from cnnatomy.analysis.latency import Calibration
from cnnatomy.catalogue import find
from cnnatomy.catalogue.accuracy import ACCURACY, Accuracy
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape

ROWS = (
    ("top1", "published top-1 (%)", 1.0),
    ("top5", "published top-5 (%)", 1.0),
    ("predicted_seconds", "predicted time (ms, one image, here)", 1e3),
)
"""Key, heading and factor of each figure in tables; JSON and CSV hold the plain figure."""

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


def figures(account: Account, published: Accuracy, calibration: Calibration | None) -> dict[str, Any]:
    """The figures of one network; None where one is not known, or where part of the time cannot be predicted."""
    prediction = calibration.predict(account) if calibration else None
    predicted = prediction.seconds if prediction and not prediction.unknown else None
    return {"top1": published.top1, "top5": published.top5, "predicted_seconds": predicted}
