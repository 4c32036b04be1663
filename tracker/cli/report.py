"""Write the report and the figures of a sweep."""

from __future__ import annotations

from functools import partial

import click

from analysis.figures import FILES
from tracker.cli._output import progress
from tracker.cli._session import Session
from tracker.commands.ask import Figures, Report
from tracker.face import pages
from unlearning.naming import counted


def run(session: Session, asked: Report) -> None:
    """Write the report and print its path."""
    click.echo(pages.report(session, asked))


def run_figures(session: Session, asked: Figures) -> None:
    """Write the figures and print the folder that they are in."""
    paths = pages.figures(session, asked, partial(progress, "drawing"))
    if not paths:
        session.say("nothing to draw: no attempt of the sweep has a GT")
        return
    folder, made = paths[0].parent, {path.name for path in paths}
    click.echo(folder)
    left = sorted({file.name for file in folder.iterdir() if FILES.fullmatch(file.name)} - made)
    if left:
        others = counted(len(left), "other figure")
        session.say(f"not of this call: {others} there, as {left[0]}")
