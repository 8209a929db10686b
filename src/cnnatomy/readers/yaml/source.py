"""The text of a design as YAML nodes, which know their lines: YAML 1.2 (its core schema) with merge keys, under limits.

YAML 1.2 and JSON agree on numbers: `1e-2` is one, `010` is ten, and `yes` and `1:30` are words; PyYAML knows 1.1 only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import yaml

from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.limits import MAX_DESIGN_BYTES, MAX_FIELD_VALUES, MAX_INTEGER, MAX_NESTING, MAX_YAML_VALUES

TAG = "tag:yaml.org,2002:"
MERGE, NULL = TAG + "merge", TAG + "null"
CORE = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
    "merge": re.compile(r"<<"),
    "timestamp": re.compile(r"[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt ].*)?"),
}
"""The tags of the core schema (YAML 1.2, section 10.3.2), and which plain words have them; and YAML 1.1's dates."""

BEGINS = set("~nNtTfF-+.0123456789<") | {""}
"""How such a word begins."""

MAX_DIGITS = 100
"""Of a number, with zeros before it: Python takes the square of their count to read them."""

KNOWN_TAGS = {TAG + name for name in (*CORE, "str", "seq", "map")}
NOUNS = {"bool": "true or false", "int": "integer", "float": "number", "str": "text", "seq": "list", "map": "mapping"}


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's is ten times as fast."""


def parse(text: str, source: str) -> yaml.Node | None:
    """The nodes of a YAML file, with what its merge keys stand for.

    Raises:
        UserError: with the line, if it is too large, nests too deeply, is no YAML, or has tags or keys that no design
            has.
    """
    if len(text) > MAX_DESIGN_BYTES:
        raise UserError(f"{source}: the design may have at most {MAX_DESIGN_BYTES:,} bytes, this has {len(text):,}")
    try:
        return _Composer(source).compose(yaml.parse(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise UserError(_explained(error, text, source)) from None


def plain_value(node: yaml.Node) -> Any:
    """A node as plain data: text, numbers, true, false, null, and lists and mappings of them.

    Raises:
        ValueError: with the reason, if a number is beyond every use, or it has more than `MAX_FIELD_VALUES` values.
    """
    for _ in _values(node):
        pass
    return _plain(node)


def plain_document(text: str, source: str) -> Any:
    """A whole text as plain data; an empty one is an empty word.

    Raises:
        UserError: with the line, if `parse` or `plain_part` objects to it.
    """
    return plain_places(text, source)[0]


class KeyLines:
    """Where the keys of a mapping stand: `mine.yaml, line 3: epochs`, for messages about what they say."""

    def __init__(self, source: str, node: yaml.Node | None) -> None:
        self.source = source
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        self.items: dict[str, tuple[yaml.Node, yaml.Node]] = {key.value: (key, item) for key, item in pairs}

    def __call__(self, key: str = "") -> str:
        """Of a key; of the mapping, where none is given."""
        line = f", line {self.items[key][0].start_mark.line + 1}" if key in self.items else ""
        return f"{self.source}{line}" + (f": {shown(key)}" if key else "")

    def below(self, key: str) -> KeyLines:
        """Of the mapping that a key has."""
        return KeyLines(self.source, self.items[key][1] if key in self.items else None)


def plain_places(text: str, source: str) -> tuple[Any, KeyLines]:
    """`plain_document`, and where the keys of the text stand."""
    node = parse(text, source)
    return ("" if node is None else plain_part(node, text, source)), KeyLines(source, node)


def plain_part(node: yaml.Node, text: str, source: str) -> Any:
    """A node of a text as plain data.

    Raises:
        UserError: with the line, if `plain_value` objects to it.
    """
    one = node
    try:
        for one in _values(node):
            if isinstance(one, yaml.ScalarNode):
                _plain(one)
    except ValueError as error:
        fail(source, one, f"{written(one, text)}: {error}")
    return _plain(node)


def _values(node: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all below it, at most `MAX_FIELD_VALUES`: an anchor may make lists that repeat one another."""
    waiting, count = [node], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if count > MAX_FIELD_VALUES:
            raise ValueError(f"a field has at most {MAX_FIELD_VALUES:,} values")
        yield one
        if isinstance(one, yaml.SequenceNode):
            waiting += one.value
        elif isinstance(one, yaml.MappingNode):
            waiting += [item for _, item in one.value]


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return list(map(_plain, node.value))
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(item) for key, item in node.value}
    return SCALARS[node.tag](node.value)


def _integer(digits: str) -> int:
    base = 0 if digits[:2] in ("0x", "0o") else 10
    if len(digits) > MAX_DIGITS or abs(int(digits, base)) > MAX_INTEGER:
        raise ValueError(f"an integer is at most {MAX_INTEGER:,}")
    return int(digits, base)


def _number(word: str) -> float:
    number = float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if number != number or (abs(number) == float("inf") and "inf" not in word.lower()):
        raise ValueError("it is no number, or larger than any that is stored")
    return number


def _date(word: str) -> NoReturn:
    raise ValueError("most readers of YAML take it for a date; if it is text, put it in quotes")


SCALARS: dict[str, Callable[[str], Any]] = {
    TAG + "null": lambda word: None,
    TAG + "bool": lambda word: word.lower() == "true",
    TAG + "int": _integer,
    TAG + "float": _number,
    TAG + "str": str,
    TAG + "merge": str,
    TAG + "timestamp": _date,
}
"""What a word of each tag is."""


def written(node: yaml.Node, text: str) -> str:
    """A node as it stands in the text of the file, shortened."""
    return shown(text[node.start_mark.index : node.end_mark.index].strip())


def fail(source: str, node: yaml.Node, message: str) -> NoReturn:
    """Raises `UserError` with the file and the line."""
    raise UserError(f"{source}, line {node.start_mark.line + 1}: {message}")


def _explained(error: yaml.YAMLError, text: str, source: str) -> str:
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
    lines = text.splitlines() or [""]
    number = min(mark.line, len(lines) - 1) if mark else 0
    line = lines[number].lstrip(" ")
    if line.startswith("times:"):
        before = next((other.strip(" -") for other in reversed(lines[:number]) if other.strip()), "the part")
        problem += f" (`times` stands below a part with a colon: write `- {before}:`, and `times` under its name)"
    elif line.startswith("\t"):
        problem += " (indent by spaces)"
    return f"{source}, line {number + 1}: not valid YAML: {problem}"


class _Composer:
    """Nodes from the events of the parser, so that what is too long or too deep ends before it is in memory."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.anchors: dict[str, yaml.Node] = {}
        self.depths: dict[int, int] = {}  # of lists and mappings, by identity: how deep they nest, aliases followed
        self.merged = 0

    def compose(self, events: Iterable[Any]) -> yaml.Node | None:
        root: list[yaml.Node] = []
        open_lists: list[list[yaml.Node]] = [root]  # of those around, what they have so far: of a mapping, in turn
        around: list[yaml.CollectionNode] = []
        node: yaml.Node | None
        for count, event in enumerate(events):
            if count > MAX_YAML_VALUES or len(around) > 2 * MAX_NESTING:
                limits = f"at most {MAX_YAML_VALUES:,} values and {2 * MAX_NESTING} levels of lists and mappings"
                self.fail(event, f"a design may have {limits}; `times` repeats a part")
            begin, end = event.start_mark, event.end_mark
            if isinstance(event, yaml.ScalarEvent):
                node = yaml.ScalarNode(self.tag(event), event.value, begin, end)
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingNode
                around.append(kind(self.tag(event), [], begin))
                node = around[-1]
            elif isinstance(event, yaml.CollectionEndEvent):
                self.close(around.pop(), open_lists.pop(), event)
                continue
            elif isinstance(event, yaml.AliasEvent):
                node = self.anchors.get(str(event.anchor))
                if node is None:
                    self.fail(event, f"no anchor &{shown(event.anchor)} stands before it")
                if any(node is one for one in around):
                    self.fail(event, f"*{shown(event.anchor)} stands within what &{shown(event.anchor)} marks")
            elif isinstance(event, yaml.DocumentStartEvent) and root:
                self.fail(event, "a design is one document; `---` begins another")
            else:
                continue
            if event.anchor and not isinstance(event, yaml.AliasEvent):
                self.anchors[event.anchor] = node
            open_lists[-1].append(node)
            if isinstance(event, yaml.CollectionStartEvent):
                open_lists.append(node.value if isinstance(node, yaml.SequenceNode) else [])
        return root[0] if root else None

    def fail(self, event: Any, message: str) -> NoReturn:
        line = event.start_mark.line + 1 if event.start_mark else 1
        raise UserError(f"{self.source}, line {line}: {message}")

    def tag(self, event: Any) -> str:
        """The tag of a node, for a plain word that which it has in YAML 1.2."""
        tag = event.tag
        if tag is None or tag == "!":
            if isinstance(event, yaml.SequenceStartEvent):
                return TAG + "seq"
            if isinstance(event, yaml.MappingStartEvent):
                return TAG + "map"
            return _resolved(event.value) if event.implicit[0] and tag is None else TAG + "str"
        if tag not in KNOWN_TAGS:
            short = "!!" + tag.removeprefix(TAG) if tag.startswith(TAG) else tag
            self.fail(event, f"a design has no tags, got {shown(short)}: remove it")
        name = tag.removeprefix(TAG)
        if isinstance(event, yaml.ScalarEvent):
            fits = name == "str" or (name in CORE and CORE[name].fullmatch(event.value))
            said = event.value
        else:
            said = "a list" if isinstance(event, yaml.SequenceStartEvent) else "a mapping"
            fits = name == ("seq" if isinstance(event, yaml.SequenceStartEvent) else "map")
        if not fits:
            self.fail(event, f"!!{name} stands before {shown(said) or 'nothing'}, which is no {NOUNS.get(name, name)}")
        return str(tag)

    def close(self, node: yaml.CollectionNode, parts: list[yaml.Node], event: Any) -> None:
        node.end_mark = event.end_mark
        inside = parts
        if isinstance(node, yaml.MappingNode):
            node.value = list(zip(parts[::2], parts[1::2], strict=True))
            _check_keys(node, self.source)
            self.merged += _merge(node, self.source)
            if self.merged > MAX_YAML_VALUES:
                fail(self.source, node, f"merge keys (<<) stand for more than {MAX_YAML_VALUES:,} values")
            inside = [item for _, item in node.value]
        depth = self.depths[id(node)] = 1 + max([self.depths.get(id(part), 0) for part in inside], default=0)
        if depth > 2 * MAX_NESTING:
            fail(self.source, node, f"lists and mappings nest deeper than {2 * MAX_NESTING} levels")


def _check_keys(node: yaml.MappingNode, source: str) -> None:
    """Refuses keys that are no words, and those that are given twice, but for `<<`."""
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            fail(source, key, "a key is a word, not a list or mapping")
        if key.value in seen:
            fail(source, key, f"the key {quoted(key.value)} is given twice")
        if key.tag != MERGE:
            seen.add(key.value)


def _resolved(word: str) -> str:
    if word[:1] not in BEGINS:
        return TAG + "str"
    return next((TAG + name for name, pattern in CORE.items() if pattern.fullmatch(word)), TAG + "str")


def _merge(node: yaml.MappingNode, source: str) -> int:
    """Puts the pairs that `<<` stands for in its place, and says how many; a key that is there already stays."""
    merged = [item for key, item in node.value if key.tag == MERGE]
    if not merged:
        return 0
    own = [pair for pair in node.value if pair[0].tag != MERGE]
    pairs = {key.value: (key, item) for key, item in own}
    given = len(pairs)
    for item in merged:
        for one in item.value if isinstance(item, yaml.SequenceNode) else [item]:
            if not isinstance(one, yaml.MappingNode):
                fail(source, one, "<< takes a mapping, or a list of mappings, that an anchor (&name) marks")
            for key, value in one.value:
                pairs.setdefault(key.value, (key, value))
    node.value = own + list(pairs.values())[given:]
    return len(pairs)
