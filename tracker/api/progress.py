"""How far a piece of work is: a bar on a terminal or in a notebook, or plain lines."""

from __future__ import annotations

import html
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft

Advance = Callable[[int, str], None]  # told how much more is done, and what is being done

EVERY_S = 5.0  # between two lines that say how far a piece of work is
DRAWN_EVERY_S = 0.2  # between two drawings of a notebook's bar
DUMB = ("dumb", "unknown")  # terminals, which cannot move their cursor


def progress(
    title: str,
    total: int,
    shown: bool = True,
    say: Callable[[str], None] | None = None,
    unit: str = "",
) -> AbstractContextManager[Advance]:
    """How far a piece of work is; the function moves it on and says what is done.

    Args:
        shown: whether it is to be shown at all.
        say: writes a line where no bar can be drawn; None: nothing is shown there.
        unit: what is counted, where a line has to say it.
    """
    can_draw = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "").lower() not in DUMB
    if shown and notebook() is not None:
        return _cell(title, total)
    if shown and sys.stderr is not None and sys.stderr.isatty() and can_draw:
        return _terminal_bar(title, total)
    if shown and say is not None:
        return _lines(title, total, unit, say)
    return nullcontext(lambda count, doing: None)


def notebook() -> Any:
    """The shell of the notebook that this process is the kernel of; None if it is none's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


def settle() -> None:
    """Import now what MLflow imports later, which warns where a notebook has no widgets."""
    if notebook() is not None:
        with warnings.catch_warnings(), suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module("tqdm.auto")


@contextmanager
def _cell(title: str, total: int) -> Iterator[Advance]:
    """A bar below a notebook's cell, which needs no widgets."""
    display = importlib.import_module("IPython.display")
    done, began, drawn = 0, monotonic(), 0.0

    def bar(doing: str) -> Any:
        parts = [f"{title} {doing}".strip(), f"{done} of {total}"]
        if 0 < done < total:
            parts.append(_left(began, done, total - done))
        words = html.escape(", ".join(parts))
        return display.HTML(f'<progress value="{done}" max="{max(total, 1)}"></progress> {words}')

    handle = display.display(bar(""), display_id=True)

    def advance(count: int, doing: str) -> None:
        nonlocal done, drawn
        done = min(done + count, total)
        if done == total or monotonic() - drawn >= DRAWN_EVERY_S:
            drawn = monotonic()
            handle.update(bar(doing))

    yield advance


@contextmanager
def _terminal_bar(title: str, total: int) -> Iterator[Advance]:
    """A bar with rate and time left on a terminal."""
    columns = (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeLeft(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(count: int, doing: str) -> None:
            bar.update(task, advance=count, description=f"{title} {doing}")
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advance


@contextmanager
def _lines(title: str, total: int, unit: str, say: Callable[[str], None]) -> Iterator[Advance]:
    """A plain line every few seconds, and one when all is done or there is no more to come."""
    done, done_before, said_at, last = 0, 0, monotonic(), ""

    def write() -> None:
        nonlocal done_before, said_at
        parts = [f"{unit}{done} of {total}", last]
        if done_before < done < total:
            parts.append(_left(said_at, done - done_before, total - done))
        done_before, said_at = done, monotonic()
        say(f"{title}: {', '.join(filter(None, parts))}")

    def advance(count: int, doing: str) -> None:
        nonlocal done, last
        done, last = min(done + count, total), doing
        if count and (monotonic() - said_at >= EVERY_S or done == total):
            write()

    yield advance
    if not done or done != done_before:
        write()


def _left(began: float, done: int, more: int) -> str:
    """How long more takes, when so much was done since it began."""
    return f"{timedelta(seconds=round((monotonic() - began) / done * more))} left"
