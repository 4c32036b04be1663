"""Write the figures of a sweep."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import click

from tracker.cli._options import OutputPath, max_loss_option, sweep_option
from tracker.cli._output import progress
from tracker.cli._pictures import pictures_of
from tracker.cli._session import Session, pass_session
from unlearning.naming import counted


@click.command()
@sweep_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "pdf", "svg"]),
    default="png",
    show_default=True,
    help="What kind of files.",
)
@click.option(
    "--output",
    type=OutputPath(path_type=Path, file_okay=False),
    help="Folder for the figures.  [default: figures in the store's folder]",
)
@max_loss_option
@click.option("--log", is_flag=True, help="Also put them into MLflow, with the sweep.")
@pass_session
def command(
    session: Session,
    sweep: str,
    kind: Literal["png", "pdf", "svg"],
    output: Path | None,
    max_loss: float,
    log: bool,
) -> None:
    """Write the figures of a sweep, a file each, and print the folder that they are in.

    The correlations, each factor against GT, and the easiest and hardest samples by each factor.

    \b
    Example:
      indelible figures --format pdf --output my-figures
    """
    from analysis.figures import FILES, write_figures

    answers = session.answers(sweep, max_loss)
    pictures = pictures_of(session, answers)
    if pictures.missing:
        click.echo(f"no galleries: {pictures.missing}", err=True)
    folder = output or session.folder / "figures"
    paths = write_figures(answers, pictures, folder, kind, partial(progress, "drawing"))
    if log:
        with session.store() as store:
            from tracker.reading.publishing import publish_figures

            publish_figures(store, answers.sweep["sweep_id"], paths, kind)
    if not paths:
        click.echo("nothing to draw: no attempt of the sweep has a GT", err=True)
    else:
        click.echo(folder)
    made = {path.name for path in paths}
    older = sorted(f.name for f in folder.iterdir() if FILES.fullmatch(f.name)) if made else []
    if left := [name for name in older if name not in made]:
        others = counted(len(left), "other figure")
        click.echo(f"not of this call: {others} there, as {left[0]}", err=True)
