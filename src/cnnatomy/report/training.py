"""What is said of a training, an evaluation and predictions; values in, text out."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from textwrap import indent
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import account
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import printable, some_of
from cnnatomy.report.tables import Column, render

if TYPE_CHECKING:  # Lightning takes three times as long to import as torch, and `predict` does without
    from cnnatomy.data import Data
    from cnnatomy.runs import Outcome, Prediction
    from cnnatomy.runs.weights.transplant import Transplant
    from cnnatomy.tasks.task import Evaluation, Task
    from cnnatomy.training.pace import RangeTest
    from cnnatomy.training.preparing import Plan
    from cnnatomy.training.schema import Recipe

MAX_CLASSES_SHOWN = 25
"""Up to here the confusion matrix is printed; it is in summary.json in any case."""


def beginning(plan: Plan, data: Data) -> list[str]:
    """Network, data, recipe and what was decided, in a few lines."""
    run, recipe = plan.run, plan.recipe
    sizes = ", ".join(f"{len(getattr(data, name)):,} {name}" for name in ("train", "val", "test"))
    shape = "x".join(map(str, data.shape))
    counted = account(run.network.graph(data.shape), run.name)
    first = f"{run.name}: {counted.totals.parameters:,} parameters, input {shape}"
    if isinstance(run.network, ListedNetwork):
        last = next((row for row in reversed(counted.rows) if row.parameters), counted.rows[-1])
        first += f"; classified by {last.path}, {last.layer}"
    return [
        first,
        f"{data.source}: {named(run.task)}, {sizes}",
        *data.report.lines(),
        recipe_line(recipe),
        *plan.notes,
    ]


def recipe_line(recipe: Recipe) -> str:
    """The recipe in a line."""
    warmup = f" after {recipe.warmup:g} epochs of warmup" if recipe.warmup else ""
    return (
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}, {recipe.schedule} schedule{warmup}, momentum"
        f" {recipe.momentum:g}, weight decay {recipe.weight_decay:g}, batches of {recipe.batch_size},"
        f" {recipe.epochs:g} epoch{'s' * (recipe.epochs != 1)} at most, seed {recipe.seed}"
    )


def named(task: Task) -> str:
    """What there is to learn: `10 classes`, with their groups, or the kind of target with its names."""
    if task.kind == "label":
        groups = len(getattr(task, "groups", ()))
        return f"{len(task.names)} classes" + (f" in {groups} groups" if groups else "")
    return f"{task.kind} ({some_of(task.names)})"


def ending(outcome: Outcome, metric: str) -> str:
    """How long it took and waited for data, which epoch was kept, and what memory it took."""
    count = len(outcome.epochs)
    seconds = sum(epoch.seconds for epoch in outcome.epochs)
    ended = f"stopped early after {count}" if outcome.stopped_early else f"{count}"
    predicted, taken = (outcome.summary["training"][key] for key in ("predicted_bytes", "peak_bytes"))
    memory = f"; {predicted / 2**20:,.0f} MiB of tensors predicted"
    if taken is not None:
        memory += f", {taken / 2**20:,.0f} MiB measured"
    waited = f", {outcome.summary['training']['waiting']:.0%} of it waiting for data"
    best = outcome.best
    score = f"{titled(metric)} {best.val_score:.2%}"
    kept = f"best by validation: epoch {best.epoch}, loss {best.val_loss:.4f}, {score}"
    if math.isnan(best.val_loss):
        kept = "the last is kept"
    return f"{ended} epoch{'s' * (count != 1)} in {seconds:.1f} s{waited}; {kept}{memory}"


def evaluation(result: Evaluation, what: str, format: str = "table") -> str:
    """The figures, a line for each class (or head, number, ...), and the confusion matrix of a few classes; or JSON."""
    if format == "json":
        return json.dumps({"data": what, **result.as_dict()}, indent=2, ensure_ascii=False)
    figures = "  ".join(f"{titled(name)} {figure(value, name)}" for name, value in result.figures.items())
    figures += f"  loss {result.loss:.4f}"
    if "interval" in result.more:
        low, high = result.more["interval"]
        measured = "top_1" if "top_1" in result.figures else "accuracy_at_threshold"
        figures += f"\n{titled(measured)} is between {low:.1%} and {high:.1%} with a confidence of 95 %"
    title = f"{what}: {result.images:,} images\n{figures}"
    if not result.rows:
        return title
    rows = [row for row in result.rows if row.get("images") != 0 or len(result.rows) <= MAX_CLASSES_SHOWN]
    if len(rows) < len(result.rows):
        title += f"\nof {len(result.rows):,} classes these {len(rows):,} have images"
    records = [{name: value for name, value in row.items() if not isinstance(value, (list, dict))} for row in rows]
    columns = [
        Column(
            name,
            titled(name),
            partial(figure, name=name),
            number=not any(isinstance(record.get(name), str) for record in records),
        )
        for name in dict.fromkeys(name for record in records for name in record)
    ]
    confusion = result.more.get("confusion_matrix") if result.each == "class" else None
    if confusion is not None and len(confusion) <= MAX_CLASSES_SHOWN:
        columns.append(Column("taken_for", "taken for, in the order of the classes"))
        wide = len(str(max(max(row) for row in confusion)))
        for record, row in zip(records, confusion, strict=True):
            record["taken_for"] = " ".join(f"{count or '.':>{wide}}" for count in row)
    text = render(columns, records, "table", title) + _by_threshold(result.more.get("thresholds", ()))
    return text.rstrip("\n")


def _by_threshold(rows: Sequence[dict[str, Any]]) -> str:
    """What early exits cost and bring, by the probability from which on they are taken."""
    if not rows:
        return ""
    columns = [
        Column("threshold", "exit threshold", "{:g}".format, number=True),
        Column("accuracy", "accuracy", "{:.2%}".format, number=True),
        Column("mean_macs", "mean MACs", partial(figure, name="mean_macs"), number=True),
        Column("images_by_exit", "images that left, by exit", lambda counts: " ".join(map(str, counts))),
    ]
    return "\n" + render(columns, rows, "table")


TITLES = {
    "top_1": "top-1",
    "top_5": "top-5",
    "f1": "F1",
    "roc_auc": "ROC area",
    "pr_auc": "PR area",
    "iou": "IoU",
    "mean_iou": "mean IoU",
    "ap_50": "AP50",
    "ap_75": "AP75",
    "mean_macs_at_threshold": "mean MACs at threshold",
    "macs": "MACs",
}
"""Figures that are written otherwise than they are called."""


def titled(name: str) -> str:
    """What people call a figure."""
    return TITLES.get(name) or name.replace("_", " ")


def rates(found: RangeTest, format: str) -> str:
    """What a range test found: the suggestion, and some of the losses; all of them as JSON or CSV."""
    records = [{"learning_rate": rate, "loss": loss} for rate, loss in zip(found.rates, found.losses, strict=True)]
    if format == "json":
        record = {"suggested": found.suggested, "steepest": found.steepest, "losses": records}
        return json.dumps(record, indent=2)
    columns = [
        Column("learning_rate", "learning rate", "{:.3g}".format, number=True),
        Column("loss", "loss", "{:.4g}".format, number=True),
    ]
    title = (
        f"suggested: --learning-rate {found.suggested:.2g} (a tenth of where the loss is lowest); it falls fastest at"
        f" {found.steepest:.2g}"
    )
    some = records if format == "csv" else records[:: max(1, len(records) // 20)]
    return render(columns, some, format, title)


NO_SHARES = (
    "mean_absolute_error",
    "root_mean_square_error",
    "r_squared",
    "mean_distance",
    "mean_macs_at_threshold",
    "mean_macs",
)
"""Figures that are in the unit of what is measured."""


def figure(value: Any, name: str = "") -> str:
    """A share as a percentage, any other number briefly, nothing as -."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if is_share(name):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.4g}"


def is_share(name: str) -> bool:
    """Whether a figure of this name is from 0 to 1."""
    return not any(name.endswith(other) for other in NO_SHARES)


@contextmanager
def predictions(
    format: str, threshold: float, write: Callable[[str], object]
) -> Iterator[Callable[[Prediction], object]]:
    """What writes predictions one by one, each as soon as it is given.

    Below the probability `threshold` the answer is that it is not known. What is written as JSON is whole, also where
    an error or Ctrl-C ends it. A file that is no usable image is left out of a table.
    """
    if format == "json":
        count = 0

        def write_record(answer: Prediction) -> None:
            nonlocal count
            write((",\n" if count else "[\n") + indent(_json(answer, threshold, 2), "  "))
            count += 1

        try:
            yield write_record
        finally:
            write("\n]\n" if count else "[]\n")
    elif format == "jsonl":
        yield lambda answer: write(_json(answer, threshold) + "\n")
    elif format == "csv":
        write("image,rank,class,probability,error,answer\n")
        yield lambda answer: write(_csv(answer, threshold))
    else:
        yield lambda answer: write(_line(answer, threshold))


def _line(prediction: Prediction, threshold: float) -> str:
    if prediction.answer is None:
        return ""
    said = prediction.answer.text
    if "predictions" in prediction.answer.record and _known(prediction.answer.record, threshold) is None:
        likeliest = prediction.answer.record["predictions"][0]
        said = f"do not know (most likely {likeliest['class']}, {likeliest['probability']:.1%})"
    return f"{printable(prediction.path)}: {said}\n"


def _csv(prediction: Prediction, threshold: float) -> str:
    """A line for each of its classes, or one with the answer as JSON, or one that says what is wrong."""
    if prediction.answer is None:
        return _csv_line(prediction.path, "", "", "", prediction.error, "")
    record = prediction.answer.record
    if "predictions" not in record:
        return _csv_line(prediction.path, "", "", "", "", json.dumps(record, ensure_ascii=False))
    known = _known(record, threshold) or ""
    return "".join(
        _csv_line(prediction.path, rank, said["class"], f"{said['probability']:.6f}", "", known)
        for rank, said in enumerate(record["predictions"], 1)
    )


def _csv_line(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # so that it quotes what has either in it
    return _escaped(text.getvalue().removesuffix("\r\n") + "\n")


def _json(prediction: Prediction, threshold: float, indentation: int | None = None) -> str:
    record: dict[str, Any] = {"image": str(prediction.path)}
    if prediction.answer is None:
        record["error"] = prediction.error
    else:
        record |= prediction.answer.record
        if "predictions" in record:
            record["class"] = _known(record, threshold)
    return _escaped(json.dumps(record, indent=indentation, ensure_ascii=False, allow_nan=False))


def _known(record: Mapping[str, Any], threshold: float) -> str | None:
    """The likeliest class, if it is as likely as that."""
    likeliest = record["predictions"][0]
    name: str = likeliest["class"]
    return name if likeliest["probability"] >= threshold else None


def _escaped(text: str) -> str:
    r"""With `\udcNN` for a byte NN of a file's name that is no UTF-8: what JSON writes for it, and Python's `repr`."""
    return text.encode("utf-8", "backslashreplace").decode()


def transplanted(done: Transplant, network: Design, source: str) -> list[str]:
    """How many layers of a network took the weights of another, and how the outputs compare."""
    if source == network.name:
        return [f"{len(done.pairs)} layers of {source} have the weights that are with it in the file."]
    lines = [f"{len(done.pairs)} layers of {network.name} took the weights of {source}."]
    if done.reordered:
        lines.append(f"{done.reordered} of them stand at another place in the order there.")
    if done.left_out:
        some = ", ".join(done.left_out[:5])
        lines.append(f"{len(done.left_out)} layers there, which do not run in evaluation, are left out: {some}")
    if done.difference is not None:
        lines.append(f"Outputs on random input are equal: largest difference {done.difference:.1e}, relative, float64.")
    else:
        how = "name" if all(ours == theirs for ours, theirs in done.pairs) else "shape and order"
        lines.append(f"A file cannot be run: layers were matched by {how}, and no outputs were compared.")
    return lines
