"""The command line: one verb, one call. Heavy imports stay inside the verbs, so that `show` starts in 0.2 s."""

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
            return super().main(*args, **{**kwargs, "standalone_mode": False}) or sys.exit(0)
        except UserError as error:
            click.echo(f"cnnatomy: {error}", err=True)
            sys.exit(2)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("cnnatomy: interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:  # `cnnatomy list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnatomy")
def main() -> None:
    """Design convolutional networks: see what every layer costs and can see, then train, and look inside."""


if __name__ == "__main__":
    main()
