"""Findings as JSON (`docs/json.md`), as plain text for people and as Markdown; SARIF is in `sarif`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.critique import SEVERITIES, Finding, Fixed, FixStep, Purpose, Rule, critique
from cnnatomy.edits.change import Cost
from cnnatomy.layers.layer import dimensions
from cnnatomy.report.records import peak_record
from cnnatomy.report.tables import Column, mebibytes, paragraphs, render, short, terminal_width

NOTHING = "nothing to object to"
_COLOURS = {"error": 31, "warning": 33, "note": 36}
"""Red, yellow and cyan as a terminal's codes (ECMA-48, SGR)."""
_MAX_PATHS = 6
"""Of the layers that a finding concerns, so many are named to people."""

_FIGURES: dict[str, Callable[[Account], int]] = {
    "parameters": lambda account: account.totals.parameters,
    "MACs": lambda account: account.totals.macs,
    "feature maps (elements)": lambda account: account.totals.feature_map_elements,
    "peak memory (bytes)": lambda account: peak_record(account)["peak_feature_map_bytes"],
    "receptive field (rows)": lambda account: account.receptive_field.size[0],
}

FindingLines = list[tuple[str, str]]


class Done(NamedTuple):
    """What `--fix` did, and the file that it wrote, if there was anything to do."""

    fixed: Fixed
    file: Path | None


def report(
    account: Account, purpose: Purpose, findings: Sequence[Finding], format: str, done: Done | None = None
) -> str:
    """The critique of a network; with `done`, what was done to it before that."""
    if format == "json":
        return json.dumps(record(account, purpose, findings, done), indent=2)
    page = _markdown if format == "markdown" else _plain
    return page(account, findings, done)


def in_short(account: Account) -> str:
    """What is found in a network, a sentence each; nothing about reasons and remedies."""
    lines = [(f"{found.severity} {found.rule.code}", f"{found.rule.name}: {found.text}") for found in critique(account)]
    return paragraphs(lines or [("", NOTHING)])


def record(account: Account, purpose: Purpose, findings: Sequence[Finding], done: Done | None = None) -> Any:
    """The critique as plain data."""
    return {
        "name": account.name,
        "input": list(account.input),
        "purpose": dataclasses.asdict(purpose),
        "totals": _costs(Cost.of(account)),
        "count": dict(_counted(findings)),
        "findings": [finding_record(finding) for finding in findings],
        **({"fix": _fix_record(done)} if done else {}),
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """One finding as plain data."""
    rule, remedy = finding.rule, finding.remedy
    return {
        "code": rule.code,
        "rule": rule.name,
        "severity": finding.severity,
        "title": rule.title,
        "where": list(finding.where),
        "text": finding.text,
        "evidence": dict(finding.evidence),
        "why": _flat(rule.why),
        "source": rule.source,
        "remedy": remedy
        and {
            "text": remedy.text,
            "fix": remedy.fix,
            "after": _costs(remedy.after) if remedy.after else None,
        },
    }


def _costs(cost: Cost) -> dict[str, int]:
    return {"parameters": cost.parameters, "macs": cost.macs, "feature_map_elements": cost.maps}


def _measures(account: Account) -> dict[str, Any]:
    return {
        **_costs(Cost.of(account)),
        "peak_feature_map_bytes": peak_record(account)["peak_feature_map_bytes"],
        "receptive_field": list(account.receptive_field.size),
    }


def _fix_record(done: Done) -> dict[str, Any]:
    fixed, file = done
    return {
        "file": str(file) if file else None,
        "applied": [
            {**finding_record(step.finding), "before": _measures(step.before), "after": _measures(step.after)}
            for step in fixed.steps
        ],
        "not_applied": [{**finding_record(finding), "reason": reason} for finding, reason in fixed.refused],
    }


def _counted(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    counts = Counter(finding.severity for finding in findings)
    return [(severity, counts[severity]) for severity in reversed(SEVERITIES)]


def summary(findings: Sequence[Finding]) -> str:
    """`2 warnings, 3 notes`."""
    return ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in _counted(findings) if n) or NOTHING


def _grouped(findings: Sequence[Finding]) -> Iterator[tuple[Rule, str, list[Finding]]]:
    """The findings of each rule and severity, the worst first."""
    ranked = sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))
    for (_, severity), group in groupby(ranked, key=lambda finding: (finding.rule.code, finding.severity)):
        alike = list(group)
        yield alike[0].rule, severity, alike


def _plain(account: Account, findings: Sequence[Finding], done: Done | None) -> str:
    before = Cost.of(account)
    blocks = [_filled(_title(account))]
    if done:
        blocks = [_done_text(done), _filled(_title(account))]
    for rule, severity, alike in _grouped(findings):
        heading = _filled(f"{severity} {rule.code} {rule.name}: {rule.title}")
        lines: FindingLines = []
        for finding in alike:
            lines += [("  where", where(finding)), ("  found", finding.text), *_remedy(finding, before)]
        lines += [("  why", _first_sentence(rule.why)), ("  source", rule.source)]
        blocks.append(_coloured(heading, severity) + "\n" + paragraphs(lines))
    blocks.append(_filled(_last_line(findings)))
    return "\n\n".join(blocks)


def _filled(text: str) -> str:
    return textwrap.fill(text, terminal_width())


def _title(account: Account) -> str:
    cost = Cost.of(account)
    what = f"{account.name or 'network'}, input {dimensions(account.input)}"
    return f"{what}: {cost.parameters:,} parameters, {cost.macs:,} MACs"


def _last_line(findings: Sequence[Finding]) -> str:
    if not findings:
        return summary(findings)
    ready = sum(finding.remedy is not None and bool(finding.remedy.fix) for finding in findings)
    remedies = f"{ready} remed{'y' if ready == 1 else 'ies'} by --fix NEW.yaml; " if ready else ""
    return f"{summary(findings)} ({remedies}more about a rule: cnnatomy rules NAME)"


def _remedy(finding: Finding, before: Cost) -> FindingLines:
    remedy = finding.remedy
    if remedy is None:
        return []
    lines = [("  remedy", remedy.text)]
    if remedy.after:
        lines.append(("  cost", _change(before, remedy.after)))
    return lines


def _change(before: Cost, after: Cost) -> str:
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


def where(finding: Finding, mark: str = "") -> str:
    """The first of the layers that a finding concerns, and how many more there are."""
    named = ", ".join(f"{mark}{path}{mark}" for path in finding.where[:_MAX_PATHS])
    more = len(finding.where) - _MAX_PATHS
    return (f"{named} and {more} more" if more > 0 else named) or "the network"


def _first_sentence(text: str) -> str:
    """Up to the first full stop that ends one: not that of `et al.` or `e.g.`."""
    return re.split(r"(?<!\.[a-z])(?<!\bal)\.\s+(?=[A-Z])", _flat(text), maxsplit=1)[0].rstrip(".") + "."


def _flat(text: str) -> str:
    return " ".join(text.split())


def _coloured(text: str, severity: str) -> str:
    """The severity in bold colour; the command that prints it takes that away again where no terminal shows it."""
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[severity]}m\x1b[1m{severity}\x1b[0m" + text.removeprefix(severity)


def _done_text(done: Done) -> str:
    """What was done, step by step, with the account before and after."""
    fixed = done.fixed
    blocks = []
    for number, step in enumerate(fixed.steps, start=1):
        finding = step.finding
        lines = [("  where", where(finding)), ("  remedy", finding.remedy.text if finding.remedy else "")]
        lines += [("  cost", _step_change(step))]
        blocks.append(f"{number}. {finding.rule.code} {finding.rule.name}\n{paragraphs(lines)}")
    for finding, reason in fixed.refused:
        lines = [("  where", where(finding)), ("  because", reason)]
        blocks.append(f"not applied: {finding.rule.code} {finding.rule.name}\n{paragraphs(lines)}")
    return "\n\n".join([*blocks, _outcome(done)])


def _outcome(done: Done, format: str = "table") -> str:
    """The account of the whole network before the first step and after the last."""
    if done.file is None:
        return "There is nothing that a program may apply: no file is written."
    steps = done.fixed.steps
    columns = [Column("what", ""), *[Column(key, key, number=True) for key in ("before", "after", "ratio")]]
    records = []
    for name, read in _FIGURES.items():
        before, after = (read(account) for account in (steps[0].before, steps[-1].after))
        ratio = f"{after / before:.2f}" if before else ""
        records.append({"what": name, "before": f"{before:,}", "after": f"{after:,}", "ratio": ratio})
    return f"wrote {done.file}\n\n{render(columns, records, format)}".rstrip()


def _step_change(step: FixStep) -> str:
    before, after = step.before, step.after
    changes = _change(Cost.of(before), Cost.of(after))
    peaks = [mebibytes(peak_record(account)["peak_feature_map_bytes"]) for account in (before, after)]
    if peaks[0] != peaks[1]:
        changes += f", peak memory {peaks[0]} -> {peaks[1]}"
    fields = [dimensions(account.receptive_field.size) for account in (before, after)]
    if fields[0] != fields[1]:
        changes += f", receptive field {fields[0]} -> {fields[1]}"
    return changes


def _markdown(account: Account, findings: Sequence[Finding], done: Done | None) -> str:
    before = Cost.of(account)
    blocks = [f"## {_title(account)}"]
    if done:
        fixed = done.fixed
        steps = [
            f"- {step.finding.rule.code} {step.finding.rule.name}: {step.finding.remedy.text}; {_step_change(step)}"
            for step in fixed.steps
            if step.finding.remedy
        ]
        steps += [f"- not applied: {f.rule.code} {f.rule.name}: {reason}" for f, reason in fixed.refused]
        blocks += ["\n".join(steps)] * bool(steps) + [_outcome(done, "markdown")]
    for rule, severity, alike in _grouped(findings):
        lines = []
        for finding in alike:
            lines += [("where", where(finding, "`")), ("found", finding.text)]
            lines += [(name.strip(), text) for name, text in _remedy(finding, before)]
        lines += [("why", _flat(rule.why)), ("source", rule.source)]
        items = "\n".join(f"- **{name}**: {text}" for name, text in lines)
        blocks.append(f"### {severity} {rule.code} {rule.name}\n\n{rule.title}\n\n{items}")
    return "\n\n".join([*blocks, summary(findings)])
