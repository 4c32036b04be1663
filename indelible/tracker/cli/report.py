"""The answer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click

from indelible.errors import UserError
from indelible.tracker.cli._options import sweep_option
from indelible.tracker.cli._session import Session, pass_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indelible.analysis.answers import Answers
    from indelible.analysis.pictures import Pictures
    from indelible.unlearning.datasets import Dataset


@click.command()
@sweep_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
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
@pass_session
def command(session: Session, sweep: str, output: Path | None, ui: str | None, log: bool) -> None:
    """Write the HTML report of a sweep and print its path.

    \b
    Example:
      indelible report --output my-report
    """
    click.echo(write(session, sweep, output or session.folder / "report", ui, log))


def write(
    session: Session, sweep: str, folder: Path, ui: str | None = None, log: bool = False
) -> Path:
    """Write the report of a sweep into a folder, and log it if asked; its path."""
    from indelible.analysis.report import UI, write_report

    address = _address(ui, session.tracking_uri)
    answers = ask(session, sweep)
    pictures = pictures_of(session, answers)
    page = write_report(answers, pictures, folder, address or UI)
    if log:
        with session.store() as store:
            from indelible.tracker.publishing import publish

            publish(store, answers, page, pictures)
    return page


def ask(session: Session, sweep: str) -> Answers:
    """What the warehouse says of a sweep."""
    from indelible.analysis import answers

    with session.warehouse() as warehouse:
        return answers.ask(warehouse, warehouse.sweep_id(sweep))


def pictures_of(session: Session, answers: Answers) -> Pictures:
    """The images of a sweep's samples, or why there are none."""
    from indelible.analysis.pictures import Pictures
    from indelible.unlearning import datasets

    try:
        data = datasets.load_described(answers.source, session.data_dir)
        images = images_of(data, answers.sample_ids)
    except UserError as error:
        return Pictures(missing=str(error))
    return Pictures(images, data.classes)


def images_of(data: Dataset, ids: list[int]) -> dict[int, NDArray[np.float64]]:
    """Training images by sample id: (H, W) grey or (H, W, 3) colour, in [0, 1]."""
    chosen = data.train.images[data.train.positions(ids)].double() / data.white
    images = chosen.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return dict(zip(ids, images, strict=True))


def _address(given: str | None, tracking_uri: str | None) -> str | None:
    """Where the MLflow UI is, if it is said: by --ui, or by a store that is a server itself."""
    if given is not None and not given.startswith(("http://", "https://")):
        raise UserError(f"--ui is '{given}': give an address that begins with http:// or https://")
    if given is not None or not (tracking_uri or "").startswith("http"):
        return given
    parts = urlsplit(tracking_uri or "")
    # A page is shown to others: a name and a password stay out of it.
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
