"""The text format of protocol buffers, held to protobuf's own parser."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.readers.caffe.text_format import Message, parse

pytest.importorskip("google.protobuf")
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format


def _message_class():
    """A message with a field of each type that Caffe has."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="t", syntax="proto2")
    message = file.message_type.add(name="M")
    kinds = {"i": 5, "u": 13, "d": 1, "b": 8, "s": 9, "m": 11}  # int32, uint32, double, bool, string, message
    for number, (name, kind) in enumerate(kinds.items(), 1):
        field = message.field.add(name=name, number=number, type=kind, label=3)
        if kind == 11:
            field.type_name = ".t.M"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.M"))


M = _message_class()


def theirs(text: str) -> list[object]:
    return plain_theirs(text_format.Parse(text, M()))


def plain_theirs(message) -> list[object]:
    return [
        list(message.i),
        list(message.u),
        list(message.d),
        list(message.b),
        list(message.s),
        [plain_theirs(one) for one in message.m],
    ]


def ours(message: Message) -> list[object]:
    flags = [Message("x", 1, [field]).flag("b", False) for field in message.fields if field[0] == "b"]
    return [
        message.integers("i"),
        message.integers("u"),
        message.numbers("d"),
        flags,
        message.strings("s"),
        [ours(one) for one in message.messages("m")],
    ]


TEXTS = [
    "i: 3 i: -3 i: 0x10 i: 010 i: -0x1F i: 0",
    "u: 7, u: 8; u: 9",
    "u: [1, 2, 3] u: []",
    "d: 1 d: 1.5 d: .5 d: 5. d: 1e3 d: 1E-3 d: 1f d: 1.5F d: -2.5e+2",
    "d: inf d: -inf d: Infinity d: -infinity",
    "b: true b: True b: t b: 1 b: false b: False b: f b: 0",
    's: "a" s: \'b\' s: "a" "b" \'c\' s: ""',
    r's: "a\n\t\\\"\'\101\x41é" s: "\303\251"',
    "m { i: 1 } m: { i: 2 } m < i: 3 > m: < i: 4 >",
    "m: [{ i: 1 }, { i: 2 }] m [{ i: 3 }]",
    "# a comment\ni: 1 # another\n\ti: 2\r\ni: 3",
    "m { m { m { b: t } } d: 2 }",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_means_what_it_means_to_protobuf(text):
    assert ours(parse(text, "x")) == theirs(text)


def test_no_space_is_needed_after_a_number():
    """So it is in C++, by which Caffe reads its files, though not in Python."""
    assert parse("i:3u:4", "x").integers("u") == [4]


def test_nan_is_a_number():
    (got,) = parse("d: nan", "x").numbers("d")
    assert math.isnan(got)
    assert math.isnan(theirs("d: nan")[2][0])


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert parse("\ufeffi: 1", "x").integers("i") == [1]


BROKEN = [
    "i: 08",
    "i: 1.5",
    "i: 1e3",
    'i: "1"',
    "b: 2",
    "b: yes",
    "b: TRUE",
    'b: "true"',
    "b: 1.0",
    "d: 1.2.3",
    "d: 1e",
    's: "a\nb"',
    "u: [1 2]",
    "u: [1, 2",
    "u: [1, 2,]",
    "u: [,]",
    "m { i: 1 >",
    "m { i: 1",
    "i 3",
    "i: 3,,",
    "i: }",
    "d: words",
]


def test_spaces_may_be_between_a_minus_and_its_number():
    """So the specification says, and protobuf's parser in C++, which Caffe uses, does; that in Python does not."""
    message = parse("i: - 3\nd: -\n 2.5 d: - inf\nb: 1", "x")
    assert (message.integers("i"), message.numbers("d")) == ([-3], [-2.5, -math.inf])
    assert message.fields[-1][2] == 4


@pytest.mark.parametrize("text", BROKEN)
def test_a_text_that_protobuf_refuses_is_refused(text):
    with pytest.raises(text_format.ParseError):
        theirs(text)
    with pytest.raises(cn.UserError, match="x, line"):
        ours(parse(text, "x"))


values = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda n: ("i", n)),
    st.floats(allow_nan=False).map(lambda x: ("d", x)),
    st.booleans().map(lambda x: ("b", x)),
    st.text(max_size=20).filter(lambda s: s.isprintable() or s.isascii()).map(lambda s: ("s", s)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=6), st.lists(values, max_size=3))
def test_what_protobuf_writes_is_read_back(outer, inner):
    message = M()
    for into, fields in ((message, outer), (message.m.add(), inner)):
        for name, value in fields:
            getattr(into, name).append(value)
    assert ours(parse(text_format.MessageToString(message), "x")) == plain_theirs(message)
