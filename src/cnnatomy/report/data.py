"""What `cnnatomy data` prints of a data set."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from cnnatomy.data.loading import SPLITS
from cnnatomy.errors import printable
from cnnatomy.layers.layer import dimensions
from cnnatomy.report.data_findings import Remark, remarks
from cnnatomy.report.tables import Column, render, terminal_width

if TYPE_CHECKING:
    from cnnatomy.data.inspection.inspection import Inspection, StoredSizes
    from cnnatomy.data.inspection.learned import ToLearn
    from cnnatomy.report.data_views import View

BAR = 24
"""Characters of the longest bar."""
MAX_NAMES = 60
"""Classes that the table for people has."""
MAX_EXAMPLES = 5
GIVEN = "--input"
"""Why the images are looked at in their size, where that was typed."""
SMALL_SIDE = 64
"""Pixels of images for which a network for small ones is proposed."""


def report(found: Inspection, typed: str, format: str, view: View | None = None, has_sheet: bool = False) -> str:
    """Everything as JSON; the counts as CSV or Markdown; or text for people. A view, if any, comes last.

    A sheet is proposed where there is none yet.
    """
    if format == "json":
        whole = record(found) | ({"view": view.record} if view is not None else {})
        return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    if format in ("csv", "markdown"):
        rows = [row for each in found.to_learn for row in _rows(each)]
        heads = [Column("head", "head")] if len(found.to_learn) > 1 else []
        return render([*heads, *_columns(rows, found.to_learn[0].counted)], rows, format)
    parts = [_beginning(found), *map(_table, found.to_learn), _images(found), _remarks(remarks(found))]
    parts += [view.text] if view is not None else []
    return "\n\n".join([part.rstrip("\n") for part in parts if part] + [_next(found, typed, has_sheet)])


def record(found: Inspection) -> dict[str, Any]:
    """As plain data: see `docs/json.md`."""
    data = found.gathered
    return {
        "source": data.source,
        "task": data.task.kind,
        "names": list(data.task.names),
        "input": list(data.shape),
        "input_reason": data.sized.reason,
        "loading": data.loading.as_dict(),
        "images": len(data.names),
        "splits": found.counts,
        "given_splits": [SPLITS[split] for split in sorted(data.has)] if len(data.has) > 1 else [],
        "left_out": found.left_out,
        "refusal": data.refusal or None,
        "targets": [
            {
                "head": each.head,
                "kind": each.kind,
                "counted": each.counted,
                "without": each.without,
                "rows": _rows(each),
            }
            for each in found.to_learn
        ],
        "sizes": asdict(found.sizes) if found.sizes else None,
        "normalisation": asdict(found.moments) if found.moments else None,
        "normalisation_by_class": {name: asdict(values) for name, values in found.by_class.items()},
        "broken": [{"image": printable(name), "reason": reason} for name, reason in found.broken],
        "equal": [
            {
                "images": [printable(data.names[index]) for index in each.images],
                "splits": [SPLITS[data.given[index]] for index in each.images],
                "across_splits": each.across,
                "conflict": each.conflict,
            }
            for each in found.equal
        ],
        "near": [[printable(data.names[index]) for index in pair] for pair in data.divided.near.tolist()],
        "overlaps": [asdict(overlap) for overlap in data.divided.overlaps],
        "flat": [printable(data.names[index]) for index in found.flat],
        "columns": [asdict(column) for column in found.columns],
        "groups": asdict(found.groups) | {"largest": printable(found.groups.largest)} if found.groups else None,
        "subjects": asdict(found.subjects) if found.subjects else None,
        "ignored": data.ignored,
        "skipped_annotations": [{"annotation": what, "reason": why} for what, why in data.skipped_annotations],
        "findings": [
            {"severity": each.severity, "name": each.name, "text": each.text, "examples": list(each.examples)}
            for each in remarks(found)
        ],
    }


def _rows(target: ToLearn) -> list[dict[str, Any]]:
    return [
        {"head": target.head, "name": row.name, **row.counts, "total": row.total, **row.figures} for row in target.rows
    ]


def _columns(rows: Sequence[dict[str, Any]], counted: str) -> list[Column]:
    """A column for each figure that a row has; those of counts come first."""
    known = ("head", "name", *SPLITS, "total")
    figures = dict.fromkeys(key for row in rows for key in row if key not in known)
    counts = [Column(key, key, "{:,}".format, number=True) for key in (*SPLITS, "total")]
    named = Column("name", "class" if counted in ("images", "objects") else "name", printable, shortest=12)
    return [
        named,
        *counts,
        *(Column(key, key.replace("_", " "), partial(_figure, key), number=True) for key in figures),
    ]


def _figure(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.startswith("share"):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _beginning(found: Inspection) -> str:
    data = found.gathered
    task = f"{len(data.task.names):,} classes" if data.task.kind == "label" else data.task.kind
    lines = [
        f"{printable(data.source)}: {task}, {len(data.names):,} images",
        f"looked at as {dimensions(data.shape)} ({data.sized.reason}), --fit {data.loading.fit}",
        f"splits: {_splits(found)}" + (f"; {found.left_out:,} left out" if found.left_out else ""),
    ]
    return "\n".join(lines)


def _splits(found: Inspection) -> str:
    data = found.gathered
    sizes = ", ".join(f"{found.counts[name]:,} {name}" for name in SPLITS if found.counts[name])
    if not sizes:
        return "no usable image"
    if data.drawn:
        return f"{sizes} (drawn by cnnatomy)"
    cut = [name for split, name in enumerate(SPLITS) if split not in data.has]
    if not cut or (data.refusal and len(data.has) > 1):
        return f"{sizes} (as the data set has them)"
    if data.refusal:
        return "not divided"
    by_class = " by class" if data.task.kind in ("label", "labels") else ""
    return f"{sizes} ({' and '.join(cut)} cut off train{by_class})"


def _table(target: ToLearn) -> str:
    """Counts by split with bars, and the figures of its kind."""
    rows = _rows(target)
    most = max((row["total"] for row in rows), default=0) or 1
    bars = Column("total", target.counted, lambda total: "█" * max(round(BAR * total / most), total > 0))
    columns = [bars if column.key == "total" else column for column in _columns(rows, target.counted)]
    title = f"{target.head}: {target.kind}" if target.head else ""
    text = render(columns, rows[:MAX_NAMES], "table", title).rstrip("\n")
    more = len(rows) - MAX_NAMES
    return text + (f"\n  and {more:,} more: --format csv has all" if more > 0 else "")


def _images(found: Inspection) -> str:
    lines = [("sizes", _sizes(found.sizes))] if found.sizes else []
    values = found.moments
    if values:
        mean, std = (" ".join(f"{value:.4f}" for value in each) for each in (values.mean, values.std))
        lines.append(
            ("pixels", f"mean {mean}, standard deviation {std} of the training images, from 0 to 1 by channel")
        )
    return "\n".join(_filled(f"{name:<10}", text) for name, text in lines)


def _sizes(sizes: StoredSizes) -> str:
    smallest, median, largest = (
        f"{rows:,} x {columns:,}" for rows, columns in (sizes.smallest, sizes.median, sizes.largest)
    )
    text = f"{smallest} (rows x columns)"
    if sizes.distinct > 1:
        text = f"{smallest} to {largest}, median {median} (rows x columns); {sizes.distinct:,} different sizes"
    if sizes.turned:
        text += f"; {sizes.turned:,} turned upright by their EXIF"
    kinds = [f"{count:,} {kind}" for count, kind in ((sizes.colour, "in colour"), (sizes.grey, "grey")) if count]
    return f"{text}; {', '.join(kinds)}"


def _remarks(found: Sequence[Remark]) -> str:
    if not found:
        return "nothing to object to"
    lines = []
    for remark in found:
        lines.append(_filled(f"{remark.severity:<10}", remark.text))
        if remark.name not in ("few", "rare", "unseen"):  # their sentence names them
            lines += [f"{'':<12}{_cut(example)}" for example in remark.examples[:MAX_EXAMPLES]]
            more = len(remark.examples) - MAX_EXAMPLES
            lines += [f"{'':<12}and {more:,} more: --format json has all"] if more > 0 else []
    return "\n".join(lines)


def _cut(text: str) -> str:
    text = printable(text)
    width = terminal_width() - 12
    return text if len(text) <= width else text[: width - 1] + "…"


def _filled(name: str, text: str) -> str:
    width, indent = terminal_width(), " " * len(name)
    return textwrap.fill(
        text, width, initial_indent=name, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _next(found: Inspection, typed: str, has_sheet: bool) -> str:
    """Commands to go on with."""
    data = found.gathered
    name = shlex.quote(typed)
    if data.refusal:
        return f"next: put right what the error says, and look again: cnnatomy data {name}"
    options = f" --fit {data.loading.fit}" if data.loading.fit != "auto" else ""
    options += f" --group {shlex.quote(data.loading.group)}" if data.loading.group else ""
    options += f" --input {dimensions(data.shape)}" if data.sized.reason == GIVEN else ""
    see = "" if has_sheet else f"  cnnatomy data {name}{options} --sheet sheet.html    look at them\n"
    if data.task.kind not in ("label", "labels", "numbers"):
        return f"next:\n{see}  a network whose head gives {data.task.kind}: docs/tasks.md"
    side = max(data.shape[1:])
    network = "resnet-18" if side > SMALL_SIDE else "resnet-20-cifar" if data.shape[0] == 3 else "lenet-5"
    return f"next:\n{see}  cnnatomy train {network} --data {name}{options}"
