"""How every command ends: its exit code, and one message for a mistake of the user's."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from cnnatomy.errors import UserError


class Verbs(click.Group):
    """Prints a `UserError` as one message and exits 2; suggests the nearest verb for an unknown one; 130 on Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.exit(code if isinstance(code, int) else 0)
        except UserError as error:
            click.echo(f"cnnatomy: {error}", err=True)
            sys.exit(2)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("cnnatomy: interrupted", err=True)
            sys.exit(130)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `cnnatomy list | head`, of which click would make exit code 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
