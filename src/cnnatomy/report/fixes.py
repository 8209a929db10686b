"""What `--fix` did to a design: as plain data, as text for people and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.critique import Fixed, FixStep
from cnnatomy.edits.change import Cost
from cnnatomy.layers.layer import dimensions
from cnnatomy.report.findings import change_of_cost, costs, counted_remedies, filled, finding_record, title, where
from cnnatomy.report.records import peak_record
from cnnatomy.report.tables import Column, mebibytes, paragraphs, render

_FIGURES: dict[str, Callable[[Account], int]] = {
    "parameters": lambda account: account.totals.parameters,
    "MACs": lambda account: account.totals.macs,
    "feature maps (elements)": lambda account: account.totals.feature_map_elements,
    "peak memory (bytes)": lambda account: peak_record(account)["peak_feature_map_bytes"],
    "receptive field (rows)": lambda account: account.receptive_field.size[0],
}


class Done(NamedTuple):
    """What was done to a design.

    Attributes:
        fixed: the steps, and what they made of it.
        after: the account of the design after all steps.
        file: the file that was written; None where there was nothing to do, or only the difference was asked for.
        unsafe: findings that an unsafe remedy is left for, which was not asked for.
    """

    fixed: Fixed
    after: Account
    file: Path | None
    unsafe: int

    @property
    def before(self) -> Account:
        """The account of the design as it was."""
        return self.fixed.steps[0].before if self.fixed.steps else self.after


def fix_record(done: Done) -> dict[str, Any]:
    """What was done as plain data."""
    return {
        "file": str(done.file) if done.file else None,
        "applied": [_step_record(step) for step in done.fixed.steps],
        "not_applied": [
            {**finding_record(finding, Cost.of(done.after)), "reason": reason} for finding, reason in done.fixed.refused
        ],
        "unsafe": done.unsafe,
    }


def _step_record(step: FixStep) -> dict[str, Any]:
    return {
        **finding_record(step.finding, Cost.of(step.before)),
        "fix": step.remedy.fix,
        "gone": list(step.gone),
        "introduced": [{"code": one.rule.code, "rule": one.rule.name, "text": one.text} for one in step.introduced],
        "before": _measures(step.before),
        "after": _measures(step.after),
    }


def _measures(account: Account) -> dict[str, Any]:
    return {
        **costs(Cost.of(account)),
        "peak_feature_map_bytes": peak_record(account)["peak_feature_map_bytes"],
        "receptive_field": list(account.receptive_field.size),
    }


def plain(done: Done) -> str:
    """What was done, step by step, with the account before and after."""
    blocks = [filled(title(done.before))]
    for number, step in enumerate(done.fixed.steps, start=1):
        rule = step.finding.rule
        blocks.append(f"{number}. {rule} ({step.remedy.fix})\n{paragraphs(_lines(step, '  '))}")
    for finding, reason in done.fixed.refused:
        lines = [("  where", where(finding)), ("  because", reason)]
        blocks.append(f"not applied: {finding.rule}\n{paragraphs(lines)}")
    return "\n\n".join([*blocks, outcome(done)])


def markdown(done: Done) -> str:
    """The same for a comment on a pull request."""
    blocks = [f"## {title(done.before)}"]
    for step in done.fixed.steps:
        items = "\n".join(f"- **{name}**: {text}" for name, text in _lines(step))
        blocks.append(f"### {step.finding.rule} ({step.remedy.fix})\n\n{items}")
    refused = [f"- not applied: {f.rule}: {reason}" for f, reason in done.fixed.refused]
    return "\n\n".join([*blocks, *(["\n".join(refused)] if refused else []), outcome(done, "markdown")])


def _lines(step: FixStep, indent: str = "") -> list[tuple[str, str]]:
    """One step: where, what, which layers go, what it costs, and what the rules say of it that they did not before."""
    lines = [("where", where(step.finding)), ("remedy", step.remedy.text)]
    if step.gone:
        lines.append(("gone", ", ".join(step.gone)))
    lines.append(("cost", _step_change(step)))
    lines += [("brings", f"note {one.rule}: {one.text}") for one in step.introduced]
    return [(indent + name, text) for name, text in lines]


def outcome(done: Done, format: str = "table") -> str:
    """The account of the whole network before the first step and after the last."""
    more = ""
    if done.unsafe:
        effect = "they change what the network can learn, or what it costs."
        more = f"{counted_remedies(done.unsafe)} more by --unsafe-fixes: {effect}"
    if not done.fixed.steps:
        safe = "There is nothing that a program may apply: no file is written."
        return filled(f"{safe} {more}".rstrip())
    columns = [Column("what", ""), *[Column(key, key, number=True) for key in ("before", "after", "ratio")]]
    records = []
    for name, read in _FIGURES.items():
        before, after = (read(account) for account in (done.before, done.after))
        ratio = f"{after / before:.2f}" if before else ""
        records.append({"what": name, "before": f"{before:,}", "after": f"{after:,}", "ratio": ratio})
    said = [f"wrote {done.file}"] if done.file else []
    return "\n\n".join([*said, render(columns, records, format).rstrip(), *([filled(more)] if more else [])])


def _step_change(step: FixStep) -> str:
    before, after = step.before, step.after
    changes = change_of_cost(Cost.of(before), Cost.of(after))
    peaks = [mebibytes(peak_record(account)["peak_feature_map_bytes"]) for account in (before, after)]
    if peaks[0] != peaks[1]:
        changes += f", peak memory {peaks[0]} -> {peaks[1]}"
    fields = [dimensions(account.receptive_field.size) for account in (before, after)]
    if fields[0] != fields[1]:
        changes += f", receptive field {fields[0]} -> {fields[1]}"
    return changes
