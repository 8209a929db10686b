"""What `list`, `show` and `compare` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cnnatomy.analysis import Account
from cnnatomy.catalogue import Entry
from cnnatomy.catalogue.accuracy import ACCURACY, Accuracy
from cnnatomy.export import comparison
from cnnatomy.export.records import account_record, peak_record, totals_record
from cnnatomy.export.tables import Column, count, mebibytes, render, rendered, short, terminal_width
from cnnatomy.layers.layer import UNKNOWN, dimensions, elements


def _shape(shape: Any) -> str:
    return dimensions(tuple(shape)) if shape else ""


def _sight(size: Any) -> str:
    """A receptive field: one number where it is square."""
    return str(size[0]) if size[0] == size[1] else dimensions(tuple(size))


def show(account: Account, depth: int | None, format: str) -> str:
    """The account of one network, a line a layer; with a depth, a line for each part of the tree cut there."""
    record = account_record(account, depth)
    if format == "json":
        return json.dumps(record, indent=2)
    macs = count if terminal_width() >= 100 or format != "table" else short_count
    columns = [
        Column("path", "path", shortest=20),
        Column("layer", "layer", shortest=8),
        Column("output", "output", _shape),
        Column("parameters", "parameters", count, number=True),
        Column("macs", "MACs", macs, number=True),
        Column("sees" if format != "csv" else "receptive_field", "sees", number=True),
    ]
    for node in record["nodes"]:
        pooled = node["sees_all"] and node["output"][1:] in ([], [1, 1])
        node["sees"] = "all" if pooled else _sight(node["receptive_field"])
    if format == "csv":
        hidden = {"path", "layer", "output", "parameters", "macs", "receptive_field", "sees"}
        columns += [Column(key, key) for key in record["nodes"][0] if key not in hidden] if record["nodes"] else []
    title = f"{account.name or 'network'}, input {_shape(account.input)}"
    text = render(columns, record["nodes"], format, title)
    return text if format == "csv" else text + "\n\n" + _summary(account, format)


def short_count(number: int | None) -> str:
    """A count with a unit; nothing for zero."""
    return short(number) if number else ""


def _summary(account: Account, format: str) -> str:
    """The totals in words, each with its unit."""
    totals, peak = totals_record(account.totals), peak_record(account)
    field = account.receptive_field
    kinds = ("multiplies", "adds", "compares", "divides", "exponentials")
    others = ", ".join(f"{totals[kind]:,} {kind}" for kind in kinds)
    lines = [
        ("parameters", f"{totals['parameters']:,} ({mebibytes(totals['parameter_bytes'])} as float32)"),
        ("buffers", f"{totals['buffers']:,} (statistics that are stored, not learned)"),
        ("MACs", f"{totals['macs']:,} ({short(totals['macs'])}; multiply-accumulates for one image)"),
        ("other operations", others),
        ("feature maps", f"{totals['feature_map_elements']:,} elements ({mebibytes(totals['feature_map_bytes'])})"),
        (
            "peak memory",
            f"{mebibytes(peak['peak_feature_map_bytes'])} of feature maps at {peak['peak_feature_map_at']}",
        ),
        (
            "last feature map",
            f"{_shape(account.features.shape)}, sees {_sight(field.size)} pixels every {field.stride[0]}",
        ),
        ("depth", f"{account.depth} weight layers on the longest path, {totals['layers']} layers in all"),
    ]
    unknown = [row for row in account.rows if row.kind == UNKNOWN]
    if unknown:
        named = ", ".join(f"{row.path} ({getattr(row.node.layer, 'what', '')})" for row in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        lines.append(("NOT COUNTED", f"operations of {len(unknown)} layers: {named}{more}"))
    unused = account.graph.unused
    if unused:
        size = sum(elements(shape) for _, shape in unused)
        named = ", ".join(name for name, _ in unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
        lines.append(("not used", f"{size:,} parameters that the module has and does not use: {named}"))
    if format == "markdown":
        return "\n".join(f"- **{name}**: {text}" for name, text in lines)
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for line in lines:
        table.add_row(*line)
    return rendered(table)


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1f}"


_NOT_PUBLISHED = Accuracy(None, None, "")
_ROOM_FOR = {"accuracy_source": 200, "summary": 150, "family": 110, "year": 110, "input": 110}
"""Columns of the listing that only wide terminals have room for, and how wide."""


def listing(rows: Sequence[tuple[Entry, Account]], format: str) -> str:
    """The catalogue, a line a network."""
    records = [
        {
            "name": entry.name,
            "family": entry.family,
            "year": entry.year,
            "input": list(entry.input),
            "parameters": account.totals.parameters,
            "macs": account.totals.macs,
            "depth": account.depth,
            "receptive_field": list(account.receptive_field.size),
            "top1": accuracy.top1,
            "top5": accuracy.top5,
            "summary": entry.summary,
            "aliases": list(entry.aliases),
            "paper": entry.paper,
            "accuracy_source": accuracy.source or None,
        }
        for entry, account in rows
        for accuracy in (ACCURACY.get(entry.name, _NOT_PUBLISHED),)
    ]
    columns = [
        Column("name", "name", shortest=20),
        Column("family", "family"),
        Column("year", "year", number=True),
        Column("input", "input", _shape),
        Column("parameters", "parameters", short if format == "table" else count, number=True),
        Column("macs", "MACs", short if format == "table" else count, number=True),
        Column("depth", "depth", number=True),
        Column("receptive_field", "sees", _sight, number=True),
        Column("top1", "top-1", _percent, number=True),
        Column("top5", "top-5", _percent, number=True),
        Column("summary", "what it is", shortest=10),
    ]
    if format in ("json", "csv"):
        columns += [Column("aliases", "aliases"), Column("paper", "paper")]
    columns.append(Column("accuracy_source", "whose accuracy", lambda source: source or "", shortest=14))
    if format == "table":
        columns = [column for column in columns if terminal_width() >= _ROOM_FOR.get(column.key, 0)]
    return render(columns, records, format)


_COMPARED = (
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


def compare(accounts: Sequence[Account], format: str, known: Sequence[dict[str, float | None]] = ()) -> str:
    """Networks side by side, each figure with its ratio to the first network's.

    `known` are the figures of `comparison.ROWS` for each network; a table leaves out those that no network has.
    """
    names = [account.name for account in accounts]
    keys = [name if names.count(name) == 1 else f"{name} #{i + 1}" for i, name in enumerate(names)]
    figures = [_figures(account) for account in accounts]
    for got, more in zip(figures, known, strict=False):
        got |= more
    if format == "json":
        networks = [
            {"name": key, "input": list(account.input)}
            | got
            | {"ratio": {figure: _ratio(got[figure], figures[0][figure]) for figure in got}}
            for key, account, got in zip(keys, accounts, figures, strict=True)
        ]
        return json.dumps({"networks": networks}, indent=2)
    records = [
        {"figure": heading if format != "csv" else figure}
        | {key: got[figure] for key, got in zip(keys, figures, strict=True)}
        | {f"{key} ratio": _ratio(got[figure], figures[0][figure]) for key, got in zip(keys, figures, strict=True)}
        for figure, heading in [*_COMPARED, *comparison.ROWS]
        if any(got.get(figure) is not None for got in figures)
    ]
    columns = [Column("figure", "")]
    for i, (key, account) in enumerate(zip(keys, accounts, strict=True)):
        heading = f"{key} {_shape(account.input)}"
        columns.append(Column(key, heading, _figure, number=True))
        if i:
            columns.append(Column(f"{key} ratio", "ratio", lambda r: "" if r is None else f"x {r:.3g}", number=True))
    return render(columns, records, format)


def _figures(account: Account) -> dict[str, Any]:
    totals = totals_record(account.totals) | {"depth": account.depth}
    field = account.receptive_field
    totals |= peak_record(account) | {"training_bytes": account.training_memory.total}
    totals |= {"receptive_field": field.size[0], "stride": field.stride[0]}  # type: ignore[dict-item]
    return {figure: totals[figure] for figure, _ in _COMPARED}


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"


def _ratio(number: float | None, first: float | None) -> float | None:
    return number / first if first and number is not None else None
