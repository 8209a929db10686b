"""A fix of SARIF, applied to a text as the standard says, gives the other text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.readers.yaml import listed
from cnnatomy.report import sarif_fixes

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = Path(__file__).parent / "data" / "sarif-schema-2.1.0.json"


def applied(fix: dict, text: str) -> str:
    """The text after a fix: lines and columns count from 1, a region ends before its last column."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    (change,) = fix["artifactChanges"]
    for replacement in reversed(change["replacements"]):
        region = replacement["deletedRegion"]
        begin = starts[region["startLine"] - 1] + region["startColumn"] - 1
        end = starts[region["endLine"] - 1] + region["endColumn"] - 1
        text = text[:begin] + replacement.get("insertedContent", {}).get("text", "") + text[end:]
    return text


LINES = st.lists(st.sampled_from(["- ReLU", "- Conv: {channels: 8}", "", "  a", "\x0b\u2028"]), max_size=8).map(
    "\n".join
)


@given(LINES, LINES)
def test_applying_it_gives_the_other_text(before, after):
    assert applied(sarif_fixes.fix(before, after, "a.yaml", "remedies"), before) == after


def test_whole_lines_go_and_come():
    made = sarif_fixes.fix("a\nb\nc\n", "a\nx\ny\nc\n", "nets/a.yaml", "replace b")
    assert made == {
        "description": {"text": "replace b"},
        "artifactChanges": [
            {
                "artifactLocation": {"uri": "nets/a.yaml"},
                "replacements": [
                    {
                        "deletedRegion": {"startLine": 2, "startColumn": 1, "endLine": 3, "endColumn": 1},
                        "insertedContent": {"text": "x\ny\n"},
                    }
                ],
            }
        ],
    }


def test_it_is_valid_by_the_schema_of_oasis():
    before, after = (listed.write(cn.network(name)) for name in ("resnet-18", "resnet-34"))
    made = sarif_fixes.fix(before, after, "a.yaml", "deeper")
    assert applied(made, before) == after
    result = {"message": {"text": "too shallow."}, "fixes": [made]}
    run = {"tool": {"driver": {"name": "x"}}, "results": [result]}
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate({"version": "2.1.0", "runs": [run]})
