"""A design changed in its text: what is not touched stays as somebody wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

import cnnatomy as cn
from cnnatomy.errors import UserError
from cnnatomy.readers.yaml import listed
from cnnatomy.readers.yaml.kept import rewritten
from random_designs import networks

TEXT = """\
# The small one.
name: small  # until it grows
head:
  LinearHead: {classes: 10}   # digits
input: [1, 28, 28]

tail:
  # what every image passes
  - Conv: {kernel: 3, channels: 8}
  - ReLU
body:
- Residual:
    parts:
    - Conv: {channels: 8, kernel: 3}  # first
    - BatchNorm
    - ReLU   # between
    - Conv: {channels: 8, kernel: 3}  # second
    - ReLU
    after: ReLU
# two of them
- Conv: {channels: 8, kernel: 3}
  times: 2
- MaxPool: {kernel: 2}  # the end
critique: {ignore: [S]}  # too small for that
"""


NAMES = """\
tail: ReLU
body:
  Chain:
    # the first
    one:
      Conv: {channels: 8, kernel: 3}
    two: ReLU  # the second

    three:
    - ReLU
    - Residual:
        inner: Sigmoid  # mine
        outer: ReLU
head: ReLU  # none
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    two: ReLU  # the second\n", ""),
        ("        outer: ReLU\n", ""),
        ("    two: ReLU  # the second\n", "    two: Sigmoid\n"),
        ("        outer: ReLU\n", "        outer: ReLU\n        last: ReLU\n"),
        ("channels: 8", "channels: 16"),
        ("      Conv: {channels: 8, kernel: 3}\n", "      Conv: {channels: 8, kernel: 3, bias: false}\n"),
    ],
)
def test_parts_by_name_stay_by_name(old, new):
    assert NAMES.count(old) == 1
    wanted = NAMES.replace(old, new)
    assert rewritten(NAMES, listed.read(wanted)) == (wanted, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    - ReLU   # between\n", ""),
        ("- MaxPool: {kernel: 2}  # the end\n", ""),
        ("  - ReLU\nbody", "body"),
        ("- Conv: {channels: 8, kernel: 3}\n  times: 2\n", ""),
        ("kernel: 3}  # first", "kernel: 3, bias: false}  # first"),
        ("{kernel: 3, channels: 8}", "{kernel: 5, channels: 8}"),
        ("kernel: 2}  # the", "kernel: 3}  # the"),
        ("    - BatchNorm\n", "    - BatchNorm\n    - Sigmoid\n"),
        ("    - BatchNorm\n", "    - Sigmoid\n    - BatchNorm\n"),
        ("after: ReLU", "after: Sigmoid"),
        ("classes: 10}", "classes: 7}"),
        ("name: small", "name: other"),
        ("head:\n  LinearHead: {classes: 10}   # digits", "head: Softmax"),
        ("input: [1, 28, 28]", "input: [1, 32, 32]"),
        ("    - ReLU\n    after", "    - Conv: {channels: 8, kernel: 1}\n    - ReLU\n    after"),
        ("# two of them\n- Conv: {channels: 8, kernel: 3}\n  times: 2\n", "# two of them\n- Sigmoid\n"),
        ("  times: 2\n", ""),
    ],
)
def test_only_what_changes_is_another_text(old, new):
    assert TEXT.count(old) == 1
    wanted = TEXT.replace(old, new)
    assert rewritten(TEXT, listed.read(wanted)) == (wanted, True)


def test_what_does_not_change_is_the_same_text():
    assert rewritten(TEXT, listed.read(TEXT)) == (TEXT, True)


def test_of_a_section_that_cannot_be_told_apart_only_that_section_is_written_again():
    text = TEXT.replace(
        "  # what every image passes\n  - Conv: {kernel: 3, channels: 8}\n  - ReLU\n", "  [ReLU, ReLU]\n"
    )
    after = listed.read(text.replace("[ReLU, ReLU]", "[ReLU]"))
    wanted = (text.replace("tail:\n  [ReLU, ReLU]\n", "tail:\n  Chain: [ReLU]\n"), True)
    assert rewritten(text, after) == wanted


def test_a_text_without_an_end_of_line_loses_its_last_line_whole():
    text = "input: [3, 8, 8]\ntail: ReLU\nhead: ReLU\nbody:\n- ReLU\n- ReLU # last"
    assert rewritten(text, listed.read(text.replace("\n- ReLU # last", ""))) == (
        text.replace("- ReLU # last", ""),
        True,
    )


def test_nodes_go_from_a_design_by_nodes():
    text = (
        "input: [3, 8, 8]\nnodes:\n- a: ReLU  # one\n- b: ReLU\n- c: Add  # both\n  reads: [a, b]\n"
        "# the end\n- d: ReLU\n- e: ReLU  # last\n"
    )
    for old in ("- d: ReLU\n", "- e: ReLU  # last\n"):
        wanted = text.replace(old, "")
        assert rewritten(text, listed.read(wanted)) == (wanted, True)


def test_a_list_of_very_many_equal_parts_is_written_again():
    body = "- Conv: {channels: 8, kernel: 3}  # mine\n- ReLU\n" * 300
    text = f"input: [3, 8, 8]\ntail: ReLU  # kept\nbody:\n{body}head: ReLU\n"
    after = listed.read(text.replace("body:\n", "body:\n- ReLU\n"))
    found = rewritten(text, after)
    assert found.kept
    assert "# kept" in found.text
    assert "# mine" not in found.text
    assert listed.read(found.text) == after


def test_where_an_anchor_would_go_the_design_is_written_again_with_its_settings():
    text = (
        "input: [3, 8, 8]\ntail: ReLU\nbody:\n- &one ReLU\n- Sigmoid\n- *one\nhead: ReLU\ncritique: {ignore: [S]} # a\n"
    )
    after = listed.read("input: [3, 8, 8]\ntail: ReLU\nbody: [Sigmoid, ReLU]\nhead: ReLU\n")
    found = rewritten(text, after)
    assert not found.kept
    assert listed.read(found.text) == after
    assert found.text.endswith("critique: {ignore: [S]}\n") or "critique: {ignore: [S]} # a" in found.text


@settings(max_examples=25)
@given(networks(), networks())
def test_whatever_comes_out_is_the_design_that_was_asked_for(before, after):
    assert listed.read(rewritten(listed.write(before), after).text) == after


def test_a_design_by_parts_becomes_one_by_nodes():
    nodes = listed.read("input: [3, 8, 8]\nnodes:\n- a: ReLU\n")
    found = rewritten(TEXT, nodes)
    assert (listed.read(found.text), found.kept) == (nodes, False)


def test_what_is_no_design_is_told():
    with pytest.raises(UserError, match="line 1"):
        rewritten("tail: Conf\n", cn.network("lenet-5"))
