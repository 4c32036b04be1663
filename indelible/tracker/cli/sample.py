"""One sample's story."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from indelible.errors import UserError
from indelible.tracker.cli._options import format_option, sweep_option
from indelible.tracker.cli._output import show
from indelible.tracker.cli._session import Session, pass_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 64  # pixels a side that fit on a terminal


@click.command()
@click.argument("sample_id", type=click.IntRange(0))
@sweep_option
@format_option
@pass_session
def command(session: Session, sample_id: int, sweep: str, style: str) -> None:
    """What is known of one training sample: how hard it was for each algorithm, and its factors.

    Its percentile of difficulty is the share of the sweep's samples that are easier, that of a
    factor the share whose value is lower, ties counted half. On a terminal a small image is shown.
    csv and json have a row an algorithm, with the run's id and the factors as columns.

    \b
    Example:
      indelible sample 42 --format json
    """
    with session.warehouse() as warehouse:
        sweep_id = warehouse.sweep_id(sweep)
        attempts = warehouse.report("sample_attempts", sweep=sweep_id, sample=sample_id).records()
        if not attempts:
            raise UserError(f"no sample {sample_id} in the sweep: 'indelible rank' names some")
        factors = warehouse.report("sample_factors", sweep=sweep_id, sample=sample_id).records()
        source = warehouse.report("sweep", sweep=sweep_id).records()[0]["source"]
    if style != "table":
        show([row | _columns(factors) for row in attempts], style)
        return
    if source and sys.stdout.isatty():
        _show_image(session, source, sample_id)
    title = f"Sample {sample_id}, label {attempts[0]['label']}"
    hidden = ("sample_id", "label", "f", "u")
    rows = [{k: v for k, v in row.items() if k not in hidden} for row in attempts]
    show(attempts, style, [_rounded(row) for row in rows], title)
    if factors:
        click.echo()
        named = ("title", "value", "unit", "percentile", "harder")
        table = [_rounded({name: row[name] for name in named}) for row in factors]
        show(factors, style, table, "Known before unlearning")


def _columns(factors: list[dict[str, Any]]) -> dict[str, Any]:
    """Each factor's value and percentile under its own name."""
    columns: dict[str, Any] = {}
    for row in factors:
        columns |= {row["factor"]: row["value"], f"{row['factor']}_percentile": row["percentile"]}
    return columns


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    percentile = row["percentile"]
    return {**row, "percentile": None if percentile is None else f"{percentile:.1f}"}


def _show_image(session: Session, source: str, sample_id: int) -> None:
    """The image in half blocks, where its data set is here and it is small."""
    from rich.console import Console

    from indelible.tracker.cli.report import images_of
    from indelible.unlearning import datasets

    try:
        image = images_of(datasets.load_described(source, session.data_dir), [sample_id])[sample_id]
    except UserError as error:
        click.echo(f"no image: {error}", err=True)
        return
    if max(image.shape[:2]) <= LARGEST:
        Console().print(half_blocks(image))


def half_blocks(image: NDArray[np.float64]) -> Any:
    """An image, (H, W) grey or (H, W, 3) colour in [0, 1], as a character for two pixels each."""
    import numpy as np
    from rich.text import Text

    pixels = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    bytes_ = (pixels * 255).round().astype(int)
    text = Text()
    for upper, lower in zip(bytes_[0::2], bytes_[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("\N{UPPER HALF BLOCK}", f"rgb({_rgb(above)}) on rgb({_rgb(below)})")
        text.append("\n")
    return text


def _rgb(pixel: NDArray[np.int64]) -> str:
    return ",".join(str(value) for value in pixel)
