"""Where the report and the figures of a sweep are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from analysis.figures import FILES
from tracker.cli._session import Session
from tracker.commands.ask import Figures, Report
from unlearning.naming import counted


def reported(session: Session, asked: Report, page: Path) -> None:
    """Print the path of a report."""
    click.echo(page)


def drawn(session: Session, asked: Figures, paths: Sequence[Path]) -> None:
    """Print the folder that figures are in."""
    if not paths:
        session.say("nothing to draw: no attempt of the sweep has a GT")
        return
    folder, made = paths[0].parent, {path.name for path in paths}
    click.echo(folder)
    left = sorted({file.name for file in folder.iterdir() if FILES.fullmatch(file.name)} - made)
    if left:
        others = counted(len(left), "other figure")
        session.say(f"not of this call: {others} there, as {left[0]}")
