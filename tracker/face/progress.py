"""How far a piece of work is: a bar on a terminal or in a notebook, and nothing elsewhere."""

from __future__ import annotations

import html
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int, str], None]  # told how much more is done, and what is being done

EVERY_S = 0.2  # between two drawings of a notebook's bar


@contextmanager
def progress(title: str, total: int, shown: bool = True) -> Iterator[Advance]:
    """How far a piece of work is; the function moves it on and says what is done.

    Args:
        shown: whether it is to be shown at all.
    """
    shell = notebook()
    if not shown:
        yield lambda count, doing: None
    elif shell is not None:
        with _cell(title, total) as advance:
            yield advance
    elif sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console

        with terminal_bar(title, total, Console(stderr=True)) as advance:
            yield advance
    else:
        yield lambda count, doing: None


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
            seconds = (monotonic() - began) / done * (total - done)
            parts.append(f"{timedelta(seconds=round(seconds))} left")
        words = html.escape(", ".join(parts))
        return display.HTML(f'<progress value="{done}" max="{max(total, 1)}"></progress> {words}')

    handle = display.display(bar(""), display_id=True)

    def advance(count: int, doing: str) -> None:
        nonlocal done, drawn
        done = min(done + count, total)
        if done == total or monotonic() - drawn >= EVERY_S:
            drawn = monotonic()
            handle.update(bar(doing))

    yield advance


@contextmanager
def terminal_bar(title: str, total: int, console: Console) -> Iterator[Advance]:
    """A bar with rate and time left on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeLeft(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(count: int, doing: str) -> None:
            bar.update(task, advance=count, description=f"{title} {doing}")
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advance
