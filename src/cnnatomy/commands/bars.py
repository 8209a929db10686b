"""The bar that a terminal shows while many images are worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def images_bar(text: str, count: int, console: Console) -> Iterator[Callable[[int], None]]:
    """A bar with the time left; the function is told how many of `count` images are done. It is gone afterwards."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(text), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn()]
    # what is printed meanwhile on standard output must stay there
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=count)
        yield lambda done: bar.update(task, completed=done)
