"""Groups by file name, and what is told of things that lie in several splits."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from cnnatomy.data import leaks
from cnnatomy.data.leaks import groups_across, groups_of, near_across
from cnnatomy.data.parts import Report
from cnnatomy.data.splits import LEFT_OUT, TEST, TRAIN, VAL
from cnnatomy.errors import UserError

NAMES = ("cats/anna_1.jpg", "cats/anna_2.jpg", "dogs/bert_1.jpg", "dogs/x.jpg")


def test_a_group_is_what_the_parentheses_match() -> None:
    grouping = groups_of(NAMES, r"/(\w+)_\d")
    assert grouping.names == ("anna", "anna", "bert", None)
    assert grouping.alone == 1


def test_without_parentheses_it_is_all_that_is_matched() -> None:
    assert groups_of(NAMES, "^[a-z]*/").names == ("cats/", "cats/", "dogs/", "dogs/")


def test_a_match_of_nothing_is_no_group() -> None:
    with pytest.raises(UserError, match="is found in no name"):
        groups_of(NAMES, "q*")
    assert groups_of(NAMES, r"(\d)?\.jpg").names == ("1", "2", "1", None)
    assert groups_of(("a\udce9_1", "a\udce9_2", "b_3"), "^(.*)_").names == ("a\udce9", "a\udce9", "b")


def test_patterns_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"^the pattern of groups '\(' is no regular expression: missing \), unterm"):
        groups_of(NAMES, "(")
    with pytest.raises(
        UserError, match=r"^the pattern of groups 'zebra' is found in no name, such as cats/anna_1.jpg$"
    ):
        groups_of(NAMES, "zebra")
    with pytest.raises(UserError, match=r"^the pattern of groups 'jpg' puts all 4 images into one group, 'jpg'"):
        groups_of(NAMES, "jpg")
    with pytest.raises(UserError, match=r"^the pattern of groups has 2,000 characters; at most 1,000 are tried"):
        groups_of(NAMES, "(" * 2000)
    with pytest.raises(UserError, match=r"is no regular expression"):
        groups_of(NAMES, "(" * 1000)


def test_a_pattern_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MAX_PATTERN_SECONDS", 1)
    started = time.perf_counter()
    with pytest.raises(UserError, match="takes more than 1 seconds for 1 names"):
        groups_of(["a" * 60 + "!"], "(a+)+$")
    assert time.perf_counter() - started < 20


def test_near_duplicates_across_splits_are_named() -> None:
    splits = np.array([TRAIN, TEST, VAL, LEFT_OUT, TRAIN], np.int8)
    names = [f"{letter}.jpg" for letter in "abcde"]
    pairs = np.array([[0, 1], [0, 4], [1, 2], [2, 3]])
    found = near_across(pairs, names, splits)
    assert found is not None
    assert found.line() == (
        "2 pairs of near duplicates lie in different splits: a.jpg (train), b.jpg (test); b.jpg (test), c.jpg (val)"
    )
    one = near_across(pairs[:2], names, splits)
    assert one is not None
    assert one.line() == "1 pair of near duplicates lies in different splits: a.jpg (train), b.jpg (test)"
    assert near_across(pairs[1:2], names, splits) is None
    assert near_across(pairs[:0], names, splits) is None


def test_five_of_many_groups_are_named() -> None:
    groups = [f"person {number}" for number in range(8)] * 2 + [None, None]
    splits = np.array([TRAIN] * 8 + [TEST] * 8 + [TRAIN, TEST], np.int8)
    found = groups_across(groups, splits)
    assert found is not None
    assert found.line().startswith("8 groups lie in different splits: person 0 (train, test); person 1 (train, test); ")
    assert found.line().endswith("person 4 (train, test); ...")
    assert groups_across(groups, np.full(18, TRAIN, np.int8)) is None


def test_a_report_tells_of_all_that_leaks() -> None:
    overlap = groups_across(["a", "a"], np.array([TRAIN, VAL], np.int8))
    assert overlap is not None
    assert Report({}, near_duplicates=3, ungrouped=2, unused=1000, overlaps=(overlap,)).lines() == [
        "3 pairs of near duplicates, each kept in one split",
        "without a group, so that each is one of its own: 2 images",
        "of its own test split, in no fold, to be used at the end: 1,000 images",
        "1 group lies in different splits: a (train, val)",
    ]


def test_the_pattern_of_the_page_on_data_finds_persons_and_no_cameras() -> None:
    pattern = "/([a-z]+)_"
    assert f"--group '{pattern}'" in (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    found = groups_of(["happy/anna_1.jpg", "sad/anna_2.jpg", "sad/bert_1.jpg", "sad/IMG_1001.jpg"], pattern)
    assert found.names == ("anna", "anna", "bert", None)
