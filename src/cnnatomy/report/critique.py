"""What `cnnatomy critique --fix` does: read a network, apply remedies, write the design, and criticise what is left."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnnatomy.analysis import account
from cnnatomy.critique import SEVERITIES, Finding, Fixed, fixing
from cnnatomy.critique.settings import Settings
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.files import check_new, write_new, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.readers import in_catalogue, resolve
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.report import workflow
from cnnatomy.report.findings import Done, report, where
from cnnatomy.report.sarif import sarif
from cnnatomy.report.settings import settings_beside, settings_of


def review(
    name: str, typed: Settings, *, input: Shape | None, fix: Path, format: str, unsafe: bool = False
) -> tuple[str, list[Finding]]:
    """What `--fix` makes of whatever a command line names, and the critique of that, as text; with its findings.

    Raises:
        UserError: if there is no such network, rule or device, or the design cannot be written.
    """
    settings = typed.over(settings_of(name))
    rules, meant = settings.rules(), settings.purpose()
    check_design(fix)
    network = resolve(name, settings.classes if in_catalogue(name) else None, input)
    fixed = fixing.fix(network, meant, rules, settings.loud(), unsafe, settings.suppress)
    design, findings = account(fixed.network.graph(), network.name), fixed.left
    done = Done(fixed, fix if fixed.steps else None)
    file = str(write_design(network, fixed, fix, settings_beside(name))) if done.file else name
    if format == "sarif":
        return sarif(findings, rules, design.name, lines.of_network(file, design.input)), findings
    if format == "github":
        return workflow.commands(findings, design.name, lines.of_network(file, design.input)), findings
    return report(design, meant, findings, format, done), findings


def reaches(findings: Iterable[Finding], severity: str) -> bool:
    """Whether any finding has this severity or a worse one."""
    return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in findings)


def check_design(path: Path) -> None:
    """Raises `UserError` where a design cannot be written: no YAML, or a file that is there already."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--fix {path}: a design is written to a file that ends in .yaml")
    check_new(path)


def write_design(network: Design, fixed: Fixed, path: Path, settings: str = "") -> Path:
    """Writes the design after all steps, with a comment for each, and its settings; whole, or not at all.

    Raises:
        UserError: if it does not read back as the same network, or cannot be written.
    """
    design = fixed.network.replace(name=path.stem)
    done = [f"# {step.finding.rule.code} {step.finding.rule.name}: {where(step.finding)}\n" for step in fixed.steps]
    head = f"# {network.name or 'a design'} after `cnnatomy critique --fix`:\n" + "".join(done or ["# as it was\n"])
    text = head + listed.write(design) + settings
    if listed.read(text) != design:
        raise UserError(f"{path}: the design after the remedies cannot be said in YAML")
    with writing_to(path):
        write_new(path, text)
    return path
