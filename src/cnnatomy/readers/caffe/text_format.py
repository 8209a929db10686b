"""The text format of protocol buffers, as Caffe's prototxt files have it: parsed without a schema, lines remembered.

https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, nan
from typing import NamedTuple, NoReturn

from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.limits import MAX_DESIGN_BYTES, MAX_NESTING, MAX_NUMBER_LENGTH, MAX_PROTOTXT_TOKENS, MAX_STRING_LENGTH

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\f\v\n]++|\#[^\n]*+)++)
    |(?P<string>"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+')
    |(?P<number>(?:-\s*+)?(?:0[xX][0-9a-fA-F]++|(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?[fF]?)(?!\.|[eE]\b))
    |(?P<word>(?:-\s*+)?[A-Za-z_][\w./-]*+|\[[\w./-]++\](?=\s*[:{<]))
    |(?P<mark>[{}<>\[\]:;,])""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of the text: its kind, itself, and its line from 1."""

    kind: str
    text: str
    line: int


class Word(str):
    """A word without quotes: what an enumeration, a boolean or an endless number is written as."""


Scalar = Word | str | int | float

BOOLEANS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
ENDLESS = {"inf": inf, "infinity": inf, "-inf": -inf, "-infinity": -inf, "nan": nan, "-nan": nan}


@dataclass
class Message:
    """The fields of a message in order, each with its line; a field may be there several times."""

    source: str
    line: int
    fields: list[tuple[str, Scalar | Message, int]] = field(default_factory=list)

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raises `UserError` with the file and line."""
        raise UserError(f"{self.source}, line {line or self.line}: {message}")

    def every(self, name: str) -> Iterator[tuple[Scalar | Message, int]]:
        """The values of a field, with their lines."""
        return ((value, line) for key, value, line in self.fields if key == name)

    def has(self, name: str) -> bool:
        """Whether a field is given."""
        return any(key == name for key, _, _ in self.fields)

    def messages(self, *names: str) -> list[Message]:
        """The messages in fields of these names, in the order of the file."""
        found = []
        for key, value, line in self.fields:
            if key in names:
                if not isinstance(value, Message):
                    self.fail(f"{key}: expected a message in braces, got {_shown(value)}", line)
                found.append(value)
        return found

    def message(self, name: str) -> Message:
        """The message in a field, empty where there is none; where it is given twice, all its fields."""
        found = self.messages(name)
        return Message(self.source, self.line, [entry for one in found for entry in one.fields])

    def strings(self, name: str) -> list[str]:
        """The words and strings of a field."""
        found = []
        for value, line in self.every(name):
            if not isinstance(value, str):
                self.fail(f"{name}: expected a word or string, got {_shown(value)}", line)
            found.append(value)
        return found

    def string(self, name: str, default: str = "") -> str:
        """The last word or string of a field."""
        return (self.strings(name) or [default])[-1]

    def word(self, name: str, default: str) -> str:
        """The last value of an enumeration: its name, or its number as text."""
        found = default
        for value, line in self.every(name):
            if isinstance(value, (float, Message)):
                self.fail(f"{name}: expected a word, got {_shown(value)}", line)
            found = str(value)
        return found

    def integers(self, name: str) -> list[int]:
        """The integers of a field."""
        found = []
        for value, line in self.every(name):
            if type(value) is not int:
                self.fail(f"{name}: expected an integer, got {_shown(value)}", line)
            found.append(value)
        return found

    def integer(self, name: str, default: int) -> int:
        """The last integer of a field."""
        return (self.integers(name) or [default])[-1]

    def numbers(self, name: str) -> list[float]:
        """The numbers of a field."""
        found: list[float] = []
        for value, line in self.every(name):
            if isinstance(value, Word) and value.lower() in ENDLESS:
                found.append(ENDLESS[value.lower()])
            elif isinstance(value, (int, float)):
                found.append(value)
            else:
                self.fail(f"{name}: expected a number, got {_shown(value)}", line)
        return found

    def number(self, name: str, default: float) -> float:
        """The last number of a field."""
        return (self.numbers(name) or [default])[-1]

    def flag(self, name: str, default: bool) -> bool:
        """The last boolean of a field."""
        found = default
        for value, line in self.every(name):
            if type(value) is int and value in (0, 1):
                found = bool(value)
            elif isinstance(value, Word) and value in BOOLEANS:
                found = BOOLEANS[value]
            else:
                hint = nearest(str(value), list(BOOLEANS))
                self.fail(f"{name}: expected true or false, got {_shown(value)}.{hint}", line)
        return found


def _shown(value: Scalar | Message) -> str:
    return "a message" if isinstance(value, Message) else quoted(value) if isinstance(value, str) else repr(value)


def parse(text: str, source: str) -> Message:
    """A file as one message.

    Raises:
        UserError: naming file and line where it is not the text format, too large or too deep.
    """
    if len(text) > MAX_DESIGN_BYTES:
        raise UserError(f"{source}: a prototxt may have at most {MAX_DESIGN_BYTES:,} bytes, this has {len(text):,}")
    return _Parser(text.removeprefix("\ufeff"), source).root()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.tokens = self._tokens(text)
        self.next = next(self.tokens)

    def fail(self, message: str) -> NoReturn:
        raise UserError(f"{self.source}, line {self.next.line}: not a valid prototxt: {message}")

    def _tokens(self, text: str) -> Iterator[Token]:
        position, line, count = 0, 1, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self.next = Token("?", "", line)
                self.fail(f"cannot read {text[position : position + 20].partition(chr(10))[0]!r}")
            kind, found = match.lastgroup or "", match.group()
            position += len(found)
            if kind == "space":
                line += found.count("\n")
                continue
            count += 1
            if count > MAX_PROTOTXT_TOKENS:
                self.next = Token("?", "", line)
                self.fail(f"it has more than {MAX_PROTOTXT_TOKENS:,} words, numbers and marks")
            if found.startswith("-"):  # spaces may be between it and the number
                yield Token(kind, "-" + found[1:].lstrip(), line)
                line += found.count("\n")
            else:
                yield Token(kind, found, line)
        yield Token("end", "the end of the file", line)

    def take(self, mark: str = "") -> Token:
        """The next token, which must be this mark where one is given."""
        token = self.next
        if mark and token.text != mark:
            self.fail(f"expected {mark!r}, got {quoted(token.text)}")
        if token.kind != "end":
            self.next = next(self.tokens)
        return token

    def root(self) -> Message:
        message = Message(self.source, 1)
        while self.next.kind != "end":
            self.field(message, 1)
        return message

    def field(self, message: Message, depth: int) -> None:
        token = self.take()
        if token.kind != "word":
            self.next = token
            self.fail(f"expected the name of a field, got {quoted(token.text)}")
        if self.next.text == ":":
            self.take()
        elif self.next.text not in ("{", "<", "["):
            self.fail(f"expected ':' or '{{' after {quoted(token.text)}, got {quoted(self.next.text)}")
        if self.next.text == "[":
            self.take()
            while self.next.text != "]":
                message.fields.append((token.text, self.value(depth), token.line))
                if self.next.text != "]":
                    self.take(",")
                    if self.next.text == "]":
                        self.fail("expected a value after ',', got ']'")
            self.take("]")
        else:
            message.fields.append((token.text, self.value(depth), token.line))
        if self.next.text in (",", ";"):
            self.take()

    def value(self, depth: int) -> Scalar | Message:
        token = self.take()
        if token.text in ("{", "<"):
            if depth > MAX_NESTING:
                self.fail(f"messages nest deeper than {MAX_NESTING}")
            message = Message(self.source, token.line)
            end = "}" if token.text == "{" else ">"
            while self.next.text != end:
                if self.next.kind == "end":
                    self.fail(f"the {quoted(token.text)} of line {token.line} is never closed")
                self.field(message, depth + 1)
            self.take(end)
            return message
        if token.kind == "string":
            parts = [token.text]
            while self.next.kind == "string":  # neighbours are one string
                parts.append(self.take().text)
            if (size := sum(map(len, parts))) > MAX_STRING_LENGTH:
                self.next = token
                self.fail(f"a string of {size:,} characters; at most {MAX_STRING_LENGTH:,} are expected")
            return "".join(map(_unquoted, parts))
        if token.kind == "number":
            if len(token.text) > MAX_NUMBER_LENGTH:
                self.next = token
                self.fail(f"a number of {len(token.text):,} characters; at most {MAX_NUMBER_LENGTH} are expected")
            return self.number(token)
        if token.kind != "word":
            self.next = token
            self.fail(f"expected a value, got {quoted(token.text)}")
        return Word(token.text)

    def number(self, token: Token) -> int | float:
        text = token.text
        digits = text.removeprefix("-")
        if not digits.isdigit():
            return int(text, 16) if digits[:2] in ("0x", "0X") else float(text.rstrip("fF"))
        octal = digits.startswith("0")
        if octal and set(digits) - set("01234567"):
            self.next = token
            self.fail(f"a number that begins with 0 has digits from 0 to 7, got {quoted(text)}")
        return int(text, 8 if octal else 10)


_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unquoted(text: str) -> str:
    """A string without its quotes and escapes; those of numbers are bytes of UTF-8."""
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    pieces, last = [], 0
    for match in _ESCAPE.finditer(inner):
        octal, two, four, eight, letter = match.groups()
        pieces.append(inner[last : match.start()].encode("utf-8", "replace"))
        last = match.end()
        if octal or two:
            pieces.append(bytes([int(octal, 8) % 256 if octal else int(two, 16)]))
        elif four or eight:
            code = int(four or eight, 16)
            pieces.append(chr(code if code < 0x110000 else 0xFFFD).encode("utf-8", "replace"))
        else:
            pieces.append(_LETTERS.get(letter, letter).encode("utf-8", "replace"))
    return b"".join([*pieces, inner[last:].encode("utf-8", "replace")]).decode("utf-8", "replace")
