"""YAML designs: a network written as data, and read back as the same value. See `docs/designs.md` for the format."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from cnnatomy import catalogue
from cnnatomy.design import BLOCKS, Block, Composition, Named, Network
from cnnatomy.design.blocks import Part
from cnnatomy.design.graph import check_name, check_shape
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.layers import LAYERS, Layer
from cnnatomy.layers.layer import Value
from cnnatomy.limits import MAX_LAYERS, MAX_NESTING
from cnnatomy.plain import checked, type_text
from cnnatomy.readers.yaml import source as yaml_source

PARTS, TIMES = ("tail", "body", "head"), "times"
"""Words of the format."""

CRITIQUE = "critique"
"""A key that says nothing of the network: see `aside`."""

Types = dict[str, type[Value]]


@functools.cache
def known_types() -> Types:
    """Every layer and block that a design can name."""
    return {kind.__name__: kind for kind in (*LAYERS, *BLOCKS, Named, *catalogue.BLOCKS)}


def write(network: Network) -> str:
    """A network as YAML, which `read` turns into an equal value."""
    design: dict[str, Any] = {"name": network.name} if network.name else {}
    design |= {"input": list(network.input)}
    return dump(design | {name: written(getattr(network, name)) for name in ("tail", "body", "head")})


def dump(design: dict[str, Any] | list[Any]) -> str:
    """A design, or a list of its parts, as YAML."""
    return yaml.dump(design, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


def inline(value: Any) -> str:
    """Plain data as YAML on one line."""
    said: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=sys.maxsize)
    return said.removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # a block used twice is written twice: anchors are hard to edit
        return True


def written(value: Any) -> Any:
    """A layer or block, or a field of one, as plain data."""
    if isinstance(value, Named):
        part = written(value.part)
        return {"Named": {"name": value.name, "part": part}} if value.name in known_types() else {value.name: part}
    if isinstance(value, (list, tuple)):
        return [written(item) for item in value]
    if not isinstance(value, Value):
        return value
    name = type(value).__name__
    if isinstance(value, Composition):
        parts = written_parts(value.parts)
        options = {
            f.name: written(getattr(value, f.name))
            for f in dataclasses.fields(typing.cast(Any, value))[1:]
            if getattr(value, f.name) != f.default
        }
        return {name: {"parts": parts, **options} if options else parts}
    fields = {
        f.name: written(getattr(value, f.name))
        for f in dataclasses.fields(typing.cast(Any, value))
        if f.default is dataclasses.MISSING or getattr(value, f.name) != f.default
    }
    return {name: fields} if fields else name


def written_parts(parts: Iterable[Part]) -> list[Any]:
    """The parts as a list, in which equal neighbours without names become one with `times`."""
    items: list[Any] = []
    previous: Part | None = None
    for part in parts:
        if previous is not None and part == previous and not isinstance(part, Named):
            last = items[-1] if isinstance(items[-1], dict) else {items[-1]: {}}
            items[-1] = {**last, "times": last.get("times", 1) + 1}
        else:
            items.append(written(part))
        previous = part
    return items


def read(text: str, source: str = "design", types: Types | None = None) -> Network:
    """A network from YAML. `source` is the file name for messages; `types` adds blocks of your own.

    Raises:
        UserError: with file, line, key, what was expected and the nearest valid name.
    """
    return Reader(text, source, known_types() | (types or {})).network()


class Reader:
    """Turns YAML nodes, which know their line, into values.

    `lines` are those of the values that were made, by their identity: two parts that are equal stand on two lines.
    """

    def __init__(self, text: str, source: str, types: Types) -> None:
        self.text, self.source, self.types, self.made = text, source, types, 0
        self.root = yaml_source.parse(text, source)
        self.lines: dict[int, int] = {}

    def fail(self, node: yaml.Node | None, message: str) -> typing.NoReturn:
        if node is None:
            raise UserError(f"{self.source}: {message}")
        yaml_source.fail(self.source, node, message)

    def network(self) -> Network:
        root = self.root
        if not isinstance(root, yaml.MappingNode):
            self.fail(root, "a design is a mapping with the keys tail, body and head (and input, name)")
        items = self.mapping(root, [*(f.name for f in dataclasses.fields(Network)), CRITIQUE], "a design")
        for name in PARTS:
            if name not in items:
                self.fail(root, f"the key {name!r} is missing; a network is a tail, a body and a head")
        keys = {key.value: key for key, _ in root.value}
        fields: dict[str, Any] = {name: self.begins(keys[name], self.section(items[name], name)) for name in PARTS}
        network: Network = self.call(root, Network, (), fields | self.about(items))
        return network

    def section(self, node: yaml.Node, name: str) -> Any:
        """Tail, body or head: one layer or block."""
        if isinstance(node, yaml.ScalarNode) and node.tag == yaml_source.NULL:
            self.fail(node, f"{name} is empty: expected a layer or block, or [] where it is to do nothing")
        made = self.part(node, 1)
        if isinstance(made, Named):
            chain = f"Chain: {{{made.name}: ...}}"
            self.fail(node, f"{name}: expected a layer or block, got one with a name: write {chain}")
        return made

    def about(self, items: dict[str, yaml.Node]) -> dict[str, Any]:
        """The input and the name of a network, as far as they are given."""
        found: dict[str, Any] = {}
        if "input" in items:
            found["input"] = self.plain(items["input"], tuple[int, ...], "input")
            self.refusing(items["input"], check_shape, found["input"])
        if "name" in items:
            found["name"] = self.plain(items["name"], str, "name")
            self.refusing(items["name"], check_name, found["name"], "the name of a network")
        return found

    def refusing(self, node: yaml.Node, check: Callable[..., object], *values: Any) -> None:
        """Runs a check; what it objects to gets the line."""
        try:
            check(*values)
        except UserError as error:
            self.fail(node, str(error))

    def mapping(self, node: yaml.MappingNode, known: Iterable[str], what: str) -> dict[str, yaml.Node]:
        """The items of a mapping whose keys must be among the known ones, each at most once."""
        items: dict[str, yaml.Node] = {}
        known = list(known)
        for key, item in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in known:
                self.fail(
                    key,
                    f"{what} has no key {quoted(name)}.{nearest(name, known)} It knows: {', '.join(known) or 'none'}",
                )
            items[name] = item
        return items

    def part(self, node: yaml.Node, depth: int) -> Any:
        """A layer or block: `ReLU`, `{Conv: {channels: 64, kernel: 3}}`, or `{name: part}` for a named one."""
        self.made += 1
        if self.made > MAX_LAYERS:
            self.fail(node, f"the design has more than {MAX_LAYERS:,} parts")
        if depth > MAX_NESTING:
            self.fail(node, f"the design nests deeper than {MAX_NESTING} levels")
        if isinstance(node, yaml.ScalarNode):
            return self.call(node, self.kind(node, node.value), (), {})
        if isinstance(node, yaml.SequenceNode):
            return self.composition(node, self.types["Chain"], depth)
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            self.fail(node, "expected one layer or block, such as ReLU or Conv: {channels: 64, kernel: 3}")
        key, item = node.value[0]
        name = key.value
        if name == TIMES:
            self.fail(key, "`times` is no part of its own: write it below the part, as in `Conv: {...}` and `times: 3`")
        if name not in self.types and self.looks_like_part(item):  # a name, not a misspelt type
            return self.named(key, item, depth)
        kind = self.kind(key, name)
        if issubclass(kind, Composition):
            return self.begins(key, self.composition(item, kind, depth))
        if isinstance(item, yaml.ScalarNode) and item.value == "":
            return self.call(key, kind, (), {})
        if not isinstance(item, yaml.MappingNode):
            self.fail(
                item, f"{name} takes a mapping of its fields: {', '.join(hints(typing.cast(Any, kind))) or 'none'}"
            )
        return self.call(key, kind, (), self.fields(item, kind, depth))

    def named(self, key: yaml.Node, item: yaml.Node, depth: int) -> Any:
        """`name: part`."""
        return self.call(key, Named, (key.value, self.begins(key, self.part(item, depth + 1))), {})

    def begins(self, node: yaml.Node, made: Any) -> Any:
        """Notes the line on which a part begins."""
        self.lines[id(made)] = node.start_mark.line + 1
        return made

    def looks_like_part(self, node: yaml.Node) -> bool:
        if isinstance(node, yaml.MappingNode):
            return len(node.value) == 1 and (
                node.value[0][0].value in self.types or self.looks_like_part(node.value[0][1])
            )
        return isinstance(node, yaml.SequenceNode) or node.value in self.types

    def kind(self, node: yaml.Node, name: str) -> type[Value]:
        kind = self.types.get(name)
        if kind is None:
            if not name:
                self.fail(node, "expected a layer or block, got nothing")
            self.fail(node, f"there is no layer or block called {quoted(name)}.{nearest(name, self.types)}")
        return kind

    def fields(self, node: yaml.MappingNode, kind: type[Value], depth: int) -> dict[str, Any]:
        known = hints(typing.cast(Any, kind))
        items = self.mapping(node, known, kind.__name__)
        return {name: self.field(item, known[name], name, depth) for name, item in items.items()}

    def field(self, node: yaml.Node, hint: Any, name: str, depth: int) -> Any:
        if holds_parts(hint) and not (isinstance(node, yaml.ScalarNode) and node.value in ("", "null")):
            return self.part(node, depth + 1)
        return self.plain(node, hint, name)

    def composition(self, node: yaml.Node, kind: type[Value], depth: int) -> Any:
        """Parts as a list, as a mapping of names, or under `parts` beside the options of the composition."""
        options: dict[str, Any] = {}
        within = node
        known = {name: hint for name, hint in hints(typing.cast(Any, kind)).items() if name != "parts"}
        if isinstance(node, yaml.MappingNode) and any(key.value == "parts" for key, _ in node.value):
            items = self.mapping(node, ["parts", *known], kind.__name__)
            options = {name: self.field(items[name], known[name], name, depth) for name in items if name != "parts"}
            node = items["parts"]
        parts: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            option = next((key for key, _ in node.value if key.value in known and node is within), None)
            if option is not None:
                self.fail(option, f"{kind.__name__}: {option.value} is an option; the parts go under `parts` beside it")
            parts = [self.named(key, item, depth) for key, item in node.value]
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                parts += self.repeated(item, depth + 1)
        else:
            self.fail(node, f"{kind.__name__} takes a list of parts, or a mapping of names to parts")
        return self.call(node, kind, parts, options)

    def repeated(self, node: yaml.Node, depth: int) -> list[Any]:
        """One item of a list of parts, as often as its `times` says."""
        times = 1
        if isinstance(node, yaml.MappingNode) and len(node.value) == 2 and node.value[1][0].value == TIMES:
            times = self.plain(node.value[1][1], int, TIMES)
            node = yaml.MappingNode(node.tag, node.value[:1], node.start_mark, node.end_mark)
        if not 1 <= times <= MAX_LAYERS - self.made:
            self.fail(node, f"times must be at least 1, and all parts together at most {MAX_LAYERS:,}, got {times:,}")
        self.made += times - 1
        return [self.part(node, depth)] * times

    def plain(self, node: yaml.Node, hint: Any, name: str) -> Any:
        """Numbers, words and lists of them, checked against the type of the field."""
        try:
            return checked(yaml_source.plain_value(node), hint, name)
        except UserError as error:
            self.fail(node, str(error))
        except ValueError as error:
            got = yaml_source.written(node, self.text)
            self.fail(node, f"{name}: expected {type_text(hint)}, got {got}: {error}")

    def call(self, node: yaml.Node, kind: Any, arguments: Iterable[Any], fields: dict[str, Any]) -> Any:
        """Makes a value; what it objects to gets the line."""
        try:
            return self.begins(node, kind(*arguments, **fields))
        except UserError as error:
            self.fail(node, str(error))
        except TypeError:
            required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
            missing = [name for name in required if name not in fields]
            self.fail(node, f"{kind.__name__} needs {', '.join(missing)}")


@functools.cache
def hints(kind: Any) -> dict[str, Any]:
    """The fields of a layer or block, and their types."""
    resolved = typing.get_type_hints(kind)
    return {f.name: resolved[f.name] for f in dataclasses.fields(kind)}


@functools.cache
def holds_parts(hint: Any) -> bool:
    """Whether a field of this type holds a layer or block."""
    options = typing.get_args(hint) or (hint,)
    return any(isinstance(option, type) and issubclass(option, (Layer, Block, Named)) for option in options)
