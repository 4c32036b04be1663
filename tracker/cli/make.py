"""What the command line prints of what was made: base models, sweeps, factors."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click
from mlflow.entities import Run

from tracker.api.answers import Rows
from tracker.api.verbs import Swept
from tracker.cli._output import print_table, show, with_short_ids
from tracker.cli._session import STARTED, Session, say
from tracker.commands.make import Demo, Measure, Sweep, Train
from tracker.sweep.summary import summed_up

SUMMED = (
    *("algorithm", "attempts", "flipped", "damaged", "unchanged"),
    *("accuracy", "mean_lost", "worst_lost", "steps", "seconds"),
)


def train(session: Session, command: Train, run: Run) -> None:
    """The run id of a base model, and what it gets right."""
    train, test = (run.data.metrics[f"{split}_accuracy"] for split in ("train", "test"))
    say(f"{run.info.run_name}: {train:.1%} of the training set right, {test:.1%} of the test set")
    click.echo(run.info.run_id)


def sweep(session: Session, command: Sweep | Demo, sweeps: Iterable[Swept]) -> None:
    """The id of each sweep once it is done, and what it came to."""
    for swept in sweeps:
        swept.clock.add("start-up", swept.began - STARTED)
        shares = swept.clock.shares().items()
        say(f"time of all threads: {', '.join(f'{doing} {share:.0%}' for doing, share in shares)}")
        click.echo(swept.run_id)
        for line in swept.share.said(swept.done):
            say(line)
        _came_to(swept, command.max_loss)
        if lines := swept.advice(command.max_loss):
            say("\n".join(["", *lines]))


def _came_to(swept: Swept, max_loss: float) -> None:
    """On stderr a line for each algorithm of which anything was attempted, with what they mean."""
    rows = []
    for name, keys in swept.plan.planned().items():
        members = [swept.done[key] for key in keys if key in swept.done]
        summary = vars(summed_up(name, members, swept.test_accuracy, max_loss))
        if summary["attempts"]:
            rows.append({column: summary[column] for column in SUMMED})
    if rows:
        say(
            f"\nTest accuracy was {swept.test_accuracy:.4g} before. Lost: percentage points of it."
            f"\nDamaged: flipped, but lost more than {max_loss:g} points.\n"
        )
        print_table(rows, stream=sys.stderr)


def measure(session: Session, command: Measure, rows: Rows) -> None:
    """A row for each sweep, or one for the base model."""
    ids = "sweep_id" if command.model is None else "base_run_id"
    show(rows, command.style, with_short_ids(rows, ids))
