"""What is said of a training, an evaluation and predictions; values in, text out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import indent
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import account
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import printable
from cnnatomy.report.tables import Column, render

if TYPE_CHECKING:  # Lightning takes three times as long to import as torch, and `predict` does without
    from cnnatomy.data import Data
    from cnnatomy.runs import Evaluation, Outcome, Prediction
    from cnnatomy.runs.weights.transplant import Transplant
    from cnnatomy.training import Recipe

MAX_CLASSES_SHOWN = 25
"""Up to here the confusion matrix is printed; it is in summary.json in any case."""


def beginning(network: Design, data: Data, recipe: Recipe) -> list[str]:
    """Network, data and recipe in a few lines."""
    sizes = ", ".join(f"{len(getattr(data, name)):,} {name}" for name in ("train", "val", "test"))
    shape = "x".join(map(str, data.shape))
    counted = account(network.graph(data.shape), network.name)
    first = f"{network.name}: {counted.totals.parameters:,} parameters, input {shape}"
    if isinstance(network, ListedNetwork):
        last = next((row for row in reversed(counted.rows) if row.parameters), counted.rows[-1])
        first += f"; classified by {last.path}, {last.layer}"
    return [
        first,
        f"{data.source}: {len(data.classes)} classes, {sizes}",
        *data.report.lines(),
        f"SGD, learning rate {recipe.learning_rate:g}, momentum {recipe.momentum:g},"
        f" weight decay {recipe.weight_decay:g}, batches of {recipe.batch_size},"
        f" {recipe.epochs} epochs at most, seed {recipe.seed}",
    ]


def ending(outcome: Outcome) -> str:
    """How long it took, and which epoch was kept."""
    count = len(outcome.epochs)
    seconds = sum(epoch.seconds for epoch in outcome.epochs)
    ended = f"stopped early after {count}" if outcome.stopped_early else f"{count}"
    return (
        f"{ended} epochs in {seconds:.1f} s; best by validation: epoch {outcome.best.epoch},"
        f" loss {outcome.best.val_loss:.4f}, accuracy {outcome.best.val_accuracy:.2%}"
    )


def evaluation(result: Evaluation, what: str, format: str = "table") -> str:
    """Top-1, top-5, a line a class, and the confusion matrix of a few classes; or everything as JSON."""
    if format == "json":
        return json.dumps({"data": what, **result.as_dict()}, indent=2, ensure_ascii=False)
    columns = [
        Column("class", "class"),
        Column("precision", "precision", _share, number=True),
        Column("recall", "recall", _share, number=True),
        Column("images", "images", "{:,}".format, number=True),
    ]
    if len(result.classes) <= MAX_CLASSES_SHOWN:
        columns.append(Column("taken_for", "taken for, in the order of the classes"))
    wide = len(str(max(max(row) for row in result.confusion)))
    records = [
        {
            "class": name,
            "precision": precision,
            "recall": recall,
            "images": sum(row),
            "taken_for": " ".join(f"{count or '.':>{wide}}" for count in row),
        }
        for name, precision, recall, row in zip(
            result.classes, result.precision, result.recall, result.confusion, strict=True
        )
    ]
    title = (
        f"{what}: {result.images:,} images\ntop-1 {result.top_1:.2%}  top-5 {result.top_5:.2%}  loss {result.loss:.4f}"
    )
    return render(columns, records, "table", title)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


PREDICTION_FORMATS = ("table", "json", "jsonl", "csv")


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


def _line(answer: Prediction, threshold: float) -> str:
    if answer.error:
        return ""
    if _known(answer, threshold) is None:
        name, probability = answer.classes[0]
        said = f"do not know (most likely {name}, {probability:.1%})"
    else:
        said = "  ".join(f"{name} {probability:.1%}" for name, probability in answer.classes)
    return f"{printable(answer.path)}: {said}\n"


def _csv(answer: Prediction, threshold: float) -> str:
    """A line for each of its classes, or one that says what is wrong."""
    if answer.error:
        return _csv_line(answer.path, "", "", "", answer.error, "")
    known = _known(answer, threshold) or ""
    return "".join(
        _csv_line(answer.path, rank, name, f"{probability:.6f}", "", known)
        for rank, (name, probability) in enumerate(answer.classes, 1)
    )


def _csv_line(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # so that it quotes what has either in it
    return _escaped(text.getvalue().removesuffix("\r\n") + "\n")


def _json(answer: Prediction, threshold: float, indentation: int | None = None) -> str:
    record: dict[str, Any] = {"image": str(answer.path)}
    if answer.error:
        record["error"] = answer.error
    else:
        record["class"] = _known(answer, threshold)
        record["predictions"] = [{"class": name, "probability": probability} for name, probability in answer.classes]
    return _escaped(json.dumps(record, indent=indentation, ensure_ascii=False, allow_nan=False))


def _known(answer: Prediction, threshold: float) -> str | None:
    """The likeliest class, if it is as likely as that."""
    name, probability = answer.classes[0]
    return name if probability >= threshold else None


def _escaped(text: str) -> str:
    r"""With `\udcNN` for a byte NN of a file's name that is no UTF-8: what JSON writes for it, and Python's `repr`."""
    return text.encode("utf-8", "backslashreplace").decode()


def transplanted(done: Transplant, network: Design, source: str) -> list[str]:
    """How many layers of a network took the weights of another, and how the outputs compare."""
    lines = [f"{len(done.pairs)} layers of {network.name} took the weights of {source}."]
    if done.reordered:
        lines.append(f"{done.reordered} of them stand at another place in the order there.")
    if done.left_out:
        some = ", ".join(done.left_out[:5])
        lines.append(f"{len(done.left_out)} layers there, which do not run in evaluation, are left out: {some}")
    if done.difference is not None:
        lines.append(f"Outputs on random input are equal: largest difference {done.difference:.1e}, relative, float64.")
    else:
        lines.append("A file cannot be run: layers were matched by shape and order, and no outputs were compared.")
    return lines
