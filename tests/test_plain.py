"""Plain data against the type of a field: as strict as a type checker, with tuples for lists."""

from __future__ import annotations

from typing import Literal, Optional

import pytest

from cnnatomy.errors import UserError, shown
from cnnatomy.plain import checked, seconds, sides

PADDING = int | tuple[int, int] | Literal["same", "valid"]


@pytest.mark.parametrize(
    ("got", "hint", "value"),
    [
        (3, int, 3),
        (True, bool, True),
        ("relu", str, "relu"),
        (3, float, 3.0),
        (None, Optional[int], None),  # noqa: UP045
        (None, int | None, None),
        ("same", PADDING, "same"),
        ([1, 2], PADDING, (1, 2)),
        ([], tuple[int, ...], ()),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ([1, 2], list[float], [1.0, 2.0]),
        ([["a", 1], ["b", 2]], tuple[tuple[str, int], ...], (("a", 1), ("b", 2))),
        ([[3, [1, 7]], [3, 3]], tuple[tuple[int, PADDING], ...], ((3, (1, 7)), (3, 3))),
        ({"float32": 65e12, "int8": 1}, dict[str, float], {"float32": 65e12, "int8": 1.0}),
    ],
)
def test_what_fits_is_a_value_of_the_type(got, hint, value):
    made = checked(got, hint, "field")
    assert made == value
    assert type(made) is type(value)
    assert repr(made) == repr(value)  # 3.0 inside a tuple is no 3


@pytest.mark.parametrize(
    ("got", "hint", "expected"),
    [
        (True, int, "int"),
        (3.0, int, "int"),
        ("3", int, "int"),
        (1, bool, "true or false"),
        (1, str, "text"),
        (None, int, "int"),
        (True, float, "float"),
        ("3", float, "float"),
        ("nan", float, "float"),
        ("1e12", float, "float"),
        (10**400, float, "float"),
        (10**400, float | None, "float or null"),
        (True, Literal[1, 2], "1 or 2"),
        ("full", PADDING, "int or [int, int] or same or valid"),
        ([1, 2, 3], PADDING, "int or [int, int] or same or valid"),
        ("ab", tuple[str, ...], "list of text"),
        ([1, [2]], tuple[int, ...], "list of int"),
        ({1: 2.0}, dict[str, float], "mapping of text to float"),
        ([1.0], dict[str, float], "mapping of text to float"),
    ],
)
def test_what_does_not_fit_is_named_with_the_type_expected(got, hint, expected):
    with pytest.raises(UserError) as caught:
        checked(got, hint, "field")
    what = repr(got) if isinstance(got, str) else shown(got)
    assert str(caught.value) == f"field: expected {expected}, got {what}"


def test_a_list_that_holds_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UserError, match=r"got \[\[\[\["):
        checked(endless, tuple[tuple[int, ...], ...], "field")


def test_a_message_shows_long_and_deep_values_in_part():
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    for got in ([0] * 10**6, "a" * 10**6, 10**400, deep, {n: n for n in range(10**5)}):
        assert len(shown(got)) < 250
    assert shown([1, "a", None]) == "[1, 'a', None]"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20ms", 0.02),
        ("1.5 s", 1.5),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("0ms", None),
        ("20", None),
        ("ms", None),
        ("1h", None),
    ],
)
def test_a_time_is_a_number_and_a_unit(text, found):
    assert seconds(text) == (found if found is None else pytest.approx(found))


@pytest.mark.parametrize(
    ("text", "found"), [("24:400", (24, 400)), (" 32 ", (32, 32)), ("400:24", None), ("0:3", None), ("a", None)]
)
def test_sides_are_from_the_smallest_to_the_largest(text, found):
    assert sides(text) == found
