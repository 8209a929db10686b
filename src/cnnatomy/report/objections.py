"""What the critique says of a network before it is trained: its errors alone, in a line each."""

from __future__ import annotations

import shlex

from cnnatomy.analysis import account
from cnnatomy.critique import Finding
from cnnatomy.critique.settings import Settings
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, counted, printable
from cnnatomy.layers.layer import Shape
from cnnatomy.report.findings import with_remedy
from cnnatomy.report.linting import compared, criticised
from cnnatomy.report.settings import settings_of

MAX_LINES = 10


def before_training(
    name: str, design: Design, trained: Design, input: Shape, classes: int, run: str | None = None
) -> list[str]:
    """The errors in a design that is to be trained, a line each, and who says more; nothing where there are none.

    `name` is what the command line calls it, `trained` what is left of it for this training: the loss may compute its
    end. `run` is the folder of the training, where `name` is a file with the design inside it, which the critique does
    not read. What its settings accept or ignore, and what their baseline has, is not said. Settings that are wrong are
    told, and stop nothing.
    """
    try:
        settings = Settings(classes=classes or None).over(settings_of(name))
        said = criticised(name, account(design.graph(input), design.name), settings)
        if settings.baseline is not None:
            said = compared(said, settings.baseline)
        errors = [one for one in said.findings if one.severity == "error"]
    except UserError as error:
        return [f"critique: {error}"]
    if not errors:
        return []
    there = {node.path for node in trained.graph(input).nodes}
    lines = [_line(one, there) for one in errors[:MAX_LINES]]
    if len(errors) > MAX_LINES:
        lines.append(f"and {counted(len(errors) - MAX_LINES, 'error')} more")
    return [*lines, f"more about it: cnnatomy critique {shlex.quote(printable(run or name))}"]


def _line(finding: Finding, there: set[str]) -> str:
    """An error with its remedy, and whether it is about what this training leaves out of the design."""
    text = f"error {finding.rule}: {with_remedy(finding)}"
    left = any(one == path or one.startswith(f"{path}.") for path in finding.where for one in there)
    if finding.where and not left:
        text += ". The design has it, this training leaves it out"
    return text
