"""What is known of one sample."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._options import format_option, sweep_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session, say
from tracker.cli._tables import Cell, console
from unlearning.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unlearning.dataset import Dataset

LARGEST = 64  # pixels a side that fit on a terminal

PREDICTED = ("gt", "steps", "flips", "prob_lost")
FLIPPED = ("flipped", "rewound")

Rows = list[dict[str, Any]]


@click.command()
@click.argument("sample_id", type=click.IntRange(0))
@sweep_option
@format_option
@pass_session
def command(session: Session, sample_id: int, sweep: str, style: str) -> None:
    """What is known of one training sample: how hard it was for each algorithm, and its factors.

    Its difficulty percentile is the share of the sweep's samples that are easier, that of a
    factor the share whose value is lower, ties counted half; on a terminal it is red where the
    sample is at the hard end of the factor, and blue at the easy one. A small image is shown on a
    terminal; else it is written into the store's folder, and its path is said. What was predicted
    before (see 'indelible predict') stands beside what was measured. csv and json have a
    row an algorithm, with the run's id and link, and the factors as columns.

    \b
    Example:
      indelible sample 42 --format json
    """
    from analysis.answers import about
    from tracker.store import views

    with session.warehouse() as warehouse:
        sweep_id = warehouse.sweep_id(sweep)
        asked = {"sweep": sweep_id, "sample": sample_id}
        attempts = warehouse.report("sample_attempts", **asked).records()
        if not attempts:
            raise UserError(f"no sample {sample_id} in the sweep: 'indelible rank' names some")
        session.sweep_id(warehouse, sweep)
        factors = warehouse.report("sample_factors", **asked).records()
        base = about(warehouse, sweep_id)
    for row in attempts:
        page = views.of_run(row.pop("experiment_id"), row["run_id"])
        row["link"] = f"{session.ui}/{page}"
    if style != "table":
        show([row | _columns(factors, row["algorithm"]) for row in attempts], style)
        return
    data, label = _data(session, base), attempts[0]["label"]
    if data is not None:
        _show_image(session, data, sample_id)
    path = attempts[0]["sample_path"]
    called = f" ({path})" if path else ""
    title = f"Sample {sample_id}{called}, label {_with_class(label, data)}"
    show(attempts, style, [_attempt(row) for row in attempts], title)
    if predicted := [_predicted(row) for row in attempts if row["prediction_id"]]:
        click.echo()
        show(predicted, style, title="Predicted / measured")
    for phase, known in (("pre", "Known before unlearning"), ("post", "Measured afterwards")):
        rows = [row for row in factors if row["phase"] == phase]
        if rows:
            click.echo()
            title = f"{known}: value (its own percentile among the sweep's samples)"
            show(rows, style, _side_by_side(rows), title, below=("title", "unit"))


def _data(session: Session, base: dict[str, Any]) -> Dataset | None:
    """The data set of a base model; None where it is not here, which is said."""
    from tracker.base.base_models import load_data

    try:
        trained_on = (base["base_run_id"], base["source"], base["data_fingerprint"])
        return load_data(*trained_on, session.data_dir, session.folder)
    except UserError as error:
        click.echo(f"no image: {error}", err=True)
        return None


def _with_class(label: int, data: Dataset | None) -> str:
    """A label with the name of its class, where that is known and is another."""
    name = str(label) if data is None else data.classes[label]
    return str(label) if name == str(label) else f"{label} ({name})"


def _columns(factors: Rows, algorithm: str) -> dict[str, Any]:
    """Each factor's value and percentile under its own name."""
    columns: dict[str, Any] = {}
    for row in factors:
        if row["algorithm"] in (None, algorithm):
            name = row["factor"]
            columns |= {name: row["value"], f"{name}_percentile": row["percentile"]}
    return columns


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    """What a table has room for."""
    names = ("algorithm", "status", "steps", "gt", "gt_share", "regime")
    percentile = row["percentile"]
    return {name: row[name] for name in names} | {
        "rank": row["difficulty_rank"],
        "tied": _ties(row),
        "difficulty percentile": None
        if percentile is None
        else _shaded(f"{percentile:.1f}", percentile),
        "MLflow run": row["link"],
    }


def _predicted(row: dict[str, Any]) -> dict[str, Any]:
    """What was predicted beside what was measured."""
    lost = None if row["u"] is None else 1 - row["u"]
    measured = row | {"flips": float(row["status"] in FLIPPED), "prob_lost": lost}
    beside = {name: _beside(row[f"predicted_{name}"], measured[name]) for name in PREDICTED}
    made = "before" if row["predicted_before"] else "only afterwards"
    return {"algorithm": row["algorithm"], **beside, "predicted": made}


def _beside(predicted: float | None, measured: float | None) -> str:
    said = ("?" if value is None else f"{value:.4g}" for value in (predicted, measured))
    return " / ".join(said)


def _ties(row: dict[str, Any]) -> str | None:
    """What a table says of the others that are as hard, and whether F orders them."""
    if not row["tied"]:
        return None
    others = "1 other" if row["tied"] == 1 else f"{row['tied']} others"
    return f"tied with {others}{' (by f)' if row['ordered_by'] == 'f' else ''}"


def _side_by_side(factors: Rows) -> Rows:
    """A row a factor, with a column an algorithm where it is one algorithm's."""
    table: dict[str, dict[str, Any]] = {}
    names = dict.fromkeys(row["algorithm"] or "value" for row in factors)
    for row in factors:
        line = {name: row[name] for name in ("factor", "title", "unit")} | dict.fromkeys(names)
        hard = row["percentile"] if row["harder"] == "high" else 100 - row["percentile"]
        text = f"{row['value']:.4g} ({row['percentile']:.0f})"
        table.setdefault(row["factor"], line)[row["algorithm"] or "value"] = _shaded(text, hard)
    return list(table.values())


def _shaded(text: str, percentile: float) -> Cell:
    """A cell that is red where it is harder than most, and blue where it is easier."""
    return Cell.by_sign(text, 1 - percentile / 50)


def _show_image(session: Session, data: Dataset, sample_id: int) -> None:
    """The image on a terminal, if it is small enough; else its path. The row of a table as text."""
    from tracker.base.images import images_of

    if row := data.row_of(sample_id):
        say(f"its row: {row}")
        return
    image = images_of(data, [sample_id])[sample_id]
    if sys.stdout.isatty() and max(image.shape[:2]) <= LARGEST:
        console(sys.stdout).print(half_blocks(image))
        return
    from analysis.drafts import write_whole
    from analysis.pictures import png

    folder = session.folder / "images" / data.fingerprint[:16]
    path = folder / f"{sample_id:05d}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, png(image))
    except (OSError, UserError) as error:  # a store that can only be read
        click.echo(f"no image: {error}", err=True)
    else:
        click.echo(f"its image: {path}", err=True)


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
