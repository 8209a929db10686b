"""The command that shows recipes."""

from __future__ import annotations

import click

from cnnatomy.commands.options import needs_training, report_format_option


@click.command()
@click.argument("name", required=False)
@click.argument("other", required=False)
@report_format_option("json", "yaml")
def recipe(name: str | None, other: str | None, format: str) -> None:
    """List the recipes for training; show NAME with where its values are from; or compare NAME with OTHER.

    \b
    cnnatomy recipe alexnet
    cnnatomy recipe lenet-1998 alexnet
    cnnatomy recipe modern --format yaml > mine.yaml

    NAME and OTHER are recipes that come with cnnatomy, or files (.yaml).
    """
    needs_training()
    from cnnatomy.report import recipes

    if name is None:
        click.echo(recipes.every(format))
    elif other is None:
        click.echo(recipes.one(name, format))
    else:
        click.echo(recipes.difference(name, other, format))


COMMANDS = (recipe,)
