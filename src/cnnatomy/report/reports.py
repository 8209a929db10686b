"""What `list` and `show` print."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.catalogue import Entry
from cnnatomy.catalogue.accuracy import ACCURACY, Accuracy
from cnnatomy.errors import counted
from cnnatomy.layers.layer import UNKNOWN, dimensions, elements
from cnnatomy.report.dot import dot
from cnnatomy.report.records import account_record, peak_record, totals_record
from cnnatomy.report.tables import Column, count, mebibytes, paragraphs, render, room_for_tables, short, terminal_width

if TYPE_CHECKING:
    from cnnatomy.readers.yaml.lines import Lines


def shape_text(shape: Any) -> str:
    """A shape as tables print it; nothing for none."""
    return dimensions(tuple(shape)) if shape else ""


class Assumed(NamedTuple):
    """A value of a table that rests on what a reader assumed."""

    value: Any


def _marked(text: Callable[[Any], str]) -> Callable[[Any], str]:
    """The text of a value, with `~` before one that rests on what a reader assumed."""

    def marked(value: Any) -> str:
        found = text(value.value if isinstance(value, Assumed) else value)
        return f"~{found}" if found and isinstance(value, Assumed) else found

    return marked


def _sight(size: Any) -> str:
    """A receptive field: one number where it is square; nothing where there are no pixels."""
    if size is None:
        return ""
    return str(size[0]) if size[0] == size[1] else dimensions(tuple(size))


def show(account: Account, depth: int | None, format: str, lines: Lines | None = None) -> str:
    """The account of one network, a line a layer; with a depth, a line for each part of the tree cut there.

    `lines` are those of the design that was read, if one was.
    """
    if format == "dot":
        return dot(account, depth)
    record = account_record(account, depth, lines)
    if format == "json":
        return json.dumps(record, indent=2)
    macs = count if terminal_width() >= 100 or format != "table" else short_count
    columns = [
        Column("path", "path", shortest=16, short="middle"),
        Column("layer", "layer", shortest=8),
        Column("output", "output", _marked(shape_text)),
        Column("parameters", "parameters", count, number=True),
        Column("macs", "MACs", _marked(macs), number=True),
        Column("sees" if format != "csv" else "receptive_field", "sees", number=True),
    ]
    brief = {row.path: row.node.layer.brief for row in account.rows} if format != "csv" else {}
    for node in record["nodes"]:
        everything = node["sees_all"] and _is_one_pixel(node["output"])
        node["sees"] = "all" if everything else _sight(node["receptive_field"])
        if format != "csv" and node["path"] in brief:
            node["layer"] = brief[node["path"]]
        if node["assumed"] and format != "csv":
            node |= {key: Assumed(node[key]) for key in ("output", "macs")}
    if format == "csv":
        hidden = {"path", "layer", "output", "parameters", "macs", "receptive_field", "sees"}
        columns += [Column(key, key) for key in record["nodes"][0] if key not in hidden] if record["nodes"] else []
    title = f"{account.name or 'network'}, input {account.graph.takes}"
    text = render(columns, record["nodes"], format, title)
    return text if format == "csv" else text + "\n\n" + _summary(account, format)


def _is_one_pixel(shape: Sequence[int]) -> bool:
    """Whether it is a vector, or a map of one pixel."""
    return tuple(shape[1:]) in ((), (1, 1))


def _extent(account: Account) -> str:
    """How many pixels the last feature map sees, and how far apart."""
    field = account.receptive_field
    if field.sees_all and _is_one_pixel(account.features.shape):
        return "all pixels"
    beyond = "; all of them through layers that mix them" if field.sees_all else ""
    return f"{_sight(field.size)} pixels every {field.stride[0]}{beyond}"


def short_count(number: int | None) -> str:
    """A count with a unit; nothing for zero."""
    return short(number) if number else ""


def _summary(account: Account, format: str) -> str:
    """The totals in words, each with its unit."""
    totals, peak = totals_record(account.totals), peak_record(account)
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
            shape_text(account.features.shape) + (f", sees {_extent(account)}" if account.has_pixels else ""),
        ),
        ("depth", f"{account.depth} weight layers on the longest path, {totals['layers']} layers in all"),
    ]
    unknown = [row for row in account.rows if row.kind == UNKNOWN]
    if unknown:
        named = ", ".join(f"{row.path} ({getattr(row.node.layer, 'what', '')})" for row in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        lines.append(("NOT COUNTED", f"operations of {counted(len(unknown), 'layer')}: {named}{more}"))
    lines += [("RESTS ON", text) for text in resting_lines(account)]
    unused = account.graph.unused
    if unused:
        size = sum(elements(shape) for _, shape in unused)
        named = ", ".join(name for name, _ in unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
        lines.append(("not used", f"{size:,} parameters that the module has and does not use: {named}"))
    if format == "markdown":
        return "\n".join(f"- **{name}**: {text}" for name, text in lines)
    return paragraphs(lines)


def resting_lines(account: Account) -> list[str]:
    """For each thing that only running the network can tell: what was assumed, and how much rests on that."""
    lines = []
    for what in account.rests_on:
        rows = [row for row in account.rows if what in row.rests_on]
        macs = sum(row.macs for row in rows)
        share = f"{counted(len(rows), 'layer')} and {macs:,} of the MACs (marked ~)"
        lines.append(f"{what}: {share}, from {rows[0].path} on")
    return lines


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1f}"


NOT_PUBLISHED = Accuracy(None, None, "")
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
        for accuracy in (ACCURACY.get(entry.name, NOT_PUBLISHED),)
    ]
    columns = [
        Column("name", "name", shortest=20, short="own line"),
        Column("family", "family"),
        Column("year", "year", number=True),
        Column("input", "input", shape_text),
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
        room = room_for_tables() or sys.maxsize
        shown = [column for column in columns if room >= _ROOM_FOR.get(column.key, 0)]
        left_out = ", ".join(column.heading for column in columns if column not in shown)
        note = textwrap.fill(f"for {left_out}: a wider terminal, or --format csv", room) if left_out else ""
        return render(shown, records, format) + (f"\n{note}" if note else "")
    return render(columns, records, format)
