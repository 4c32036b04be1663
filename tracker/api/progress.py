"""How far a piece of work is: a bar on a terminal, elsewhere a plain line every few seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]  # told how much more is done, and what is being done

EVERY_S = 5.0  # between two lines that say how far a piece of work is


@contextmanager
def progress(
    title: str, total: int, say: Callable[[str], None], unit: str = ""
) -> Iterator[Advance]:
    """How far a piece of work is; the function moves it on and says what is done.

    Args:
        say: writes a line where no bar can be drawn.
        unit: what is counted, where a line has to say it.
    """
    console = Console(file=sys.stderr)
    if console.is_interactive and not console.no_color:
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            *(BarColumn(bar_width=None), MofNCompleteColumn()),
            *(TimeRemainingColumn(compact=True), TextColumn("left")),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total)

            def draw(count: int, doing: str) -> None:
                bar.update(task, advance=count, description=f"{title} {doing}")

            yield draw
        return
    done, told, began, said_at, last = 0, -1, monotonic(), monotonic(), ""

    def tell() -> None:
        nonlocal told, said_at
        told, said_at, parts = done, monotonic(), [f"{unit}{done} of {total}", last]
        if 0 < done < total:
            left = (said_at - began) / done * (total - done)
            parts.append(f"{timedelta(seconds=round(left))} left")
        say(f"{title}: {', '.join(filter(None, parts))}")

    def advance(count: int, doing: str) -> None:
        nonlocal done, last
        done, last = min(done + count, total), doing
        if count and (monotonic() - said_at >= EVERY_S or done == total):
            tell()

    yield advance
    if told != done:
        tell()
