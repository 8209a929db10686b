"""Commands that criticise designs: critique, rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cnnatomy.commands.ending import say
from cnnatomy.commands.options import (
    FILE,
    SECONDS,
    SIDES,
    classes_option,
    input_option,
    report_format_option,
)
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape


@click.command()
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@input_option
@classes_option
@click.option(
    "--task",
    type=click.Choice(("classification", "segmentation", "detection")),
    help="What it is for.  [default: by its output]",
)
@click.option(
    "--objects", type=SIDES, help="Sides of what is to be recognised, in input pixels: 24:400, or 24 for one size."
)
@click.option("--device", help="What it runs on: a name of devices.yaml, or `here` (calibrated).")
@click.option("--memory", help="What there is at inference, such as 8GiB.")
@click.option("--latency", type=SECONDS, help="What one image may take on the device, such as 20ms.")
@click.option("--rule", "select", multiple=True, metavar="RULE", help="Only these rules: by name, code or letter.")
@click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules; both can be repeated.")
@click.option("--pedantic", is_flag=True, default=None, help="Say also what seldom matters.")
@click.option(
    "--fix",
    type=FILE,
    help="Apply the safe remedies and write this new .yaml file; a design keeps its comments where it can.",
)
@click.option("--unsafe-fixes", is_flag=True, help="Apply also what changes what is learned, or costs more.")
@click.option("--diff", is_flag=True, help="Print what --fix would change, for `patch`; write nothing.")
@click.option(
    "--strict",
    type=click.Choice(("note", "warning", "error")),
    is_flag=False,
    flag_value="warning",
    help="Exit 1 on findings of this severity or a worse one; `NETWORK --strict` alone means warning.",
)
@report_format_option("json", "markdown", "sarif", "github")
@click.option("--baseline", type=FILE, help="Say only what is not in this file, which --write-baseline wrote.")
@click.option("--write-baseline", type=FILE, help="Write all findings to this file, for --baseline.")
@click.option("--statistics", is_flag=True, help="How often each rule objects, in place of the findings.")
@click.option("--designs-only", is_flag=True, help="Pass over YAML files that are no designs.")
def critique(
    networks: tuple[str, ...],
    strict: str | None,
    input: Shape | None,
    format: str,
    fix: Path | None,
    diff: bool,
    unsafe_fixes: bool,
    statistics: bool,
    designs_only: bool,
    write_baseline: Path | None,
    **settings: Any,
) -> None:
    """Criticise NETWORK: what a good designer would object to, with evidence, source, remedy and what that would cost.

    Several can be named, and folders of designs. What is typed here goes before `critique:` in a design, and that
    before `[tool.cnnatomy.critique]` in the nearest pyproject.toml.

    \b
    cnnatomy critique resnet-50 --input 3x512x1024 --objects 24:400 --device rtx-4090
    cnnatomy critique my.yaml --strict
    cnnatomy critique designs/ --rule N --statistics
    cnnatomy critique my.yaml --fix better.yaml
    cnnatomy critique alexnet --unsafe-fixes --diff
    """
    from cnnatomy.report import linting
    from cnnatomy.report.critique import reaches, review
    from cnnatomy.report.settings import typed

    asked = typed(**settings)
    if fix is not None or diff:
        if statistics or designs_only or write_baseline or asked.baseline:
            others = "--statistics, --designs-only, --baseline and --write-baseline"
            raise UserError(f"{'--diff' if diff else '--fix'} looks at all of one network: leave out {others}")
        done = review(networks, asked, input=input, fix=fix, diff=diff, unsafe_fixes=unsafe_fixes, format=format)
    elif unsafe_fixes:
        raise UserError("--unsafe-fixes says what --fix NEW.yaml, or --diff, may do: give one of them, too")
    else:
        done = linting.lint(
            networks,
            asked,
            input=input,
            format=format,
            statistics=statistics,
            designs_only=designs_only,
            write_baseline=write_baseline,
        )
    for line in done.remarks:
        click.echo(line, err=True)
    if done.text:
        click.echo(done.text)
    for message in done.errors:
        say(message)
    if done.errors:
        sys.exit(2)
    if strict and reaches(done.findings, strict):
        sys.exit(1)


@click.command()
@click.argument("names", metavar="[RULE]...", nargs=-1)
@report_format_option("json", "markdown")
def rules(names: tuple[str, ...], format: str) -> None:
    """List the rules of the critique, or explain those named: why, who says so, and when they do not hold."""
    from cnnatomy.report.rules import explain

    click.echo(explain(names, format))


COMMANDS = (
    critique,
    rules,
)
