"""One sample's story: what became of it, what was predicted, and its factors."""

from __future__ import annotations

from typing import Any

import click

from analysis.atomic import make_folder, write_atomically
from analysis.pictures import png
from tracker.api.answers import Known, Rows
from tracker.base.base_models import load_data
from tracker.base.images import images_of
from tracker.cli._output import Session, by_sign, only, say, show
from tracker.commands import ask
from unlearning.dataset import Dataset
from unlearning.errors import UserError

STORY = (
    *("algorithm", "status", "steps", "points_lost", "gt", "predicted_gt", "difficulty_rank"),
    *("z", "verdict"),
)
ATTEMPT = (
    *("algorithm", "status", "steps", "gt", "difficulty_rank", "tied", "percentile"),
    *("z", "verdict", "link"),
)
FACTORS = 3  # of the story
STANDS = "Where it stands out before unlearning"
PREDICTED = (
    *("algorithm", "predicted_gt", "predicted_steps", "predicted_flips"),
    *("predicted_prob_lost", "predicted_points_lost", "predicted_before"),
)
PERCENTILE = "value (its own percentile among the sweep's samples)"
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}


def sample(session: Session, asked: ask.Sample, known: Known) -> None:
    """Print what became of a sample, what was predicted of it, and its factors."""
    if asked.style != "table":
        show(known.rows(), asked.style)
        return
    first, base = known.attempts[0], known.base
    label = str(first["label"])
    try:
        trained_on = (base["base_run_id"], base["source"], base["data_fingerprint"])
        data = load_data(*trained_on, session.data_dir, session.folder)
        name = data.classes[first["label"]]
        label = label if name == label else f"{label} ({name})"
        _show_image(session, data, asked.sample_id)
    except UserError as error:
        say(f"no image: {error}")
    called = f" ({first['sample_path']})" if first["sample_path"] else ""
    title = f"Sample {asked.sample_id}{called}, label {label}"
    if not asked.all:
        rows = [row | {"points_lost": row["test_points_lost"]} for row in known.attempts]
        show(known.attempts, "table", only(rows, *STORY), title)
        click.echo()
        rows = _side_by_side(_outstanding(known.factors))
        show(rows, "table", title=f"{STANDS}: {PERCENTILE}", spare=["unit"])
        say(f"all {len({row['factor'] for row in known.factors})} factors: --all")
        return
    show(known.attempts, "table", only(known.attempts, *ATTEMPT), title, spare=["link"])
    if predicted := [row for row in known.attempts if row["prediction_id"]]:
        click.echo()
        told = [{n.removeprefix("predicted_"): row[n] for n in PREDICTED} for row in predicted]
        show(told, "table", title="Predicted")
    for phase, said in PHASES.items():
        if rows := [row for row in known.factors if row["phase"] == phase]:
            click.echo()
            show(rows, "table", _side_by_side(rows), f"{said}: {PERCENTILE}", ("title", "unit"))


def _outstanding(factors: Rows) -> Rows:
    """Of the factors known before unlearning, those farthest from the middle, one a family."""
    known = [row for row in factors if row["phase"] == "pre"]
    firsts: dict[str, dict[str, Any]] = {}
    for row in sorted(known, key=lambda row: abs(row["percentile"] - 50), reverse=True):
        firsts.setdefault(row["family"], row)
    return list(firsts.values())[:FACTORS]


def _side_by_side(factors: Rows) -> Rows:
    """A row a factor, with a column an algorithm where it is one algorithm's."""
    table: dict[str, dict[str, Any]] = {}
    blank = dict.fromkeys(row["algorithm"] or "value" for row in factors)
    for row in factors:
        line = {name: row[name] for name in ("factor", "title", "unit")} | blank
        hard = row["percentile"] if row["harder"] == "high" else 100 - row["percentile"]
        # Red where it is harder than most, and blue where it is easier.
        cell = by_sign(f"{row['value']:.4g} ({row['percentile']:.0f})", 1 - hard / 50)
        table.setdefault(row["factor"], line)[row["algorithm"] or "value"] = cell
    return list(table.values())


def _show_image(session: Session, data: Dataset, sample_id: int) -> None:
    """Write the image, and say where; the row of a table as text.

    Raises UserError where there is no image, or it cannot be written.
    """
    if row := data.row_of(sample_id):
        say(f"its row: {row}")
        return
    path = session.folder / "images" / data.fingerprint[:16] / f"{sample_id:05d}.png"
    make_folder(path.parent)
    write_atomically(path, png(images_of(data, [sample_id])[sample_id]))
    say(f"its image: {path}")
