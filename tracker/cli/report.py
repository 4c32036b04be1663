"""Write the report of a sweep, an HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli._options import OutputPath, max_loss_option, sweep_option
from tracker.cli._pictures import pictures_of
from tracker.cli._session import Session, pass_session
from unlearning.errors import UserError

FOLDER = "report"  # in the store's folder, where no other is given


@click.command()
@sweep_option
@click.option(
    "--output",
    type=OutputPath(path_type=Path, file_okay=False),
    help="Folder for the report.  [default: report in the store's folder]",
)
@click.option(
    "--ui",
    metavar="URL",
    help="The MLflow UI that its links lead to.  [default: where 'indelible ui' serves it]",
)
@click.option(
    "--log", is_flag=True, help="Also put it into MLflow, with the table and the findings."
)
@max_loss_option
@pass_session
def command(
    session: Session, sweep: str, output: Path | None, ui: str | None, log: bool, max_loss: float
) -> None:
    """Write the HTML report of a sweep and print its path.

    \b
    Example:
      indelible report --output my-report
    """
    click.echo(write(session, sweep, max_loss, output, ui, log))


def write(
    session: Session,
    sweep: str,
    max_loss: float,
    folder: Path | None = None,
    ui: str | None = None,
    log: bool = False,
) -> Path:
    """Write the report of a sweep into a folder, and log it if asked; its path.

    Args:
        max_loss: percentage points of test accuracy that a flip may cost.
    """
    from analysis.report import in_short, render, write_report

    if ui is not None and not ui.startswith(("http://", "https://")):
        raise UserError(f"--ui is '{ui}': give an address that begins with http:// or https://")
    answers = session.answers(sweep, max_loss)
    pictures = pictures_of(session, answers)
    findings = in_short(answers, pictures)
    page = write_report(
        render(answers, pictures, findings, ui or session.ui), folder or session.folder / FOLDER
    )
    if log:
        with session.store() as store:
            from tracker.reading.publishing import publish_report

            publish_report(store, answers, findings, page)
    return page
