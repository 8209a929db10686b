"""What `cnnatomy critique --fix` does: read a network, apply remedies, write the design, and criticise what is left."""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique import SEVERITIES, Finding, Fixed, Purpose, Rule, applicable, fixing
from cnnatomy.critique.settings import Settings, chosen
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, printable
from cnnatomy.files import check_place, read_bytes, read_text, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers import design_file, in_catalogue, is_run, resolve
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.readers.yaml.kept import rewritten
from cnnatomy.report import findings as shown
from cnnatomy.report import fixes, workflow
from cnnatomy.report.sarif import sarif
from cnnatomy.report.settings import settings_of


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
    watched = chosen((), settings.ignore)
    fixed = fixing.fix(network, meant, rules, settings.loud(), unsafe_fixes, settings.suppress, watched)
    write = fix is not None and fixed.steps and not diff
    written = write_design(network, fixed, fix, design_file(name)) if write and fix is not None else None
    left_unsafe = len(applicable(fixed.left, unsafe=True)) - len(applicable(fixed.left, unsafe=False))
    done = fixes.Done(fixed, before, written, 0 if unsafe_fixes else left_unsafe)
    if diff:
        return difference(network, done, design_file(name)), fixed.left
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


def difference(network: Design, done: fixes.Done, file: Path | None) -> str:
    """What the remedies change in the design, as a unified diff after comments: of its file, if it has one.

    That one is what `patch` applies.
    """
    fixed = done.fixed
    if not fixed.steps:
        return "".join(_comments(fixed)) + "".join(f"# {line}\n" for line in fixes.outcome(done).splitlines()).rstrip()
    if file is None:
        names = [network.name or "design", f"{network.name or 'design'} (fixed)"]
        before, after, kept = listed.write(network), listed.write(fixed.network), True
    else:
        names = [str(file)] * 2
        before = read_bytes(file, MAX_DESIGN_BYTES, "the design").decode()  # with its ends of lines
        after, kept = rewritten(before, fixed.network.replace(name=listed.read(before).name))
    old, new = (list(io.StringIO(text)) for text in (before, after))
    marked = [f"{name}\t" if " " in name else name for name in names]  # `patch` reads up to the tab
    changes = difflib.unified_diff(old, new, marked[0], marked[1])
    lines = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in changes]
    return "".join([*_comments(fixed, kept), *lines]).rstrip("\n")


def _comments(fixed: Fixed, kept: bool = True) -> list[str]:
    """What was done and what it brings in, and what was not and why; a line each."""
    said: list[str] = []
    for step in fixed.steps:
        gone = f"; gone: {', '.join(step.gone)}" if step.gone else ""
        said.append(f"{_name(step.finding)} ({step.remedy.fix}): {shown.where(step.finding)}{gone}")
        said += [f"  brings in {one.severity} {_name(one)}: {one.text}" for one in step.introduced]
    said += [f"not applied: {_name(one)}: {shown.where(one)}: {reason}" for one, reason in fixed.refused]
    said += [] if kept else ["the whole file is written again: its comments are lost"]
    return [f"# {printable(line)}\n" for line in said]


def _name(finding: Finding) -> str:
    return f"{finding.rule.code} {finding.rule.name}"


def reaches(findings: Iterable[Finding], severity: str) -> bool:
    """Whether any finding has this severity or a worse one."""
    return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in findings)


def check_design(path: Path) -> None:
    """Raises `UserError` where a design cannot be written: no YAML, no folder for it, or a file that is there."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--fix {path}: a design is written to a file that ends in .yaml")
    check_place(path)


def write_design(network: Design, fixed: Fixed, path: Path, file: Path | None = None) -> Path:
    """Writes the design after all steps, after a comment for each; whole, or not at all.

    Of a design that was read from a file the text is kept where it can be.

    Raises:
        UserError: if it does not read back as the same network, or cannot be written.
    """
    after = fixed.network.replace(name=path.stem)
    text, kept = listed.write(after), True
    if file is not None:
        text, kept = rewritten(read_text(file, MAX_DESIGN_BYTES, "the design").removeprefix("\ufeff"), after)
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(_comments(fixed, kept))
    if listed.read(head + text) != after:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, head + text)
    return path
