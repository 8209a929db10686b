"""A change of a design made in the text of its file, so that comments, order and style of all else stay as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import yaml

from cnnatomy.design import Block, Composition, Named, Network
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.layers import Layer
from cnnatomy.layers.layer import Value
from cnnatomy.limits import MAX_TWINS
from cnnatomy.readers.yaml import aside, design, listed
from cnnatomy.readers.yaml import source as yaml_source

_ITEM = re.compile(r"( *)(?:- +(?:&\S+ +)?)?")
"""What stands on the line of an item before it."""


class _Edit(NamedTuple):
    """Text that takes the place of what stands from one index to another."""

    start: int
    end: int
    text: str


class _UnlikeError(Exception):
    """A part of the text does not show the parts of a value one by one: whatever is around it is written again."""


class Rewritten(NamedTuple):
    """The text of another design, and whether it is the old one, changed where it had to be."""

    text: str
    kept: bool


def rewritten(text: str, after: Design) -> Rewritten:
    """The text of a design, changed where it has to be for the design `after`, its name with it; else as it was.

    It is proven that `listed.read` makes a value equal to `after` of it. Where that is not so the design is written
    again, with the settings that stood beside it.

    Raises:
        UserError: if the text is no design, or `after` cannot be said as one.
    """
    before = listed.read(text)
    with suppress(_UnlikeError, UserError):
        changed = text
        for one in sorted(_Text(text).edits(before, after), reverse=True):
            changed = changed[: one.start] + one.text + changed[one.end :]
        if listed.read(changed) == after:
            return Rewritten(changed, True)
    return Rewritten(listed.write(after) + aside.settings_text(text), False)


class _Text:
    """The nodes of a text, and the edits that make their values others."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = yaml_source.parse(text, "")

    def edits(self, before: Design, after: Design) -> list[_Edit]:
        """Those for a whole design."""
        if not isinstance(self.root, yaml.MappingNode) or type(before) is not type(after):
            raise _UnlikeError
        pairs = {key.value: (key, item) for key, item in self.root.value}
        found: list[_Edit] = []
        if before.input != after.input:
            found.append(self.pair(pairs.get("input"), "input", list(after.input)))
        if before.name != after.name and "name" in pairs:
            found.append(self.pair(pairs["name"], "name", after.name))
        if isinstance(before, ListedNetwork) and isinstance(after, ListedNetwork):
            return found + self.items(pairs["nodes"][1], listed.lines_of(before), listed.lines_of(after), "".join)
        if isinstance(before, Network) and isinstance(after, Network):
            for name in design.PARTS:
                key, item = pairs[name]
                old, new = getattr(before, name), getattr(after, name)
                try:
                    found += self.part(item, old, new)
                except _UnlikeError:
                    found.append(_Edit(self.line_start(key), self.line_end(item), _named([Named(name, new)])))
        return found

    def pair(self, pair: tuple[yaml.Node, yaml.Node] | None, name: str, value: Any) -> _Edit:
        """A key and its value in place of another value."""
        if pair is None:
            raise _UnlikeError
        key, item = pair
        return _Edit(key.start_mark.index, self.end(item), f"{name}: {design.inline(value)}")

    def part(self, node: yaml.Node, before: Any, after: Any) -> list[_Edit]:
        """Those for a layer or block."""
        if before == after:
            return []
        if type(before) is not type(after):
            raise _UnlikeError
        if isinstance(node, yaml.SequenceNode):
            return self.parts(node, before, after)
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            raise _UnlikeError
        key, item = node.value[0]
        if isinstance(before, Named) and before.name == after.name == key.value:
            return self.part(item, before.part, after.part)
        if key.value != type(before).__name__:
            raise _UnlikeError
        if not isinstance(before, Composition):
            return self.fields(item, before, after, before.__dataclass_fields__)
        names = before.options()
        pairs = dict(_pairs(item))
        if "parts" in pairs:
            return self.fields(item, before, after, names) + self.parts(pairs["parts"], before, after)
        if any(getattr(before, name) != getattr(after, name) for name in names):
            raise _UnlikeError
        return self.parts(item, before, after)

    def fields(self, node: yaml.Node, before: Value, after: Value, names: Iterable[str]) -> list[_Edit]:
        """Those for what a layer or block has beside its parts."""
        pairs, found = dict(_pairs(node)), []
        for name in names:
            old, new = getattr(before, name), getattr(after, name)
            if old == new:
                continue
            value = design.inline(design.written(new))
            item = pairs.get(name)
            if item is not None and isinstance(old, (Layer, Block)) and not isinstance(item, yaml.ScalarNode):
                found += self.part(item, old, new)
            elif item is not None:
                found.append(_Edit(item.start_mark.index, self.end(item), value))
            elif pairs and self.is_flow(node):
                found.append(_Edit(node.end_mark.index - 1, node.end_mark.index - 1, f", {name}: {value}"))
            else:
                raise _UnlikeError
        return found

    def parts(self, node: yaml.Node, before: Any, after: Any) -> list[_Edit]:
        """Those for the parts of a composition: a list, or a mapping of their names."""
        if isinstance(node, yaml.SequenceNode):
            return self.items(node, before.parts, after.parts, _written, self.part)
        if not all(isinstance(part, Named) for part in after.parts):
            raise _UnlikeError
        return self.items(
            node, before.parts, after.parts, _named, lambda item, old, new: self.part(item, old.part, new.part)
        )

    def items(
        self,
        node: yaml.Node,
        before: Sequence[Any],
        after: Sequence[Any],
        write: Callable[[Sequence[Any]], str],
        inside: Callable[[yaml.Node, Any, Any], list[_Edit]] | None = None,
    ) -> list[_Edit]:
        """Those for items each on lines of its own, some of which are said once for `times` values.

        `write` gives the lines of values, `inside` the edits of an item for a value of the same kind.
        """
        if self.is_flow(node):
            raise _UnlikeError
        begins_ends = node.value if isinstance(node, yaml.MappingNode) else [(item, item) for item in node.value]
        items = [pair for pair in begins_ends for _ in range(_times(pair[1]))]
        if len(items) != len(before):
            raise _UnlikeError
        within = {i for i in range(1, len(items)) if items[i - 1] is items[i]}
        found = []
        for what, first, last, start, end in _joined(_aligned(before, after), within):
            if what == "equal":
                continue
            if what == "inside" and inside is not None:
                with suppress(_UnlikeError):
                    found += inside(items[first][1], before[first], after[start])
                    continue
            lines = write(after[start:end])
            near = items[min(first, len(items) - 1)]
            begin = self.line_start(near[0]) if first < len(items) else self.line_end(near[1])
            stop = self.line_end(items[last - 1][1]) if last > first else begin
            found.append(_Edit(begin, stop, re.sub(r"^(?=.)", self.indent(near[0]), lines, flags=re.M)))
        return found

    def indent(self, item: yaml.Node) -> str:
        """What stands before an item, or its dash."""
        match = _ITEM.fullmatch(self.text[self.line_start(item) : item.start_mark.index])
        if match is None:
            raise _UnlikeError
        return match[1]

    def line_start(self, node: yaml.Node) -> int:
        """Where the line on which a node begins does."""
        return self.text.rfind("\n", 0, node.start_mark.index) + 1

    def line_end(self, node: yaml.Node) -> int:
        """Where the line after a node begins."""
        return self.text.find("\n", self.end(node)) + 1 or len(self.text)

    def end(self, node: yaml.Node) -> int:
        """Where a node ends, without what stands between it and the next one."""
        if isinstance(node, yaml.ScalarNode) or self.is_flow(node):
            return int(node.end_mark.index)
        below = [one for pair in node.value for one in (pair if isinstance(pair, tuple) else (pair,))]
        return max(map(self.end, below), default=int(node.end_mark.index))

    def is_flow(self, node: yaml.Node) -> bool:
        """Whether a list or mapping stands in brackets or braces."""
        return self.text[node.start_mark.index : node.start_mark.index + 1] in ("[", "{")


def _pairs(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    return [(key.value, item) for key, item in node.value] if isinstance(node, yaml.MappingNode) else []


def _times(item: yaml.Node) -> int:
    """How many values an item of a list stands for."""
    said = dict(_pairs(item)).get(design.TIMES)
    return int(yaml_source.plain_value(said)) if said is not None else 1


def _written(parts: Sequence[Any]) -> str:
    """Parts as a list."""
    items = design.written_parts(parts)
    return "".join(f"- {one}\n" if isinstance(one, str) else design.dump([one]) for one in items)


def _named(parts: Sequence[Named]) -> str:
    """Parts as a mapping of their names."""
    items = [(part.name, design.written(part.part)) for part in parts]
    return "".join(f"{name}: {one}\n" if isinstance(one, str) else design.dump({name: one}) for name, one in items)


def _kind(part: Any) -> Any:
    """Alike for parts of which one may have become the other."""
    return (part.name, _kind(part.part)) if isinstance(part, Named) else type(part)


_Opcode = tuple[str, int, int, int, int]


def _aligned(before: Sequence[Any], after: Sequence[Any]) -> list[_Opcode]:
    """Which values became which, as `SequenceMatcher` says it; `inside` is a pair of one kind."""
    found: list[_Opcode] = []
    for what, first, last, start, end in _opcodes(before, after):
        if what != "replace":
            found.append((what, first, last, start, end))
            continue
        kinds = ([_kind(one) for one in some] for some in (before[first:last], after[start:end]))
        for inner, a, b, c, d in _opcodes(*kinds):
            if inner == "equal":
                pairs = zip(range(first + a, first + b), range(start + c, start + d), strict=True)
                found += [("inside", old, old + 1, new, new + 1) for old, new in pairs]
            else:
                found.append((inner, first + a, first + b, start + c, start + d))
    return found


def _joined(opcodes: Sequence[_Opcode], within: set[int]) -> list[_Opcode]:
    """The same so that none begins at one of the places `within` an item, of which then all values are others."""
    found: list[_Opcode] = []
    for what, first, last, start, end in opcodes:
        equal = [(what, first + i, first + i + 1, start + i, start + i + 1) for i in range(last - first)]
        for one in equal if what == "equal" else [(what, first, last, start, end)]:
            if found and one[1] in within:
                both = "equal" if one[0] == found[-1][0] == "equal" else "replace"
                found[-1] = (both, found[-1][1], one[2], found[-1][3], one[4])
            else:
                found.append(one)
    return found


def _opcodes(before: Sequence[Any], after: Sequence[Any]) -> Sequence[_Opcode]:
    counts = Counter(before), Counter(after)
    if sum(number * counts[1][one] for one, number in counts[0].items()) > MAX_TWINS:
        raise _UnlikeError
    return SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
