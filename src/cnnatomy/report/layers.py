"""The layers and blocks that a design may use: for the terminal, as data, and as a page of the documentation."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
import typing
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import yaml

from cnnatomy.analysis import account
from cnnatomy.design import BLOCKS, HEADS, Block, Named, Node
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import Layer
from cnnatomy.layers.layer import KINDS, Shape, Value, dimensions
from cnnatomy.plain import type_text
from cnnatomy.readers.yaml.design import hints, holds_parts, known_types, written
from cnnatomy.readers.yaml.examples import example
from cnnatomy.report.tables import Column, paragraphs, render, terminal_width

FAMILIES = ("chain", "parallel", "dense", "residual", "searched")
"""The folders of the catalogue, in the order of the lectures."""

GENERAL, OF_HEADS = "blocks of general use", "heads"
GROUPS = (
    *(f"layers: {kind}" for kind in KINDS),
    GENERAL,
    OF_HEADS,
    *(f"blocks of {family} networks" for family in FAMILIES),
)


class Argument(NamedTuple):
    """A field of a layer or block, as a design writes it; a default of None means that it has to be given."""

    name: str
    type: str
    default: str | None


class Described(NamedTuple):
    """What is said of a kind; shapes and costs are those of the example."""

    name: str
    group: str
    text: str
    arguments: list[Argument]
    example: str
    inputs: list[Shape]
    outputs: list[Shape]
    parameters: int
    macs: int

    @property
    def summary(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0]


def explain(names: Sequence[str], format: str) -> str:
    """The kinds of these names with arguments, costs and examples; all of them, in a line each, if none is named.

    Raises:
        UserError: if there is no such layer or block.
    """
    kinds = [_find(name) for name in names] or in_groups()
    if format == "json":
        return json.dumps([_record(describe(kind)) for kind in kinds], indent=2, ensure_ascii=False)
    if names:
        section = _section if format == "markdown" else _explained
        return ("\n\n" if format == "markdown" else "\n\n\n").join(section(describe(kind)) for kind in kinds)
    if format == "markdown":
        columns = [Column("name", "name"), Column("group", "kind"), Column("summary", "what it is")]
        records = [{"name": k.__name__, "group": group_of(k), "summary": _text(k).partition("\n")[0]} for k in kinds]
        return render(columns, records, format)
    width = max(len(kind.__name__) for kind in kinds)
    parts = []
    for group, members in groupby(kinds, key=group_of):
        lines = [(f"  {kind.__name__:<{width}}", _text(kind).partition("\n")[0]) for kind in members]
        parts.append(f"{group}\n{paragraphs(lines)}")
    return "\n\n".join(parts) + "\n\narguments, costs and an example: cnnatomy layers NAME"


def in_groups() -> list[type[Value]]:
    """Every kind that a design may use, group by group."""
    return sorted(known_types().values(), key=lambda kind: GROUPS.index(group_of(kind)))


def group_of(kind: type[Value]) -> str:
    """One of `GROUPS`: of a layer by what it mixes, of a block by where it is made for."""
    if issubclass(kind, Layer):
        return f"layers: {kind.kind}"
    if kind in HEADS:
        return OF_HEADS
    return GENERAL if kind in (*BLOCKS, Named) else f"blocks of {kind.__module__.split('.')[2]} networks"


def _find(name: str) -> type[Value]:
    kinds = known_types()
    found = {known.lower(): kind for known, kind in kinds.items()}.get(name.lower())
    if found is None:
        hint = nearest(name, kinds)
        raise UserError(f"there is no layer or block called {name!r}.{hint} `cnnatomy layers` lists all.")
    return found


def describe(kind: type[Value]) -> Described:
    """What is said of a kind, with its example counted."""
    shown = example(kind.__name__)
    counted, at = account(shown.graph), shown.at
    totals = counted.part(at.path) if at.path else counted.totals
    outputs = [at.output] if isinstance(at, Node) else at.outputs
    return Described(
        kind.__name__,
        group_of(kind),
        _text(kind),
        _arguments(kind),
        shown.text,
        [x.shape for x in at.inputs],
        [x.shape for x in outputs],
        totals.parameters,
        totals.macs,
    )


def _text(kind: type[Value]) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _arguments(kind: type[Value]) -> list[Argument]:
    types_of = hints(typing.cast(Any, kind))
    fields = dataclasses.fields(typing.cast(Any, kind))
    return [Argument(field.name, _type_text(types_of[field.name]), _default(field)) for field in fields]


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default is dataclasses.MISSING:
        return None
    text: str = yaml.safe_dump(written(field.default), default_flow_style=True)
    return text.removesuffix("...\n").strip()


_PARTS = {Layer: "layer", Block: "block", Named: "named part"}


def _type_text(hint: Any) -> str:
    """`plain.type_text`, also for parts."""
    options = typing.get_args(hint)
    if hint in _PARTS:
        return _PARTS[hint]
    if typing.get_origin(hint) is tuple and options[-1] is ... and holds_parts(options[0]):
        return "list of parts, or mapping of names to parts"
    if options and holds_parts(hint):
        return " or ".join(dict.fromkeys(map(_type_text, options)))
    return type_text(hint)


def _record(shown: Described) -> dict[str, Any]:
    return {
        "name": shown.name,
        "group": shown.group,
        "text": shown.text,
        "arguments": [
            {"name": a.name, "type": a.type, "required": a.default is None, "default": a.default}
            for a in shown.arguments
        ],
        "example": {
            "yaml": shown.example,
            "inputs": [list(shape) for shape in shown.inputs],
            "outputs": [list(shape) for shape in shown.outputs],
            "parameters": shown.parameters,
            "macs": shown.macs,
        },
    }


_COLUMNS = (
    Column("name", "argument"),
    Column("default", "default", lambda default: "required" if default is None else default),
    Column("type", "type"),
)


def _costs(shown: Described) -> list[tuple[str, str]]:
    return [
        ("reads", " and ".join(map(dimensions, shown.inputs))),
        ("makes", " and ".join(map(dimensions, shown.outputs))),
        ("parameters", f"{shown.parameters:,}"),
        ("MACs", f"{shown.macs:,}"),
    ]


def _explained(shown: Described) -> str:
    width = terminal_width()
    first, *rest = shown.text.split("\n\n")
    heading = textwrap.fill(f"{shown.name} ({shown.group}): {' '.join(first.split())}", width)
    blocks = [heading, *(textwrap.fill(" ".join(paragraph.split()), width) for paragraph in rest)]
    if shown.arguments:
        lines = [(f"  {argument.name}", f"{argument.type} ({_given(argument)})") for argument in shown.arguments]
        blocks.append("arguments\n\n" + paragraphs(lines))
    pasted = textwrap.indent(shown.example.rstrip("\n"), "  ")
    return "\n\n".join([*blocks, f"for example, as a design says it\n\n{pasted}", paragraphs(_costs(shown))])


def _given(argument: Argument) -> str:
    return "required" if argument.default is None else f"default {argument.default}"


def _section(shown: Described) -> str:
    parts = [f"### {shown.name}", shown.text]
    if shown.arguments:
        parts.append(render(_COLUMNS, [argument._asdict() for argument in shown.arguments], "markdown"))
    reads, makes, parameters, macs = (text for _, text in _costs(shown))
    parts.append(f"```yaml\n{shown.example.rstrip()}\n```")
    parts.append(f"{reads} becomes {makes}: {parameters} parameters, {macs} MACs.")
    return "\n\n".join(parts)


def page() -> str:
    """`docs/layers.md`."""
    parts = [
        "# Layers and blocks\n\n<!-- Generated by `make tables`; do not edit. -->",
        "Everything that a [YAML design](designs.md#in-yaml) may use, by its name; in Python each is a class with the"
        " same arguments. In the terminal:\n`cnnatomy layers`, `cnnatomy layers Conv`. Each has an example to paste"
        " as a part of a design, with the shapes that the layer\nor block reads and makes there, and what it costs.",
    ]
    for group, members in groupby(in_groups(), key=group_of):
        kinds = list(members)
        links = ", ".join(f"[{kind.__name__}](#{kind.__name__.lower()})" for kind in kinds)
        parts += [f"## {group[0].upper()}{group[1:]}", links, *(_section(describe(kind)) for kind in kinds)]
    return "\n\n".join(parts) + "\n"
