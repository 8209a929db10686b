"""Which rules are asked, and what goes before what: command line, design, project."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnatomy.critique import RULES
from cnnatomy.critique.settings import FAMILIES, Settings, chosen, find
from cnnatomy.critique.suppression import Suppression
from cnnatomy.errors import UserError

CODES = [rule.code for rule in RULES]


def codes(select=(), ignore=()) -> list[str]:
    return [rule.code for rule in chosen(select, ignore)]


def test_a_letter_means_all_rules_of_its_family():
    assert codes(["N"]) == codes(["n"]) == [code for code in CODES if code[0] == "N"]
    assert codes(ignore=["C"]) == [code for code in CODES if code[0] != "C"]
    assert {code[0] for code in CODES} == set(FAMILIES)
    assert all(codes([letter]) for letter in FAMILIES)


def test_a_rule_is_chosen_by_name_or_code_in_any_case():
    assert codes(["n4"]) == codes(["Response-Normalisation"]) == ["N4"]
    assert codes() == CODES


def test_a_rule_by_itself_counts_more_than_its_family():
    assert codes(["C"], ["C1"]) == [code for code in CODES if code[0] == "C" and code != "C1"]
    assert codes(["C1"], ["C"]) == ["C1"]
    assert codes(["C1"], ["C1"]) == []
    assert codes(["C"], ["C"]) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("N44", "Did you mean N4"), ("response-normalization", "response-normalisation"), ("Q", "families")],
)
def test_an_unknown_rule_is_one_message_with_the_nearest(name, said):
    with pytest.raises(UserError, match="there is no rule") as caught:
        find(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_nearer_goes_before_what_is_further():
    project = Settings(ignore=("C",), device="t4", memory=100, pedantic=True, baseline=Path("a.json"))
    design = Settings(memory=200, ignore=("N4",))
    line = Settings(latency=0.02, pedantic=False)
    merged = line.over(design.over(project))
    assert (merged.device, merged.memory, merged.latency) == ("t4", 200, 0.02)
    assert merged.pedantic is False
    assert merged.baseline == Path("a.json")
    assert merged.ignore == ("C", "N4")
    assert merged.purpose().memory == 200


def test_a_selection_does_away_with_what_others_ignore():
    merged = Settings(select=("C1",)).over(Settings(select=("N",), ignore=("C1",)))
    assert [rule.code for rule in merged.rules()] == ["C1"]


def test_suppressions_add_up():
    one, other = (Suppression(code, (code,), "*", "because", "x.toml") for code in ("C1", "N4"))
    assert Settings(suppress=(one,)).over(Settings(suppress=(other,))).suppress == (other, one)


def test_what_seldom_matters_is_said_of_rules_that_are_named():
    assert Settings().loud() == []
    assert Settings(select=("N",)).loud() == []
    assert [rule.code for rule in Settings(select=("N", "n3")).loud()] == ["N3"]
    assert Settings(pedantic=True).loud() == list(RULES)
