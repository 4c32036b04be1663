"""The answer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indelible.tracker.cli._output import sweep_option
from indelible.tracker.cli._session import Session, pass_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command()
@sweep_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report.  [default: report in the store's folder]",
)
@pass_session
def command(session: Session, sweep: str, output: Path | None) -> None:
    """Write the HTML report of a sweep and print its path.

    \b
    Example:
      indelible report --output my-report
    """
    click.echo(write(session, sweep, output or session.folder / "report"))


def write(session: Session, sweep: str, folder: Path) -> Path:
    """Write the report of a sweep into a folder; its path."""
    from indelible.analysis.report import sample_ids, write_report

    with session.warehouse() as warehouse:
        sweep_id = warehouse.sweep_id(sweep)
        source = warehouse.report("sweep", sweep=sweep_id).records()[0]["source"]
        images = sample_images(source, session.data_dir, sample_ids(warehouse, sweep_id))
        return write_report(warehouse, sweep_id, images, folder)


def sample_images(source: str, data_dir: Path, ids: list[int]) -> dict[int, NDArray[np.float64]]:
    """Training images by sample id: (H, W) grey or (H, W, 3) colour, in [0, 1]."""
    from indelible.unlearning import datasets

    data = datasets.load_described(source, data_dir)
    chosen = data.train.images[data.train.positions(ids)].double() / data.white
    images = chosen.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return dict(zip(ids, images, strict=True))
