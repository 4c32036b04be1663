"""What the command line prints of what was made: base models, sweeps, factors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from tracker.api.answers import Rows
from tracker.api.verbs import Swept
from tracker.cli._output import STARTED, Session, print_table, say, show, with_short_ids
from tracker.commands.make import Demo, Measure, Sweep, Train
from tracker.store.records import Run
from tracker.sweep.plan import REFERENCE
from unlearning.outcome import UNTIL_REFERENCE, Status

# Columns after a sweep: the metric of its run, and how it is written.
SUMMED = {
    "forgotten": ("forgotten_rate", ".0%"),
    "accuracy": ("mean_test_accuracy", ".1%"),
    "lost": ("mean_points_lost", "z.1f"),
    "worst": ("worst_points_lost", "z.1f"),
    "steps": ("mean_steps", ".1f"),
    "seconds": ("mean_elapsed_s", ".2g"),
}


def train(session: Session, command: Train, run: Run) -> None:
    """The run id of a base model, and what it gets right."""
    train, test = (run.metrics[f"{split}_accuracy"] for split in ("train", "test"))
    say(f"{run.name}: {train:.1%} of the training set right, {test:.1%} of the test set")
    click.echo(run.run_id)


def sweep(session: Session, command: Sweep, sweeps: Iterable[Swept]) -> None:
    """The id of each sweep once it is done, and what it came to."""
    for swept in told(session, command, sweeps):
        if lines := swept.advice(command.max_loss):
            say("\n".join(["", *lines]))


def told(session: Session, command: Sweep | Demo, sweeps: Iterable[Swept]) -> Iterator[Swept]:
    """The sweeps, each after a table of what it came to."""
    since = STARTED
    for swept in sweeps:
        swept.clock.add("start-up", swept.began - since)
        shares = swept.clock.shares().items()
        say(f"time of all threads: {', '.join(f'{doing} {share:.0%}' for doing, share in shares)}")
        click.echo(swept.run_id)
        _came_to(swept, command.max_loss)
        yield swept
        since = time.perf_counter()


def _came_to(swept: Swept, max_loss: float) -> None:
    """On stderr a line for each algorithm of which anything was attempted, with what they mean."""
    rows = []
    for name, found in swept.came_to(max_loss).items():
        if attempts := sum(
            found.get(each, 0) for each in Status if each is not Status.ALREADY_WRONG
        ):
            row: dict[str, Any] = {"algorithm": name}
            if swept.plan.until == REFERENCE:
                arrived = sum(found.get(each, 0) for each in UNTIL_REFERENCE)
                row["at reference"] = f"{arrived:.0f} of {attempts:.0f}"
            else:
                row["flipped"] = f"{found[Status.FLIPPED]:.0f} of {attempts:.0f}"
            row["damaged"] = int(found["damaged"])
            for column, (metric, style) in SUMMED.items():  # of nothing there is no mean
                row[column] = f"{found[metric]:{style}}" if metric in found else None
            rows.append(row)
    if rows:
        how = "at the reference" if swept.plan.until == REFERENCE else "flipped"
        say(
            f"\nTest accuracy was {swept.test_accuracy:.1%} before. Lost: percentage points of it."
            f"\nDamaged: {how}, but lost more than {max_loss:g} points.\n"
        )
        print_table(rows, stream=sys.stderr)


def measure(session: Session, command: Measure, rows: Rows) -> None:
    """A row for each sweep, or one for the base model."""
    ids = "sweep_id" if command.model is None else "base_run_id"
    show(rows, command.style, with_short_ids(rows, ids))
