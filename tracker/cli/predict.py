"""Predict how hard samples are to unlearn, before a sweep, and grade such predictions after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._completing import runs_completed
from tracker.cli._engines import engine_options
from tracker.cli._members import (
    Members,
    algorithm_option,
    load_base,
    model_option,
    only_correct_option,
    plans,
    precision_option,
    preset_option,
    remaining_option,
    repeats_option,
    requests_option,
    sample_ids_option,
    sample_option,
    samples_option,
    seed_option,
    set_option,
)
from tracker.cli._options import MOST_ROWS, as_one, device_option, format_option, given, refuse
from tracker.cli._output import progress, show
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import Failure, UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from analysis.warehouse import Warehouse
    from tracker.studies.predict import Prediction

TOP = 10  # rows of each algorithm in a table
SHORT = 8  # characters of the id of a prediction in a table
GRADING = {"names", "score", "style", "model"}  # options that go with --score
SHOWN = ("algorithm", "rank", "sample_id", "label")
NUMBERS = ("gt", "steps", "flips", "prob_lost", "points_lost")
NO_PREDICTION = (
    "there is no prediction in the warehouse: run 'indelible predict' before a sweep, and "
    "'indelible load' after it"
)

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Arguments(Members):
    """The options of the command, by the names that they have there.

    Attributes:
        only_new: without samples that were attempted already. top: rows of each algorithm.
        score: the sweep that is to grade predictions.
    """

    only_new: bool
    top: int | None
    score: str | None
    style: str

    def check(self) -> None:
        """Raise UserError for options that exclude each other."""
        super().check()
        if self.score is None and not self.names:
            raise UserError("name what is to be predicted with --algorithm, or give --score SWEEP")
        if self.score is not None:
            refuse(vars(self).keys() - GRADING, "with --score")


@click.command()
@model_option
@algorithm_option(required=False)
@samples_option
@sample_ids_option
@requests_option
@sample_option
@only_correct_option
@remaining_option
@preset_option
@set_option
@seed_option
@repeats_option
@device_option
@precision_option
@engine_options
@click.option("--only-new", is_flag=True, help="Leave out samples that were attempted already.")
@click.option(
    "--top",
    type=click.IntRange(1, MOST_ROWS),
    help=f"How many of the hardest.  [default: {TOP} in a table, all in csv and json]",
)
@click.option(
    "--score",
    metavar="SWEEP",
    shell_complete=runs_completed("sweep", LATEST),
    help="Grade predictions by that sweep.",
)
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Predict what unlearning samples will come to, the hardest first, and write it down.

    Of each algorithm and sample: the steps, the probability that its prediction flips within the
    budget, the probability and the points of accuracy that the test set loses, and GT; rank 1 has
    the lowest GT of the samples that are predicted together. Options are those of 'indelible
    sweep': a prediction is of the attempts that a sweep with the same ones makes.

    Each prediction, one for each seed of --repeats, becomes an MLflow run, with the time and the
    hashes of model, data and formula. Intervals (90%) come from attempts on other samples with the
    same settings and seed, where at least 20 are in the store.

    --score grades all predictions of a sweep's attempts, from the warehouse. A prediction that was
    made after an attempt, or calibrated on one, is refused.

    \b
    Example:
      indelible predict --algorithm ga --samples 100
      indelible sweep --algorithm ga --samples 100 && indelible load
      indelible predict --score latest
    """
    arguments.check()
    if arguments.score is None:
        _predict(session, arguments)
    else:
        _grade(session, arguments, arguments.score)


def _predict(session: Session, arguments: Arguments) -> None:
    """Predict, write it down and print it."""
    named, rows = arguments.named_samples(), Rows()
    with session.store() as store, arguments.computing() as engine:
        from tracker.studies.predict import only_new, predict, refuse_hopeless

        base_run = load_base(store, arguments, session.data_dir)
        refuse_hopeless(base_run.model, base_run.model.dataset.train.ids.tolist())
        for plan in plans(store, base_run, arguments, named):
            wanted = only_new(store, plan) if arguments.only_new else plan
            try:
                made = predict(store, base_run, wanted, engine, bar, say)
            except KeyboardInterrupt:
                raise Failure("stopped; the same command goes on where it stopped") from None
            rows += _rows(made, plan.seed, arguments)
            say(_told(made))
    table = [_shown(row) for row in rows if row["seed"] == arguments.seed]
    show(rows, arguments.style, table, "The hardest samples")


def _told(made: Prediction) -> str:
    """That a prediction is in the store, and what grades it."""
    spoilt, rows = made.spoilt, made.predicted.rows.num_rows
    here = f"prediction {made.run_id} is in the store"
    if not spoilt:
        return f"{here}: attempts that begin now grade it"
    return (
        f"{here}: no sweep grades it that has any of {spoilt} of its {rows} attempts, which were "
        "made before, or which it comes from"
    )


def bar(total: int) -> AbstractContextManager[Callable[[int, str], None]]:
    """A progress bar over so many samples."""
    return progress("predicting", total)


def _rows(made: Prediction, seed: int, arguments: Arguments) -> Rows:
    """The hardest of each algorithm. A table shows those of the first seed: all are alike."""
    top = arguments.top or (TOP if arguments.style == "table" else MOST_ROWS)
    return [
        {"prediction_id": made.run_id, "seed": seed, **row}
        for of_algorithm in made.ranked().values()
        for row in of_algorithm[:top]
    ]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a table has it: numbers to three digits, and their intervals in brackets."""
    shown = {name: row[name] for name in SHOWN}
    return shown | {name: _bounded(row, name) for name in NUMBERS}


def _bounded(row: Mapping[str, Any], name: str) -> str | None:
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return None
    return f"{value:.3g}" if low is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _grade(session: Session, arguments: Arguments, reference: str) -> None:
    """Grade what was predicted of a sweep's attempts, and print it."""
    with session.warehouse() as warehouse:
        sweep_id = session.sweep_id(warehouse, reference)
        rows = _scores(warehouse, sweep_id, arguments)
    refused = {
        (row["prediction_id"], row["algorithm"]): row["refused"] for row in rows if row["refused"]
    }
    graded = [row for row in rows if not row["refused"]]
    lines = [f"prediction {made} of {name}: {why}" for (made, name), why in refused.items()]
    if not graded:
        more = f" (and {len(lines) - 1} more like it)" if len(lines) > 1 else ""
        raise UserError(f"this is not graded: {lines[0]}{more}")
    for line in lines:
        say(f"not graded: {line}")
    if arguments.style != "table":
        show(graded, arguments.style)
        return
    made = dict.fromkeys(row["prediction_id"] for row in graded)
    for prediction in made:
        own = [row for row in graded if row["prediction_id"] == prediction]
        by = f" by prediction {prediction[:SHORT]}" if len(made) > 1 else ""
        show(own, arguments.style, _as_table(own), f"How well it was known{by}")


def _scores(warehouse: Warehouse, sweep_id: str, arguments: Arguments) -> Rows:
    """The scores of what was predicted of a sweep. Raises UserError where there are none."""
    sweep = next(row for row in warehouse.report("sweeps").records() if row["sweep_id"] == sweep_id)
    base = sweep["base_run_id"]
    if "model" in given() and arguments.model != LATEST and not base.startswith(arguments.model):
        raise UserError(
            f"sweep {sweep_id} unlearned from base model {base}, not from {arguments.model}"
        )
    rows = warehouse.report("prediction_scores", sweep=sweep_id).records()
    if arguments.names:
        rows = [row for row in rows if row["algorithm"] in arguments.names]
    if rows:
        return rows
    bases = [row[0] for row in warehouse.report("prediction_bases").rows]
    if not bases:
        raise UserError(NO_PREDICTION)
    if base not in bases:
        raise UserError(
            f"no prediction is of this sweep's base model {base}, but of {', '.join(bases)}"
        )
    raise UserError(
        f"no prediction is of an attempt of sweep {sweep_id}: they have other algorithms, "
        "settings, seeds or samples"
    )


def _as_table(graded: Rows) -> Rows:
    """What a table has room for: without columns that say nothing here."""
    table = [_score(row) for row in graded]
    empty = {name for name in table[0] if all(row[name] is None for row in table)} - {"rho"}
    return [{name: row[name] for name in row if name not in empty} for row in table]


def _score(row: dict[str, Any]) -> dict[str, Any]:
    ends = "" if row["ci_low"] is None else f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
    return {
        "algorithm": row["algorithm"],
        "target": row["target"],
        "n": row["n"],
        "rho": None if row["rho"] is None else f"{row['rho']:.3f}{ends}",
        "of ceiling": _digits(row["rho_of_ceiling"]),
        "hardest 10%": _digits(row["precision_10"]),
        "coverage": _digits(row["coverage"]),
        "Brier": _digits(row["brier"]),
    }


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
