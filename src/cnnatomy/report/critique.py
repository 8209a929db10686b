"""What `cnnatomy critique` does: read a network, criticise it, fix and write it if asked for, and say so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cnnatomy.analysis import account
from cnnatomy.critique import RULES, SEVERITIES, Finding, Fixed, Purpose, Rule, critique, fixing
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, nearest
from cnnatomy.files import check_new, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.readers import in_catalogue, read_graph, resolve
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.report.findings import Done, report, where
from cnnatomy.report.memory import parse_size
from cnnatomy.report.sarif import sarif


def review(
    name: str,
    *,
    input: Shape | None,
    classes: int | None,
    memory: str | None,
    only: Iterable[str],
    ignore: Iterable[str],
    fix: Path | None,
    format: str,
    **purpose: Any,
) -> tuple[str, list[Finding]]:
    """The critique of whatever a command line names, as text, with the findings; with `fix`, of what it becomes.

    Networks of the catalogue are made for so many classes; others have those that they have, and the rules are told.

    Raises:
        UserError: if there is no such network, rule or device, or the design cannot be written.
    """
    rules = chosen(only, ignore)
    meant = Purpose(classes=classes, memory=parse_size(memory) if memory is not None else None, **purpose)
    built_for = classes if in_catalogue(name) else None
    file = name
    if fix is None:
        design = account(*read_graph(name, built_for, input))
        findings, done = critique(design, meant, rules), None
    else:
        check_design(fix)
        network = resolve(name, built_for, input)
        fixed = fixing.fix(network, meant, rules)
        design, findings = account(fixed.network.graph(), network.name), fixed.left
        done = Done(fixed, fix if fixed.steps else None)
        if done.file:
            file = str(write_design(network, fixed, fix))
    if format == "sarif":
        return sarif(findings, rules, design.name, lines.of_network(file, design.input)), findings
    return report(design, meant, findings, format, done), findings


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
    done = [f"# {step.finding.rule.code} {step.finding.rule.name}: {where(step.finding)}\n" for step in fixed.steps]
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(done or ["# as it was\n"])
    text = head + listed.write(design)
    if listed.read(text) != design:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, text)
    return path
