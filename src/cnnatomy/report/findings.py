"""Findings as JSON (`docs/json.md`), as plain text for people and as Markdown; SARIF is in `sarif`."""

from __future__ import annotations

import dataclasses
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from cnnatomy.analysis import Account
from cnnatomy.critique import SEVERITIES, Finding, Purpose, Rule, applicable, critique
from cnnatomy.edits.change import Cost, Remedy
from cnnatomy.errors import counted
from cnnatomy.report.tables import paragraphs, short, terminal_width

NOTHING = "nothing to object to"
_COLOURS = {"error": 31, "warning": 33, "note": 36}
"""Red, yellow and cyan as a terminal's codes (ECMA-48, SGR)."""
_MAX_PATHS = 6
"""Of the layers that a finding concerns, so many are named to people."""

FindingLines = list[tuple[str, str]]


def report(account: Account, findings: Sequence[Finding], format: str) -> str:
    """The critique of a network for people."""
    return (markdown if format == "markdown" else plain)(account, findings)


def in_short(account: Account) -> str:
    """What is found in a network, a sentence each; nothing about reasons and remedies."""
    lines = [(f"{found.severity} {found.rule.code}", f"{found.rule.name}: {found.text}") for found in critique(account)]
    return paragraphs(lines or [("", NOTHING)])


def record(account: Account, purpose: Purpose, findings: Sequence[Finding]) -> dict[str, Any]:
    """The critique as plain data."""
    cost = Cost.of(account)
    return {
        "name": account.name,
        "input": list(account.input),
        "purpose": dataclasses.asdict(purpose),
        "totals": costs(cost),
        "count": dict(_by_severity(findings)),
        "findings": [finding_record(finding, cost) for finding in findings],
    }


def finding_record(finding: Finding, before: Cost) -> dict[str, Any]:
    """One finding, with its consequences, in a network of this cost as plain data."""
    rule = finding.rule
    remedies = [_remedy_record(remedy, before) for remedy in finding.remedies]
    return {
        "code": rule.code,
        "rule": rule.name,
        "severity": finding.severity,
        "quiet": finding.quiet,
        "title": rule.title,
        "where": list(finding.where),
        "text": finding.text,
        "evidence": dict(finding.evidence),
        "why": flat_text(rule.why),
        "source": rule.source,
        "remedy": remedies[0] if remedies else None,
        "alternatives": remedies[1:],
        "consequences": [finding_record(one, before) for one in finding.consequences],
    }


def _remedy_record(remedy: Remedy, before: Cost) -> dict[str, Any]:
    return {
        "text": remedy.text,
        "fix": remedy.fix,
        "after": costs(remedy.after) if remedy.after else None,
        "dear": remedy.is_dear(before),
    }


def costs(cost: Cost) -> dict[str, int]:
    """A cost as plain data."""
    return {"parameters": cost.parameters, "macs": cost.macs, "feature_map_elements": cost.maps}


def _by_severity(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    counts = Counter(finding.severity for finding in findings)
    return [(severity, counts[severity]) for severity in reversed(SEVERITIES)]


def summary(findings: Sequence[Finding]) -> str:
    """`2 warnings, 3 notes`."""
    return ", ".join(counted(n, severity) for severity, n in _by_severity(findings) if n) or NOTHING


def _grouped(findings: Sequence[Finding]) -> Iterator[tuple[Rule, str, list[Finding]]]:
    """The findings of each rule and severity, in their order."""
    for (_, severity), group in groupby(findings, key=lambda finding: (finding.rule.code, finding.severity)):
        alike = list(group)
        yield alike[0].rule, severity, alike


def first_thing(findings: Sequence[Finding]) -> str:
    """What to do first, and why; empty where there is nothing to object to."""
    if not findings:
        return ""
    first, *_ = findings
    what = first.remedy.text if first.remedy else f"look at {where(first)}"
    return f"First: {what}. Why: {first.text} ({first.rule})."


def plain(account: Account, findings: Sequence[Finding]) -> str:
    """What people read on a terminal."""
    before = Cost.of(account)
    first = first_thing(findings)
    blocks = [*([filled(first)] if first else []), filled(title(account))]
    for rule, severity, alike in _grouped(findings):
        heading = filled(f"{severity} {rule}: {rule.title}")
        lines = [*_lines(alike, before), ("why", _first_sentence(rule.why)), ("source", rule.source)]
        indented = [(f"  {name}", text) for name, text in lines]
        blocks.append(_coloured(heading, severity) + "\n" + paragraphs(indented))
    blocks.append(filled(_last_line(findings)))
    return "\n\n".join(blocks)


def _lines(findings: Sequence[Finding], before: Cost, mark: str = "") -> FindingLines:
    """What is said of findings of one rule, without the rule."""
    lines = []
    for finding in findings:
        lines += [("where", where(finding, mark)), ("found", finding.text), *_advice(finding, before)]
        lines += [("so", f"{one.rule}: {one.text}") for one in finding.consequences]
    return lines


def filled(text: str) -> str:
    """A text in lines as wide as the terminal."""
    return textwrap.fill(text, terminal_width())


def title(account: Account) -> str:
    """A network in a line: name, input, what it costs."""
    cost = Cost.of(account)
    what = f"{account.name or 'network'}, input {account.graph.takes}"
    return f"{what}: {cost.parameters:,} parameters, {cost.macs:,} MACs"


def _last_line(findings: Sequence[Finding]) -> str:
    if not findings:
        return summary(findings)
    options = zip(applied_by_fix(findings), ("", " --unsafe-fixes"), strict=True)
    ready = [f"{counted_remedies(number)} by --fix NEW.yaml{option}" for number, option in options if number]
    return f"{summary(findings)} ({'; '.join([*ready, 'more about a rule: cnnatomy rules NAME'])})"


def applied_by_fix(findings: Sequence[Finding]) -> tuple[int, int]:
    """How many findings have a remedy for `--fix`, and how many more for `--unsafe-fixes`."""
    safe, every = (len(applicable(findings, unsafe)) for unsafe in (False, True))
    return safe, every - safe


def counted_remedies(number: int) -> str:
    """`1 remedy`, `2 remedies`."""
    return "1 remedy" if number == 1 else f"{number} remedies"


def _advice(finding: Finding, before: Cost) -> FindingLines:
    """The remedies of a finding with what they cost, the best first."""
    lines = []
    for i, remedy in enumerate(finding.remedies):
        lines.append(("or" if i else "remedy", remedy.text))
        if remedy.after:
            lines.append(("cost", change_of_cost(before, remedy.after)))
    if finding.remedies and all(remedy.is_dear(before) for remedy in finding.remedies):
        lines.append(("", "dear: no cheaper remedy is known"))
    return lines


def change_of_cost(before: Cost, after: Cost) -> str:
    """What changes of a cost: `60.97 M -> 3.622 M parameters (0.06x)`, or `+704 parameters` where that is little."""
    names = ("parameters", "MACs", "elements of feature maps")
    changes = []
    for name, old, new in zip(names, before, after, strict=True):
        ratio = f"{new / old:.2f}" if old else ""
        if ratio == "1.00" and old != new:
            changes.append(f"{new - old:+,} {name}")
        elif old != new:
            changes.append(f"{short(old)} -> {short(new)} {name}{f' ({ratio}x)' if ratio else ''}")
    return ", ".join(changes) or "as before"


def with_remedy(finding: Finding) -> str:
    """What is found, and what to do first."""
    return finding.text + (f". Remedy: {finding.remedy.text}" if finding.remedy else "")


def where(finding: Finding, mark: str = "") -> str:
    """The first of the layers that a finding concerns, and how many more there are."""
    named = ", ".join(f"{mark}{path}{mark}" for path in finding.where[:_MAX_PATHS])
    more = len(finding.where) - _MAX_PATHS
    return (f"{named} and {more} more" if more > 0 else named) or "the network"


def _first_sentence(text: str) -> str:
    """Up to the first full stop that ends one: not that of `et al.` or `e.g.`, nor one inside a quotation."""
    whole = flat_text(text)
    ends = (m.start() for m in re.finditer(r"(?<!\.[a-z])(?<!\bal)\.\s+(?=[A-Z])", whole))
    end = next((end for end in ends if whole[:end].count('"') % 2 == 0), len(whole))
    return whole[:end].rstrip(".") + "."


def flat_text(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())


def _coloured(text: str, severity: str) -> str:
    """The severity in bold colour; the command that prints it takes that away again where no terminal shows it."""
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[severity]}m\x1b[1m{severity}\x1b[0m" + text.removeprefix(severity)


def markdown(account: Account, findings: Sequence[Finding]) -> str:
    """A comment on a pull request."""
    before = Cost.of(account)
    first = first_thing(findings)
    blocks = [*([first] if first else []), f"## {title(account)}"]
    for rule, severity, alike in _grouped(findings):
        lines = [*_lines(alike, before, "`"), ("why", flat_text(rule.why)), ("source", rule.source)]
        items = "\n".join(f"- **{name or 'and'}**: {text}" for name, text in lines)
        blocks.append(f"### {severity} {rule}\n\n{rule.title}\n\n{items}")
    return "\n\n".join([*blocks, summary(findings)])
