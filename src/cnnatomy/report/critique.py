"""What `cnnatomy critique` does: read a network, criticise it, fix and write it if asked for, and say so."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique import RULES, SEVERITIES, Finding, Fixed, Purpose, Rule, applicable, critique, fixing
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, nearest
from cnnatomy.files import check_new, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.readers import in_catalogue, read_graph, resolve
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.report import findings as shown
from cnnatomy.report import fixes
from cnnatomy.report.memory import parse_size
from cnnatomy.report.sarif import sarif


class Reviewed(NamedTuple):
    """What is said of one network.

    Attributes:
        file: what it was read from, or was written to by `--fix`.
        account: what it costs; after the remedies that were applied.
        findings: what the rules find in it.
        done: the remedies that were applied, if that was asked for.
    """

    file: str
    account: Account
    purpose: Purpose
    findings: list[Finding]
    done: fixes.Done | None = None


def review(
    name: str,
    *,
    input: Shape | None,
    classes: int | None,
    memory: str | None,
    only: Iterable[str],
    ignore: Iterable[str],
    pedantic: bool,
    fix: Path | None,
    diff: bool,
    unsafe_fixes: bool,
    format: str,
    **purpose: Any,
) -> tuple[str, list[Finding]]:
    """The critique of whatever a command line names, as text, with the findings; with `fix`, of what it becomes.

    Networks of the catalogue are made for so many classes; others have those that they have, and the rules are told.
    `diff` gives the difference that the remedies make to the design in place of all that.

    Raises:
        UserError: if there is no such network, rule or device, or the design cannot be written.
    """
    rules = chosen(only, ignore)
    loud = RULES if pedantic else [find(name) for name in only]
    meant = Purpose(classes=classes, memory=parse_size(memory) if memory is not None else None, **purpose)
    built_for = classes if in_catalogue(name) else None
    if unsafe_fixes and fix is None and not diff:
        raise UserError("--unsafe-fixes says what --fix NEW.yaml, or --diff, may do: give one of them, too")
    if fix is None and not diff:
        design = account(*read_graph(name, built_for, input))
        reviewed = Reviewed(name, design, meant, critique(design, meant, rules, loud))
    else:
        if fix is not None:
            check_design(fix)
        network = resolve(name, built_for, input)
        before = account(network.graph(), network.name)
        fixed = fixing.fix(network, meant, rules, loud, unsafe_fixes)
        write = fix is not None and fixed.steps and not diff
        written = write_design(network, fixed, fix) if write and fix is not None else None
        left_unsafe = len(applicable(fixed.left, unsafe=True)) - len(applicable(fixed.left, unsafe=False))
        done = fixes.Done(fixed, before, written, 0 if unsafe_fixes else left_unsafe)
        if diff:
            return difference(network, done), fixed.left
        after = account(fixed.network.graph(), network.name)
        reviewed = Reviewed(str(written or name), after, meant, fixed.left, done)
    return text_of(reviewed, rules, format), reviewed.findings


def text_of(reviewed: Reviewed, rules: Sequence[Rule], format: str) -> str:
    """What is said of one network in one of the formats for it."""
    file, design, purpose, findings, done = reviewed
    if format == "sarif":
        return sarif(findings, rules, design, lines.of_network(file, design.input))
    if format == "json":
        record = shown.record(design, purpose, findings) | ({"fix": fixes.fix_record(done)} if done else {})
        return json.dumps(record, indent=2)
    said = shown.report(design, purpose, findings, format)
    if done is None:
        return said
    return f"{(fixes.markdown if format == 'markdown' else fixes.plain)(done)}\n\n{said}"


def difference(network: Design, done: fixes.Done) -> str:
    """What the remedies change in the design, as a unified diff with a comment for each."""
    if not done.fixed.steps:
        return fixes.outcome(done)
    before, after = listed.write(network), listed.write(done.fixed.network)
    name = network.name or "design"
    changes = difflib.unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (fixed)", lineterm="")
    return "".join(_comments(done.fixed)) + "\n".join(changes)


def _comments(fixed: Fixed) -> list[str]:
    """What was done, a line each."""
    return [
        f"# {step.finding.rule.code} {step.finding.rule.name} ({step.remedy.fix}): {shown.where(step.finding)}"
        + (f"; gone: {', '.join(step.gone)}" if step.gone else "")
        + "\n"
        for step in fixed.steps
    ]


def chosen(only: Iterable[str], ignored: Iterable[str]) -> list[Rule]:
    """The rules asked for by name or code, all if none is, without those to be ignored.

    Raises:
        UserError: naming the nearest, if there is no such rule.
    """
    asked, left_out = [find(name) for name in only], [find(name) for name in ignored]
    return [rule for rule in RULES if (not asked or rule in asked) and rule not in left_out]


def find(name: str) -> Rule:
    """The rule of this name or code, in any case.

    Raises:
        UserError: naming the nearest, if there is none.
    """
    known = {key: rule for rule in RULES for key in (rule.name, rule.code.lower())}
    if name.lower() not in known:
        hint = nearest(name, [rule.name for rule in RULES])
        raise UserError(f"there is no rule {name!r}.{hint} `cnnatomy rules` lists all.")
    return known[name.lower()]


def reaches(findings: Iterable[Finding], severity: str) -> bool:
    """Whether any finding has this severity or a worse one."""
    return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in findings)


def check_design(path: Path) -> None:
    """Raises `UserError` where a design cannot be written: no YAML, or a file that is there already."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--fix {path}: a design is written to a file that ends in .yaml")
    check_new(path)


def write_design(network: Design, fixed: Fixed, path: Path) -> Path:
    """Writes the design after all steps, with a comment for each; whole, or not at all.

    Raises:
        UserError: if it does not read back as the same network, or cannot be written.
    """
    design = fixed.network.replace(name=path.stem)
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(_comments(fixed))
    text = head + listed.write(design)
    if listed.read(text) != design:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, text)
    return path
