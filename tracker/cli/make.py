"""What the command line prints of what was made: base models, sweeps, factors, predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from mlflow.entities import Run

from analysis.warehouse import Warehouse
from tracker.api.studies import Predicted
from tracker.api.verbs import Swept
from tracker.cli._output import show, with_short_ids
from tracker.cli._session import STARTED, Session, say
from tracker.cli._summary import table_of
from tracker.commands.make import Measure, Predict, Sweep, Train
from unlearning.errors import UserError
from unlearning.naming import LATEST

TOP = 10  # rows of each algorithm in a table
SHORT = 8  # characters of the id of a prediction in a table
COLUMNS = ("algorithm", "rank", "sample_id", "label")
NUMBERS = ("gt", "steps", "flips", "prob_lost", "points_lost")
NO_PREDICTION = (
    "there is no prediction in the warehouse: run 'indelible predict' before a sweep, and "
    "'indelible load' after it"
)

Rows = list[dict[str, Any]]


def trained(session: Session, command: Train, run: Run) -> None:
    """The run id of a base model, and what it gets right."""
    shares = (run.data.metrics[f"{split}_accuracy"] for split in ("train", "test"))
    train, test = (f"{share:.1%}" for share in shares)
    say(f"{run.info.run_name}: {train} of the training set right, {test} of the test set")
    click.echo(run.info.run_id)


def swept(session: Session, command: Sweep, sweeps: Iterable[Swept]) -> None:
    """The id of each sweep once it is done, and what it came to."""
    for sweep in sweeps:
        say_times(sweep)
        click.echo(sweep.run_id)
        for line in came_to(sweep, command.max_loss) + advice(sweep, command.max_loss):
            say(line)


def say_times(sweep: Swept) -> None:
    """Where the time of a sweep went."""
    sweep.clock.add("start-up", sweep.began - STARTED)
    shares = sweep.clock.shares().items()
    say(f"time of all threads: {', '.join(f'{doing} {share:.0%}' for doing, share in shares)}")


def came_to(sweep: Swept, max_loss: float) -> list[str]:
    """A table of what the attempts of a sweep came to."""
    return table_of(sweep.plan, sweep.done, sweep.test_accuracy, max_loss)


def advice(sweep: Swept, max_loss: float) -> list[str]:
    """Which settings to change, below an empty line; nothing where they fit."""
    lines = sweep.advice(max_loss)
    return ["", *lines] if lines else []


def measured(session: Session, command: Measure, rows: Rows) -> None:
    """A row for each sweep, or one for the base model."""
    ids = "sweep_id" if command.model is None else "base_run_id"
    show(rows, command.style, with_short_ids(rows, ids))


def predicted(session: Session, command: Predict, made: Iterable[Predicted]) -> None:
    """The hardest of each algorithm, or the grades of predictions."""
    if command.score is not None:
        _grade(session, command, command.score)
        return
    rows, top = Rows(), command.top or (TOP if command.style == "table" else None)
    for each in made:
        rows += each.rows(top)
        say(_told(each))
    first = [row for row in rows if row["seed"] == command.seed]  # a table is alike for all seeds
    table = [
        {name: row[name] for name in COLUMNS} | {name: _bounded(row, name) for name in NUMBERS}
        for row in first
    ]
    show(rows, command.style, table, "The hardest samples")


def _told(each: Predicted) -> str:
    """That a prediction is in the store, and what grades it."""
    spoilt, count = each.made.spoilt, each.made.predicted.rows.num_rows
    here = f"prediction {each.made.run_id} is in the store"
    if not spoilt:
        return f"{here}: attempts that begin now grade it"
    return (
        f"{here}: no sweep grades it that has any of {spoilt} of its {count} attempts, which were "
        "made before, or which it comes from"
    )


def _bounded(row: Mapping[str, Any], name: str) -> str | None:
    """A number to three digits, and its interval in brackets."""
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return None
    return f"{value:.3g}" if low is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _grade(session: Session, command: Predict, reference: str) -> None:
    """Grade what was predicted of a sweep's attempts, and print it."""
    with session.warehouse() as warehouse:
        sweep_id = session.sweep_id(warehouse, reference)
        rows = _scores(warehouse, sweep_id, command)
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
    if command.style != "table":
        show(graded, command.style)
        return
    made = dict.fromkeys(row["prediction_id"] for row in graded)
    for prediction in made:
        own = [_score(row) for row in graded if row["prediction_id"] == prediction]
        empty = {name for name in own[0] if all(row[name] is None for row in own)} - {"rho"}
        table = [{name: row[name] for name in row if name not in empty} for row in own]
        by = f" by prediction {prediction[:SHORT]}" if len(made) > 1 else ""
        show(table, command.style, title=f"How well it was known{by}")


def _scores(warehouse: Warehouse, sweep_id: str, command: Predict) -> Rows:
    """The scores of what was predicted of a sweep. Raises UserError where there are none."""
    sweep = next(row for row in warehouse.report("sweeps").records() if row["sweep_id"] == sweep_id)
    base = sweep["base_run_id"]
    if command.model != LATEST and not base.startswith(command.model):
        raise UserError(
            f"sweep {sweep_id} unlearned from base model {base}, not from {command.model}"
        )
    rows = warehouse.report("prediction_scores", sweep=sweep_id).records()
    if command.algorithms:
        rows = [row for row in rows if row["algorithm"] in command.algorithms]
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


def _score(row: dict[str, Any]) -> dict[str, Any]:
    """A grade as a table has it."""
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
