"""Findings as commands of a GitHub workflow."""

from __future__ import annotations

from pathlib import Path

from cnnatomy.critique import RULES, Finding, Remedy
from cnnatomy.readers.yaml.lines import Lines
from cnnatomy.report.workflow import commands

RULE = next(rule for rule in RULES if rule.code == "C1")


def finding(severity, *where: str, text: str = "it is so") -> Finding:
    return Finding(RULE, severity, where, text, {}, (Remedy("halve it"),))


def test_a_finding_is_a_line_with_file_and_line():
    found = [finding("error", "body.conv"), finding("note")]
    assert commands(found, "a", Lines(Path("nets/a.yaml"), {"body.conv": 7})).splitlines() == [
        "::error file=nets/a.yaml,line=7,title=C1 vectorised-head::body.conv: it is so. Remedy: halve it",
        "::notice file=nets/a.yaml,line=1,title=C1 vectorised-head::a: it is so. Remedy: halve it",
    ]


def test_a_network_without_a_file_is_named():
    found = [finding("warning", "a", "b", "c", "d")]
    assert commands(found, "alexnet") == (
        "::warning title=C1 vectorised-head::alexnet: a, b, c, ...: it is so. Remedy: halve it"
    )


def test_what_would_end_a_command_is_escaped():
    """As in actions/toolkit: % CR LF in a message, : and , too in a property."""
    found = [finding("note", "x", text="50% of\r\nit, or: ::error::")]
    line = commands(found, "a", Lines(Path("a,b:c%\n.yaml"), {}))
    assert line == (
        "::notice file=a%2Cb%3Ac%25%0A.yaml,line=1,title=C1 vectorised-head"
        "::x: 50%25 of%0D%0Ait, or: ::error::. Remedy: halve it"
    )
