"""Every finding that is printed by default about judged networks is judged, and the documentation says how."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cnnatomy.critique import RULES

ROOT = Path(__file__).resolve().parents[2]
DESIGNS = ("cases", "first", "second", "third")
SETS = ("catalogue", *(f"{name} {kind}" for name in DESIGNS for kind in ("flawed", "good")))


@pytest.fixture(scope="module")
def quality():
    """`benchmarks/critique_quality.py`."""
    file = ROOT / "benchmarks" / "critique_quality.py"
    spec = importlib.util.spec_from_file_location("critique_quality", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def holds(quality, name: str) -> None:
    """The findings of a set are judged, and the documentation has its figures."""
    judged = list(quality.judgements(name))
    left = [
        f"{one.network}: {finding.severity} {finding.rule.code}"
        for one in judged
        for finding in one.findings
        if one.verdict(finding) == "unjudged"
    ]
    assert not left, f"say in docs/critique-judged.yaml whether they are right or noise: {', '.join(left)}"
    codes = {rule.code for rule in RULES}
    assert {remark["found"] for one in judged for remark in one.remarks if "found" in remark} <= codes
    *_, row = quality.table(quality.rows(judged)).splitlines()
    assert row in (ROOT / "docs" / "critique.md").read_text(encoding="utf-8"), row


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_what_is_said_of_judged_networks_is_judged(quality, name):
    holds(quality, name)


@pytest.mark.slow
@pytest.mark.peers
def test_what_is_said_of_timm_s_networks_is_judged(quality):
    holds(quality, "timm")
