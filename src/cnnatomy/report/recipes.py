"""What is said of recipes: which there are, what each is, and what tells two of them and their networks apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import yaml

from cnnatomy.analysis import account
from cnnatomy.analysis.accounting import Account, Row
from cnnatomy.catalogue import network
from cnnatomy.layers import (
    Conv,
    DepthwiseConv,
    Dropout,
    LocalResponseNorm,
    Maxout,
    PartialConv,
    PReLU,
)
from cnnatomy.layers import activation as nonlinearities
from cnnatomy.layers.layer import Layer, dimensions, pair
from cnnatomy.layers.training import NORMALISATIONS
from cnnatomy.report.tables import Column, paragraphs, render

if TYPE_CHECKING:  # torch takes longer to import than everything here
    from cnnatomy.training.shipped import Shipped

CONVOLUTIONS = (Conv, PartialConv, DepthwiseConv)


def every(format: str) -> str:
    """The recipes that come with cnnatomy, a line each."""
    from cnnatomy.training.shipped import SHIPPED

    if format != "table":
        listed = [{"name": name, "title": one.title, "network": one.network or None} for name, one in SHIPPED.items()]
        return _dumped(listed, format)
    lines = paragraphs([(name, one.title) for name, one in SHIPPED.items()])
    return (
        f"{lines}\n\nwhat is in one: cnnatomy recipe NAME; what tells two apart: cnnatomy recipe NAME OTHER;\n"
        "as a file to change, for `train --recipe FILE.yaml`: cnnatomy recipe NAME --format yaml"
    )


def one(name: str, format: str) -> str:
    """A recipe: in a table what differs from the default or has a source; as YAML a file that reads back as it.

    Raises:
        UserError: if there is no such recipe, or its file is none.
    """
    from cnnatomy.training.recipes import find

    found = find(name)
    if format == "yaml":
        title = "".join(f"# {line}\n" for line in _heading(name, found))
        return f"{title}{found.recipe.as_yaml()}".rstrip("\n")
    records = _records(found)
    if format == "json":
        told = {
            "name": name,
            "title": found.title,
            "network": found.network or None,
            "recipe": found.recipe.as_dict(),
            "fields": records,
            "besides": list(found.besides),
        }
        return _dumped(told, format)
    lines = [(f"{record['field']}: {_text(record['value'])}", _said(record)) for record in records]
    told_of = [paragraphs(lines)] if lines else []
    rest = "every other field is as it is by default"
    return "\n\n".join(["\n".join(_heading(name, found)), *told_of, *_besides("besides", found.besides), rest])


def _said(record: dict[str, Any]) -> str:
    """What a field is, and where its value is from."""
    return f"{record['about']}; {record['source']}" if record["source"] else str(record["about"])


def _heading(name: str, found: Shipped) -> list[str]:
    return [f"{name}: {found.title}", *([f"for {found.network}"] if found.network else [])]


def _records(found: Shipped) -> list[dict[str, Any]]:
    """The fields that differ from the default, or have a source."""
    from cnnatomy.training.schema import Recipe, about

    values, usual = found.recipe.as_dict(), Recipe().as_dict()
    return [
        {"field": name, "value": value, "about": about(name), "source": found.sources.get(name, "")}
        for name, value in values.items()
        if value != usual[name] or name in found.sources
    ]


def difference(first: str, second: str, format: str) -> str:
    """What tells two recipes apart, and the networks that they are for.

    Raises:
        UserError: if there is no such recipe, or a file is none.
    """
    from cnnatomy.training.recipes import find
    from cnnatomy.training.schema import FIELDS, about

    names, found = (first, second), (find(first), find(second))
    changed = [
        {"field": name, "first": values[0], "second": values[1], "about": about(name)}
        for name in FIELDS
        for values in [[one.recipe.as_dict()[name] for one in found]]
        if values[0] != values[1]
    ]
    networks = [one.network for one in found]
    designs = _designs(networks) if all(networks) else []
    if format != "table":
        told = {
            "names": list(names),
            "fields": changed,
            "networks": networks,
            "designs": designs,
            "besides": [list(one.besides) for one in found],
        }
        return _dumped(told, format)
    text = "\n".join(line for name, one in zip(names, found, strict=True) for line in _heading(name, one))
    tables = [
        _table("field", names, _text, changed, [Column("about", "what it is", shortest=24)]),
        _table("of the networks", networks, str, [one for one in designs if one["first"] != one["second"]]),
    ]
    besides = [
        line for name, one in zip(names, found, strict=True) for line in _besides(f"besides, {name}", one.besides)
    ]
    return "\n\n".join([text, *([table for table in tables if table] or ["no field differs"]), *besides])


def _table(
    heading: str,
    names: Sequence[str],
    text: Callable[[Any], str],
    records: Sequence[dict[str, Any]],
    more: Sequence[Column] = (),
) -> str:
    """What differs, a line each, with the two values below their names; nothing where nothing does."""
    columns = [
        Column("field", heading),
        Column("first", names[0], text, shortest=16),
        Column("second", names[1], text, shortest=16),
        *more,
    ]
    return render(columns, records, "table").strip("\n") if records else ""


def _designs(networks: Sequence[str]) -> list[dict[str, str]]:
    """What is told of two networks of the catalogue, side by side."""
    accounts = [account(graph.graph(), name) for name in networks for graph in [network(name)]]
    first, second = map(_facts, accounts)
    return [{"field": what, "first": first[what], "second": second[what]} for what in first]


def _facts(counted: Account) -> dict[str, str]:
    """What a network is made of, in words."""
    rows = counted.rows
    layers = [row.node.layer for row in rows]
    dropouts = [f"Dropout({layer.rate:g})" for layer in layers if isinstance(layer, Dropout)]
    head = [row for row in rows if row.path.startswith("head.") and row.parameters]
    return {
        "input": dimensions(counted.graph.inputs[0].shape),
        "weight layers": str(counted.depth),
        "parameters": f"{counted.totals.parameters:,}",
        "MACs": f"{counted.totals.macs:,}",
        "kernels": _counted(f"{rows_}x{columns}" for rows_, columns in _kernels(layers)),
        "nonlinearity": _counted(type(layer).__name__ for layer in layers if _is_nonlinear(layer)),
        "pooling": _counted(type(layer).__name__ for layer in layers if "Pool" in type(layer).__name__),
        "normalisation": _counted(
            type(layer).__name__ for layer in layers if isinstance(layer, (*NORMALISATIONS, LocalResponseNorm))
        ),
        "dropout": _counted(dropouts),
        "head": _head(head),
    }


def _kernels(layers: Iterable[Layer]) -> list[tuple[int, int]]:
    return [pair(layer.kernel) for layer in layers if isinstance(layer, CONVOLUTIONS)]


def _is_nonlinear(layer: Layer) -> bool:
    return isinstance(layer, (PReLU, Maxout)) or type(layer).__module__ == nonlinearities.__name__


def _head(rows: Iterable[Row]) -> str:
    """Its layers with weights, and the shapes of their outputs: FullyConnected 120, 84, 10."""
    alike = groupby(rows, lambda row: type(row.node.layer).__name__)
    return ", ".join(f"{name} {', '.join(dimensions(row.output) for row in some)}" for name, some in alike) or "none"


def _counted(words: Iterable[str]) -> str:
    """Each word once, in order, with how often it comes."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(word if number == 1 else f"{number} {word}" for word, number in counts.items()) or "none"


def _besides(heading: str, besides: Sequence[str]) -> list[str]:
    """What is no field, below a heading; nothing where there is nothing."""
    return [heading + "\n" + paragraphs([("  -", text) for text in besides])] if besides else []


def _text(value: Any) -> str:
    """A value as it is written in YAML, a number of the type float as short as it goes."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("...\n").strip()


def _dumped(told: Any, format: str) -> str:
    if format == "json":
        return json.dumps(told, indent=2, ensure_ascii=False)
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)).rstrip("\n")
