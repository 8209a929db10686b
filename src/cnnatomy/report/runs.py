"""What is said of several runs: a list, what differs between them, their learning curves, an ensemble."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import account
from cnnatomy.errors import UserError, counted, printable
from cnnatomy.readers.yaml import listed
from cnnatomy.report import plot, training
from cnnatomy.report.tables import Column, render

if TYPE_CHECKING:  # they import torch
    from cnnatomy.runs.averages import Together
    from cnnatomy.runs.folds import Folds
    from cnnatomy.runs.listing import Group, Listed

MAX_NAMED_CURVES = 20
"""Learning curves that the legend names; there are as many colours."""

FIGURES = ("val_score", "val_loss", "test_score", "seconds")


def table(runs: Sequence[Listed], format: str = "table") -> str:
    """A row for each run: what it is, how far, and how good."""
    columns = [
        Column("name", "run", printable, shortest=12, short="middle"),
        Column("network", "network", _text),
        Column("data", "data", _text, shortest=10, short="middle"),
        Column("parameters", "parameters", _count, number=True),
        Column("epochs", "epochs", _count, number=True),
        Column("best_epoch", "best", _count, number=True),
        Column("metric", "score", _figure),
        Column("val_score", "validation", training.figure, number=True),
        Column("val_loss", "loss", _loss, number=True),
        Column("test_score", "test", training.figure, number=True),
        Column("test_figure", "of", _figure, beside=True),
        Column("seconds", "seconds", _seconds, number=True),
        Column("state", "state", shortest=20),
    ]
    return render(columns, [record(one) for one in runs], format, counted(len(runs), "run"))


def record(one: Listed) -> dict[str, Any]:
    """A run as plain data."""
    state = f"{one.state}: {printable(one.note)}" if one.state == "broken" else f"{one.state} {one.note}".rstrip()
    if one.run is None:
        return {"name": str(one.path), "state": state}
    return {
        "name": str(one.path),
        "network": one.run.name,
        "data": one.run.source,
        "parameters": _parameters(one),
        "epochs": len(one.curves) or None,
        "best_epoch": int(one.best["epoch"]) if one.best else None,
        "metric": one.run.task.metric,
        **{name: getattr(one, name) for name in FIGURES},
        "test_figure": one.test[0][0] if one.test else None,
        "state": state,
    }


def _parameters(one: Listed) -> int | None:
    assert one.run is not None
    try:
        return account(one.run.network.graph(one.run.shape), one.run.name).totals.parameters
    except UserError:  # its design was edited since
        return None


def grouped(groups: Sequence[Group], of: int, format: str = "table") -> str:
    """A row for each group of seeds, mean and standard deviation; and how many of so many runs are in none."""
    records = []
    for group in groups:
        first = group.members[0].run
        assert first is not None
        row: dict[str, Any] = {"network": first.name, "data": first.source, "runs": len(group.members)}
        row["seeds"] = [one.run.recipe.get("seed") for one in group.members if one.run is not None]
        row["folds"] = [one.run.loading.fold for one in group.members if one.run is not None and one.run.loading.folds]
        for name in FIGURES:
            row |= {name: group.mean(name), f"{name}_std": group.deviation(name)}
        records.append(row)
    columns = [
        Column("network", "network"),
        Column("data", "data", shortest=10, short="middle"),
        Column("runs", "runs", _count, number=True),
        Column("seeds", "seeds", lambda seeds: " ".join(map(str, seeds)), shortest=8),
    ]
    if any(record["folds"] for record in records):
        columns.append(Column("folds", "folds", lambda folds: " ".join(map(str, folds)), shortest=8))
    texts: tuple[Callable[[Any], str], ...] = (training.figure, _loss, training.figure, _seconds)
    for name, heading, text in zip(FIGURES, ("validation", "loss", "test", "seconds"), texts, strict=True):
        columns += [
            Column(name, heading, text, number=True),
            Column(f"{name}_std", "± std", text, number=True, beside=True),
        ]
    left = of - sum(len(group.members) for group in groups)
    note = f"; {counted(left, 'run')} not complete, or of a seed that is there already" if left else ""
    return render(columns, records, format, counted(len(groups), "group") + note)


def compared(runs: Sequence[Listed], differs: dict[str, list[Any]], format: str = "table") -> str:
    """What differs between runs: in their recipes and data, in their designs, and in what came out.

    Designs are compared with that of the first run, line by line as YAML; which CSV leaves out.
    """
    results = [record(one) for one in runs]
    rows = {**differs, **{name: [row.get(name) for row in results] for name in ("parameters", "best_epoch", *FIGURES)}}
    designs = [listed.write(one.run.network).splitlines() for one in runs if one.run is not None]
    names = [str(one.path) for one in runs]
    changes = {
        name: list(difflib.unified_diff(designs[0], design, names[0], name, lineterm="", n=1))
        for name, design in zip(names[1:], designs[1:], strict=True)
        if design != designs[0]
    }
    if format == "json":
        return json.dumps({"runs": names, "differences": rows, "designs": changes}, indent=2, ensure_ascii=False)
    columns = [Column("what", ""), *(Column(name, printable(name), _value) for name in dict.fromkeys(names))]
    records = [{"what": what, **dict(zip(names, values, strict=True))} for what, values in rows.items()]
    text = render(columns, records, format)
    if format != "csv":
        text += "".join("\n" + "\n".join(lines) + "\n" for lines in changes.values())
    return text.rstrip("\n")


def draw(runs: Sequence[Listed], file: Path) -> str:
    """Draws the learning curves of all runs that have some into a file; what to say about it.

    Raises:
        UserError: if there is none, or they cannot be drawn or written.
    """
    plot.check(file)
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known = [one for one in runs if one.curves]
    if not known:
        raise UserError("no run has a complete epoch, so there are no learning curves to draw")
    drawing = Figure(figsize=(15, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(drawing)
    losses, scores = drawing.subplots(1, 2)
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for number, one in enumerate(known):
        epochs = [row["epoch"] for row in one.curves]
        for axes, what in ((losses, "loss"), (scores, "score")):
            for split, style in (("train", "--"), ("val", "-")):
                values = [row[f"{split}_{what}"] for row in one.curves]
                label = str(one.path).lstrip("_") if split == "val" and number < MAX_NAMED_CURVES else None
                colour = palette[number * 2 % 20 + number // 10 % 2]
                axes.plot(epochs, values, style, color=colour, label=label, lw=1.2, marker=".", ms=3)
    losses.set_yscale("log")
    metrics = sorted({one.run.task.metric.replace("_", " ") for one in known if one.run is not None})
    for axes, what in ((losses, "loss"), (scores, ", ".join(metrics))):
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.set_title(f"{what}: validation; dashed: training")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"the best {MAX_NAMED_CURVES} of {len(known)}" if len(known) > MAX_NAMED_CURVES else None
    scores.legend(fontsize=9, title=title)
    plot.write(drawing, file, [str(one.path) for one in known])
    return f"Learning curves of {counted(len(known), 'run')}: {file}"


def _text(value: str | None) -> str:
    return "-" if value is None else printable(value)


def _figure(name: str | None) -> str:
    return "-" if name is None else training.titled(name)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else printable(str(value))


def folds(found: Folds) -> str:
    """A row for each fold, then the mean of each figure, its standard deviation, and its interval of 95 %."""
    each = [
        {"fold": path.name, **{name: training.figure(figures[name], name) for name in found.means}}
        for path, figures in zip(found.paths, found.figures, strict=True)
    ]
    for title, part in (("mean", "mean"), ("standard deviation", "std"), ("from", "low"), ("to", "high")):
        values = {name: getattr(mean, part) for name, mean in found.means.items()}
        shown = {name: min(max(x, 0.0), 1.0) if training.is_share(name) else x for name, x in values.items()}
        each.append({"fold": title, **{name: training.figure(x, name) for name, x in shown.items()}})
    columns = [Column("fold", "fold"), *(Column(name, training.titled(name), number=True) for name in found.means)]
    count = len(found.paths)
    title = (
        f"{count} folds; the mean is between `from` and `to` with a confidence of 95 %, as if folds were independent"
    )
    return render(columns, each, "table", title)


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
        *(Column(name, training.titled(name), "{:.2%}".format, number=True) for name in figures),
        Column("loss", "loss", "{:.4f}".format, number=True),
    ]
    return render(columns, records, "table") + "\n" + training.evaluation(together.ensemble, f"ensemble, {what}")
