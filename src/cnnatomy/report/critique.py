"""What `cnnatomy critique --fix` does: read a network, apply remedies, write the design, and criticise what is left."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique import SEVERITIES, Finding, Fixed, Purpose, Rule, applicable, fixing
from cnnatomy.critique.settings import Settings
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.files import check_place, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.readers import in_catalogue, is_run, resolve
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.report import findings as shown
from cnnatomy.report import fixes, workflow
from cnnatomy.report.sarif import sarif
from cnnatomy.report.settings import settings_beside, settings_of


class Reviewed(NamedTuple):
    """What is said of one network.

    Attributes:
        file: what it was read from, or was written to by `--fix`.
        account: what it costs; after the remedies that were applied.
        findings: what the rules find in it.
        done: the remedies that were applied.
    """

    file: str
    account: Account
    purpose: Purpose
    findings: list[Finding]
    done: fixes.Done


def review(
    name: str,
    typed: Settings,
    *,
    input: Shape | None,
    fix: Path | None,
    diff: bool,
    unsafe_fixes: bool,
    format: str,
) -> tuple[str, list[Finding]]:
    """What `--fix` makes of whatever a command line names, and the critique of that, as text; with its findings.

    `diff` gives the difference that the remedies make to the design in place of all that, and writes nothing.

    Raises:
        UserError: if there is no such network, rule or device, or the design cannot be written.
    """
    settings = typed.over(settings_of(name))
    rules, meant = settings.rules(), settings.purpose(trained=is_run(name))
    if fix is not None:
        check_design(fix)
    network = resolve(name, settings.classes if in_catalogue(name) else None, input)
    before = account(network.graph(), network.name)
    fixed = fixing.fix(network, meant, rules, settings.loud(), unsafe_fixes, settings.suppress)
    write = fix is not None and fixed.steps and not diff
    written = write_design(network, fixed, fix, settings_beside(name)) if write and fix is not None else None
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
        return json.dumps(shown.record(design, purpose, findings) | {"fix": fixes.fix_record(done)}, indent=2)
    if format == "github":
        return workflow.commands(findings, design.name, lines.of_network(file, design.input))
    said = shown.report(design, purpose, findings, format)
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


def reaches(findings: Iterable[Finding], severity: str) -> bool:
    """Whether any finding has this severity or a worse one."""
    return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in findings)


def check_design(path: Path) -> None:
    """Raises `UserError` where a design cannot be written: no YAML, no folder for it, or a file that is there."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--fix {path}: a design is written to a file that ends in .yaml")
    check_place(path)


def write_design(network: Design, fixed: Fixed, path: Path, settings: str = "") -> Path:
    """Writes the design after all steps, with a comment for each, and its settings; whole, or not at all.

    Raises:
        UserError: if it does not read back as the same network, or cannot be written.
    """
    design = fixed.network.replace(name=path.stem)
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(_comments(fixed))
    text = head + listed.write(design) + settings
    if listed.read(text) != design:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, text)
    return path
