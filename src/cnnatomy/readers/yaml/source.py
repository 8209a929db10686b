"""The text of a design as YAML nodes, which know their lines: YAML 1.2 (its core schema) with merge keys, under limits.

YAML 1.2 and JSON agree on numbers: `1e-2` is one, `010` is ten, and `yes` and `1:30` are words; PyYAML knows 1.1 only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml
from yaml.constructor import SafeConstructor

from cnnatomy.errors import UserError, shown
from cnnatomy.limits import MAX_DESIGN_BYTES, MAX_FIELD_VALUES, MAX_INTEGER, MAX_NESTING, MAX_YAML_VALUES

TAG = "tag:yaml.org,2002:"
MERGE, NULL = TAG + "merge", TAG + "null"
CORE = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}
"""The tags of the core schema (YAML 1.2, section 10.3.2): what a plain word of each is, and how it can begin."""

MAX_DIGITS = 100
"""Of a number, with zeros before it: Python takes the square of their count to read them."""

KNOWN_TAGS = {TAG + name for name in (*CORE, "str", "seq", "map")}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's, ten times as fast
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it


for name, (pattern, begins) in CORE.items():
    first = [character if character != "\0" else "" for character in begins]
    _Loader.add_implicit_resolver(TAG + name, re.compile(f"(?:{pattern})\\Z"), first)


def parse(text: str, source: str) -> yaml.Node | None:
    """The nodes of a YAML file, with what its merge keys stand for.

    Raises:
        UserError: if it is too large, nests too deeply, or is no YAML.
    """
    if len(text) > MAX_DESIGN_BYTES:
        raise UserError(f"{source}: the design may have at most {MAX_DESIGN_BYTES:,} bytes, this has {len(text):,}")
    try:
        _measure(text, source)
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(_explained(error, text, source)) from None
    merged = 0
    for node in _nodes(root, source):
        if isinstance(node, yaml.MappingNode):
            merged += _merge(node, source)
            if merged > MAX_YAML_VALUES:
                fail(source, node, f"merge keys (<<) stand for more than {MAX_YAML_VALUES:,} values")
    return root


def plain_value(node: yaml.Node) -> Any:
    """A node as plain data: text, numbers, true, false, null, and lists and mappings of them.

    Raises:
        ValueError: with the reason, if a number is beyond every use, or it has more than `MAX_FIELD_VALUES` values.
    """
    waiting, count = [node], 0
    while waiting:  # an anchor may make a value of lists that repeat one another
        one = waiting.pop()
        count += 1
        if count > MAX_FIELD_VALUES:
            raise ValueError(f"a field has at most {MAX_FIELD_VALUES:,} values")
        if isinstance(one, yaml.SequenceNode):
            waiting += one.value
        elif isinstance(one, yaml.MappingNode):
            waiting += [item for _, item in one.value]
    return _Constructor().construct_document(node)


def written(node: yaml.Node, text: str) -> str:
    """A node as it stands in the text of the file, shortened."""
    return shown(text[node.start_mark.index : node.end_mark.index].strip())


def fail(source: str, node: yaml.Node, message: str) -> NoReturn:
    """Raises `UserError` with the file and the line."""
    raise UserError(f"{source}, line {node.start_mark.line + 1}: {message}")


class _Constructor(SafeConstructor):
    """Numbers as YAML 1.2 has them."""


def _integer(constructor: _Constructor, node: yaml.ScalarNode) -> int:
    digits = node.value
    base = 0 if digits[:2] in ("0x", "0o") else 10
    if len(digits) > MAX_DIGITS or abs(int(digits, base)) > MAX_INTEGER:
        raise ValueError(f"an integer is at most {MAX_INTEGER:,}")
    return int(digits, base)


def _number(constructor: _Constructor, node: yaml.ScalarNode) -> float:
    word = node.value.lower()
    number = float(word.replace(".inf", "inf").replace(".nan", "nan"))
    if number != number or (abs(number) == float("inf") and "inf" not in word):
        raise ValueError("it is no number, or larger than any that is stored")
    return number


for name, construct in (("int", _integer), ("float", _number)):
    _Constructor.add_constructor(TAG + name, construct)  # type: ignore[type-var]


def _measure(text: str, source: str) -> None:
    """Refuses what is too long or too deep, before nodes are made: the scanner alone takes little memory."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if count > MAX_YAML_VALUES or depth > 2 * MAX_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            limits = f"at most {MAX_YAML_VALUES:,} values and {2 * MAX_NESTING} levels of lists and mappings"
            raise UserError(f"{source}, line {line}: a design may have {limits}; `times` repeats a part")


def _explained(error: yaml.YAMLError, text: str, source: str) -> str:
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
    lines = text.splitlines() or [""]
    number = min(mark.line, len(lines) - 1) if mark else 0
    line = lines[number].strip()
    if line.startswith("times:"):
        before = next((other.strip(" -") for other in reversed(lines[:number]) if other.strip()), "the part")
        problem += f" (`times` stands below a part with a colon: write `- {before}:`, and `times` under its name)"
    elif line.startswith("\t") or "\\t" in problem or "'\t'" in problem:
        problem += " (indent by spaces)"
    return f"{source}, line {number + 1}: not valid YAML: {problem}"


def _nodes(root: yaml.Node | None, source: str) -> Iterator[yaml.Node]:
    """Every node once, those inside after those around them; an anchor may make a node a part of itself.

    Raises:
        UserError: for a tag that is not of YAML's core schema, and for lists and mappings as keys.
    """
    waiting, seen = [root] if root is not None else [], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.tag not in KNOWN_TAGS:
            tag = "!!" + node.tag.removeprefix(TAG) if node.tag.startswith(TAG) else node.tag
            fail(source, node, f"a design has no tags, got {shown(tag)}: remove it")
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, item in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    fail(source, key, "a key is a word, not a list or mapping")
                waiting.append(item)
        yield node


def _merge(node: yaml.MappingNode, source: str) -> int:
    """Puts the pairs that `<<` stands for in its place, and says how many; a key that is there already stays."""
    waiting = deque(item for key, item in node.value if key.tag == MERGE)
    if not waiting:
        return 0
    pairs = {key.value: (key, item) for key, item in node.value if key.tag != MERGE}
    own, seen = [pair for pair in node.value if pair[0].tag != MERGE], {id(node)}
    count = len(pairs)
    while waiting:
        item = waiting.popleft()
        if isinstance(item, yaml.SequenceNode):
            waiting.extendleft(reversed(item.value))
        elif not isinstance(item, yaml.MappingNode):
            fail(source, item, "<< takes a mapping, or a list of mappings, that an anchor (&name) marks")
        elif id(item) not in seen:
            seen.add(id(item))
            waiting.extend(value for key, value in item.value if key.tag == MERGE)
            for key, value in item.value:
                if key.tag != MERGE:
                    pairs.setdefault(key.value, (key, value))
    node.value = own + list(pairs.values())[count:]
    return len(pairs) + len(seen)
