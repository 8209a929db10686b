"""Known findings: what a file of them hides, and what it does not."""

from __future__ import annotations

import json

import pytest

from cnnatomy.critique import RULES, Finding
from cnnatomy.errors import UserError
from cnnatomy.report import baseline
from cnnatomy.report.baseline import KnownFinding, compared

BY_CODE = {rule.code: rule for rule in RULES}
ASKED = list(BY_CODE)


def finding(code: str, *where: str, severity="warning", consequences: tuple[Finding, ...] = ()) -> Finding:
    return Finding(BY_CODE[code], severity, where, "it is so", {}, consequences=consequences)


def known(code: str, where: str, places: int = 1, severity: str = "warning") -> KnownFinding:
    return KnownFinding("a.yaml", code, where, places, severity)


def test_what_is_known_is_not_said_and_what_is_new_is():
    new, hidden, gone = compared([finding("C1", "head"), finding("N4", "tail")], [known("C1", "head")], ASKED)
    assert [one.rule.code for one in new] == ["N4"]
    assert (hidden, gone) == (1, 0)


def test_a_finding_that_moved_because_layers_were_put_in_is_known():
    assert compared([finding("C1", "body.conv3")], [known("C1", "body.conv2")], ASKED) == ([], 1, 0)


def test_one_more_of_a_rule_is_new():
    found = [finding("C1", "body.conv1"), finding("C1", "body.conv2")]
    new, hidden, gone = compared(found, [known("C1", "body.conv2")], ASKED)
    assert new == found[:1]
    assert (hidden, gone) == (1, 0)


def test_more_places_or_a_worse_severity_are_new():
    assert compared([finding("C1", "a", "b")], [known("C1", "a", places=1)], ASKED).new
    assert not compared([finding("C1", "a")], [known("C1", "a", places=2)], ASKED).new
    assert compared([finding("C1", "a", severity="error")], [known("C1", "a")], ASKED).new
    assert not compared([finding("C1", "a", severity="note")], [known("C1", "a")], ASKED).new


def test_what_is_gone_is_counted_of_the_rules_that_were_asked():
    assert compared([], [known("C1", "head"), known("N4", "tail")], ["C1"]) == ([], 0, 1)


def test_a_new_consequence_of_a_known_cause_is_said_by_itself():
    new = finding("N4", "tail")
    cause = finding("I3", "body", consequences=(finding("C1", "head"), new))
    assert compared([cause], [known("I3", "body"), known("C1", "head")], ASKED) == ([new], 2, 0)


def test_a_new_cause_is_said_with_its_consequences():
    cause = finding("I3", "body", consequences=(finding("C1", "head"),))
    assert compared([cause], [known("C1", "head")], ASKED).new == [cause]


def test_it_is_written_sorted_and_read_again(tmp_path):
    path = tmp_path / "known.json"
    found = [finding("N4", "tail", "body"), finding("C1")]
    assert baseline.write(path, [("b", found[:1]), ("a", found)]) == 3
    first = path.read_text()
    assert baseline.write(path, [("a", found[::-1]), ("b", found[:1])]) == 3
    assert path.read_text() == first
    assert baseline.read(path) == {
        "a": [KnownFinding("a", "C1", "", 0, "warning"), KnownFinding("a", "N4", "tail", 2, "warning")],
        "b": [KnownFinding("b", "N4", "tail", 2, "warning")],
    }
    assert [list(row) for row in json.loads(first)["findings"]] == [list(KnownFinding._fields)] * 3


def test_a_file_is_named_from_the_folder_of_the_baseline(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    monkeypatch.chdir(tmp_path / "nets")
    assert baseline.network_key("a.yaml", tmp_path / "known.json") == "nets/a.yaml"
    monkeypatch.chdir(tmp_path)
    assert baseline.network_key("nets/a.yaml", tmp_path / "known.json") == "nets/a.yaml"
    assert baseline.network_key("alexnet", tmp_path / "known.json") == "alexnet"


ROW = {"network": "a", "rule": "C1", "where": "", "places": 1, "severity": "note"}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        json.dumps({"baseline": 2, "findings": []}),
        json.dumps({"baseline": 1}),
        json.dumps({"baseline": 1, "findings": [{}]}),
        json.dumps({"baseline": 1, "findings": [ROW | {"places": "many"}]}),
        json.dumps({"baseline": 1, "findings": [ROW | {"severity": "bad"}]}),
        "[" * 100_000,
    ],
)
def test_what_is_no_baseline_is_neither_read_nor_overwritten(tmp_path, text):
    path = tmp_path / "known.json"
    path.write_text(text)
    for use in (baseline.read, baseline.check_place):
        with pytest.raises(UserError, match="is no baseline"):
            use(path)
    assert path.read_text() == text


def test_where_nothing_lies_one_may_be_written(tmp_path):
    baseline.check_place(tmp_path / "known.json")
    with pytest.raises(UserError, match="cannot read the baseline"):
        baseline.read(tmp_path / "known.json")
    with pytest.raises(UserError, match="cannot write"):
        baseline.write(tmp_path / "no" / "known.json", [])
