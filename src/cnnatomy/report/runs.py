"""What is said of several runs: a list, what differs between them, their learning curves, an ensemble."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnatomy.report import training
from cnnatomy.report.tables import Column, render

if TYPE_CHECKING:  # they import torch
    from cnnatomy.runs.averages import Together


def ensemble(names: Sequence[str], together: Together, what: str, format: str = "table") -> str:
    """An ensemble beside its members and their mean, then in detail; or JSON."""
    figures = ("top_1", "top_5")
    records = [
        {"run": name, **{figure: one[figure] for figure in figures}, "loss": one.loss}
        for name, one in zip(names, together.members, strict=True)
    ]
    mean = {figure: together.mean(figure) for figure in (*figures, "loss")}
    if format == "json":
        record = {"data": what, "members": records, "mean": mean, "ensemble": together.ensemble.as_dict()}
        return json.dumps(record, indent=2, ensure_ascii=False)
    whole = {"loss": together.ensemble.loss, **{figure: together.ensemble[figure] for figure in figures}}
    records += [{"run": "mean of the members", **mean}, {"run": "ensemble", **whole}]
    columns = [
        Column("run", "run"),
        Column("top_1", "top 1", "{:.2%}".format, number=True),
        Column("top_5", "top 5", "{:.2%}".format, number=True),
        Column("loss", "loss", "{:.4f}".format, number=True),
    ]
    return render(columns, records, "table") + "\n" + training.evaluation(together.ensemble, f"ensemble, {what}")
