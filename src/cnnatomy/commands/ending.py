"""How every command ends: its exit code, and one message for a mistake of the user's."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cnnatomy.errors import UserError, printable

OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
"""Errors that no reading has."""

MAX_LINE = 1000
"""Characters of a line of a message, of which some may come from the user."""


class Verbs(click.Group):
    """Prints a `UserError` as one message and exits 2; suggests the nearest verb for an unknown one; 130 on Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """The command line `args`; always ends in SystemExit."""
        try:
            _prepare_streams()
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.exit(code if isinstance(code, int) else 0)
        except UserError as error:
            say(str(error))
            sys.exit(2)
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            _to_stderr(_safe(shown.getvalue()))
            sys.exit(2)
        except (KeyboardInterrupt, click.Abort):
            say("interrupted")
            sys.exit(130)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Reads the options, of which some, as `--help`, print."""
        with _told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, and writes all of its output while a failure can still be told."""
        with _told():
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _told() -> Iterator[None]:
    """Ends quietly where the reader of the output has had enough, as of `cnnatomy list | head`; tells other failures.

    Inside click, which would make exit code 1 of the one and a traceback of the other.
    """
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(0)
    except OSError as error:
        what = error.filename
        if what is None:
            _discard(sys.stdout)
            what = "cannot write the output" if error.errno in OF_WRITING else "cannot read or write"
        raise UserError(f"{what}: {error.strerror or error}") from error
    except MemoryError:
        raise UserError("this takes more memory than there is: choose a smaller input, batch or network") from None


def _prepare_streams() -> None:
    """What cannot be written in the encoding of the terminal is escaped; a closed output is told, not skipped."""
    if sys.stdout is None:
        raise UserError("cannot write the output: it is closed. Send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: Any) -> None:
    """What is left in the buffer of a stream goes nowhere, so that Python does not try once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say(message: str) -> None:
    """Prints the message of a mistake to standard error."""
    _to_stderr(f"cnnatomy: {_safe(message)}\n")


def _to_stderr(text: str) -> None:
    try:
        click.echo(text, err=True, nl=False)
    except OSError:  # nobody can be told
        _discard(sys.stderr)


def _safe(message: str) -> str:
    """The message without control characters, in lines that are not endless."""
    return "\n".join(printable(line[:MAX_LINE]) for line in message.split("\n"))
