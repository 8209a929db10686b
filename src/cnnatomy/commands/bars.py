"""The bar that a terminal shows while many images are worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from cnnatomy.data.survey import Progress as Report

WORTH_A_BAR = 5_000
"""Images whose reading takes long enough to show."""


@contextmanager
def images_bar(text: str, count: int, console: Console) -> Iterator[Callable[[int], None]]:
    """A bar with the time left; the function is told how many of `count` images are done. It is gone afterwards."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(text), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn()]
    # what is printed meanwhile on standard output must stay there
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=count)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def reading(count: int, console: Console | None = None) -> Iterator[Report | None]:
    """A bar while many images are read, on a terminal; on standard error unless a console is given."""
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal or count < WORTH_A_BAR:
        yield None
        return
    with images_bar("reading images", count, console) as tell:
        yield lambda done, total: tell(done) if done % 256 == 0 or done == total else None
