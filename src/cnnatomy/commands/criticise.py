"""Commands that criticise designs: critique, rules."""

from __future__ import annotations

import sys
from typing import Any

import click

from cnnatomy.commands.options import (
    classes_option,
    critique_options,
    input_option,
    network_argument,
    report_format_option,
)


@click.command()
@network_argument
@input_option
@classes_option
@critique_options
def critique(network: str, strict: str | None, **request: Any) -> None:
    """Criticise NETWORK: what a good designer would object to, with evidence, source, remedy and what that would cost.

    \b
    cnnatomy critique resnet-50 --input 3x512x1024 --objects 24:400 --device rtx-4090
    cnnatomy critique my.yaml --strict
    cnnatomy critique my.yaml --fix better.yaml
    cnnatomy critique alexnet --unsafe-fixes --diff
    """
    from cnnatomy.report import critique as review

    text, findings = review.review(network, **request)
    click.echo(text)
    if strict and review.reaches(findings, strict):
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
