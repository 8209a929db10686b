"""What `cnnatomy critique --fix` does: read a network, apply remedies, write the design, and criticise what is left."""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from cnnatomy.analysis import account
from cnnatomy.critique import SEVERITIES, Finding, Fixed, fixing
from cnnatomy.critique.settings import Settings, chosen
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, printable
from cnnatomy.files import check_place, read_bytes, read_text, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers import YAML, design_file, in_catalogue, is_run, resolve
from cnnatomy.readers.folders import is_folder
from cnnatomy.readers.yaml import listed
from cnnatomy.readers.yaml.kept import rewritten
from cnnatomy.report import findings as shown
from cnnatomy.report import fixes, linting
from cnnatomy.report.linting import Criticised, Linted
from cnnatomy.report.settings import settings_of


def review(
    names: Sequence[str],
    typed: Settings,
    *,
    input: Shape | None,
    fix: Path | None,
    diff: bool,
    unsafe_fixes: bool,
    format: str,
) -> Linted:
    """What `--fix` makes of whatever a command line names, which is one network, and the critique of that.

    `diff` gives the difference that the remedies make to the design in place of all that, and writes nothing.

    Raises:
        UserError: if there is no such network, rule or device, more than one, or the design cannot be written.
    """
    name = _one(names, "--diff" if diff else "--fix")
    if diff and format != "table":
        raise UserError(f"--diff prints the difference of two texts, which is not {format}: leave out --format")
    settings = typed.over(settings_of(name))
    rules, watched = settings.rules(), chosen((), settings.ignore)
    purpose = settings.purpose(trained=is_run(name))
    if fix is not None:
        check_design(fix)
    network = resolve(name, settings.classes if in_catalogue(name) else None, input)
    fixed = fixing.fix(network, purpose, rules, settings.loud(), unsafe_fixes, settings.suppress, watched)
    written = None
    if fix is not None and fixed.steps and not diff:
        written = write_design(network, fixed, fix, design_file(name))
    after = account(fixed.network.graph(), network.name)
    done = fixes.Done(fixed, after, written, 0 if unsafe_fixes else shown.applied_by_fix(fixed.left)[1])
    if diff:
        return Linted(difference(network, done, design_file(name)), [], [], fixed.left)
    one = linting.criticised(str(written or name), after, settings, trained=purpose.trained)
    return Linted(_text(one, done, format), [], [], one.findings)


def _one(names: Sequence[str], option: str) -> str:
    name, *others = names
    if others:
        raise UserError(f"{option} is for one network, got {len(names)}: fix one after the other")
    if is_folder(name):
        raise UserError(f"{option} is for one design, {name} is a folder")
    return name


def _text(one: Criticised, done: fixes.Done, format: str) -> str:
    """What was done, and the critique of what became of the design; for programs other than ours that one alone."""
    if format == "json":
        return json.dumps(linting.record(one) | {"fix": fixes.fix_record(done)}, indent=2)
    said = linting.text([one], format)
    if format not in ("table", "markdown"):
        return said
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
        text = before.removeprefix("\ufeff")
        after, kept = rewritten(text, fixed.network.replace(name=listed.read(text).name))
        after = before[: -len(text)] + after
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
        said.append(f"{step.finding.rule} ({step.remedy.fix}): {shown.where(step.finding)}{gone}")
        said += [f"  brings in {one.severity} {one.rule}: {one.text}" for one in step.introduced]
    said += [f"not applied: {one.rule}: {shown.where(one)}: {reason}" for one, reason in fixed.refused]
    said += [] if kept else ["the whole file is written again: its comments are lost"]
    return [f"# {printable(line)}\n" for line in said]


def reaches(findings: Iterable[Finding], severity: str) -> bool:
    """Whether any finding has this severity or a worse one."""
    return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in findings)


def check_design(path: Path) -> None:
    """Raises `UserError` where a design cannot be written: no YAML, no folder for it, or a file that is there."""
    if path.suffix.lower() not in YAML:
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
        text, kept = rewritten(read_text(file, MAX_DESIGN_BYTES, "the design"), after)
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(_comments(fixed, kept))
    if listed.read(head + text) != after:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, head + text)
    return path
