"""What is known of one sample."""

from __future__ import annotations

import sys
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from analysis.atomic import make_folder, write_atomically
from analysis.pictures import png
from tracker.api.answers import Known
from tracker.base.base_models import load_data
from tracker.base.images import images_of
from tracker.cli._output import by_sign, console, only, show
from tracker.cli._session import Session, say
from tracker.commands.ask import Sample
from unlearning.dataset import Dataset
from unlearning.errors import UserError

LARGEST = 64  # pixels a side that fit on a terminal
ATTEMPT = ("algorithm", "status", "steps", "gt", "difficulty_rank", "tied", "percentile", "link")
PREDICTED = (
    *("algorithm", "predicted_gt", "predicted_steps", "predicted_flips"),
    *("predicted_prob_lost", "predicted_points_lost", "predicted_before"),
)
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}

Row = dict[str, Any]


def told(session: Session, asked: Sample, known: Known) -> None:
    """Print what became of a sample, what was predicted of it, and its factors."""
    if asked.style != "table":
        show(known.rows(), asked.style)
        return
    first = known.attempts[0]
    label = str(first["label"])
    try:
        base = known.base
        trained_on = (base["base_run_id"], base["source"], base["data_fingerprint"])
        data = load_data(*trained_on, session.data_dir, session.folder)
        name = data.classes[first["label"]]
        label = label if name == label else f"{label} ({name})"
        _show_image(session, data, asked.sample_id)
    except UserError as error:
        say(f"no image: {error}")
    called = f" ({first['sample_path']})" if first["sample_path"] else ""
    title = f"Sample {asked.sample_id}{called}, label {label}"
    show(known.attempts, "table", only(known.attempts, *ATTEMPT), title, below=["link"])
    if predicted := [row for row in known.attempts if row["prediction_id"]]:
        click.echo()
        show(only(predicted, *PREDICTED), "table", title="Predicted")
    for phase, said in PHASES.items():
        if rows := [row for row in known.factors if row["phase"] == phase]:
            click.echo()
            title = f"{said}: value (its own percentile among the sweep's samples)"
            show(rows, "table", _side_by_side(rows), title, below=("title", "unit"))


def _side_by_side(factors: list[Row]) -> list[Row]:
    """A row a factor, with a column an algorithm where it is one algorithm's."""
    table: dict[str, Row] = {}
    blank = dict.fromkeys(row["algorithm"] or "value" for row in factors)
    for row in factors:
        line = {name: row[name] for name in ("factor", "title", "unit")} | blank
        hard = row["percentile"] if row["harder"] == "high" else 100 - row["percentile"]
        # Red where it is harder than most, and blue where it is easier.
        cell = by_sign(f"{row['value']:.4g} ({row['percentile']:.0f})", 1 - hard / 50)
        table.setdefault(row["factor"], line)[row["algorithm"] or "value"] = cell
    return list(table.values())


def _show_image(session: Session, data: Dataset, sample_id: int) -> None:
    """The image on a terminal, if it is small enough; else its path. The row of a table as text.

    Raises UserError where there is no image, or it cannot be written.
    """
    if row := data.row_of(sample_id):
        say(f"its row: {row}")
        return
    image = images_of(data, [sample_id])[sample_id]
    if sys.stdout.isatty() and max(image.shape[:2]) <= LARGEST:
        console(sys.stdout).print(half_blocks(image))
        return
    path = session.folder / "images" / data.fingerprint[:16] / f"{sample_id:05d}.png"
    make_folder(path.parent)
    write_atomically(path, png(image))
    say(f"its image: {path}")


def half_blocks(image: NDArray[np.float64]) -> Text:
    """An image, (H, W) grey or (H, W, 3) colour in [0, 1], as a character for two pixels each."""
    pixels = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    colours = (pixels * 255).round().astype(int)
    text = Text()
    for upper, lower in zip(colours[0::2], colours[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            style = " on ".join(f"rgb({','.join(map(str, rgb))})" for rgb in (above, below))
            text.append("\N{UPPER HALF BLOCK}", style)
        text.append("\n")
    return text
