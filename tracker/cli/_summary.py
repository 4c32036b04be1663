"""What a sweep came to, as lines of text for stderr: stdout is data."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any

from tracker.cli._output import console, print_table
from tracker.store.records import Finished
from tracker.sweep.plan import Plan
from tracker.sweep.summary import summed_up
from unlearning.outcome import Status

ALWAYS = ("algorithm", "flipped", "damaged", "accuracy", "lost", "worst", "steps", "time")


def table_of(
    plan: Plan, done: Mapping[str, Finished], test_accuracy: float, max_loss: float
) -> list[str]:
    """A line for each algorithm of which anything was attempted, below what the columns mean.

    Args:
        done: members by key. test_accuracy: the base model's.
        max_loss: percentage points of it that a flip may cost.
    """
    rows = []
    for name, keys in plan.planned().items():
        members = [done[key] for key in keys if key in done]
        found = summed_up(members, test_accuracy, max_loss)
        if len(members) > found[Status.ALREADY_WRONG]:
            rows.append(_cells(name, found))
    if not rows:
        return []
    shown = [column for column in rows[0] if column in ALWAYS or any(r[column] for r in rows)]
    text = io.StringIO()
    edge = console(sys.stderr).width
    print_table([{c: row[c] for c in shown} for row in rows], stream=text, width=edge)
    return [
        "",
        f"Test accuracy was {test_accuracy:.1%} before. Lost: points of it, mean and worst.",
        f"Damaged: flipped, but lost more than {max_loss:g} points.",
        "",
        *text.getvalue().splitlines(),
    ]


def _cells(name: str, found: Mapping[str, float]) -> dict[str, Any]:
    """The cells of an algorithm's line by column; None where there is nothing to say."""

    def number(metric: str, style: str, unit: str = "") -> str | None:
        return f"{found[metric]:{style}}{unit}" if metric in found else None

    attempts = sum(found[status] for status in Status if status is not Status.ALREADY_WRONG)
    return {
        "algorithm": name,
        "flipped": f"{found[Status.FLIPPED]:.0f} of {attempts:.0f}",
        "damaged": int(found["damaged"]),
        "unchanged": int(found[Status.UNCHANGED] + found["same_outputs"]) or None,
        "accuracy": number("mean_test_accuracy", ".1%"),
        "lost": number("mean_points_lost", "z.1f"),
        "worst": number("worst_points_lost", "z.1f"),
        "gap": number("mean_unlearning_gap", ".2g"),
        "steps": number("mean_steps", ".1f"),
        "time": number("mean_elapsed_s", ".2g", " s"),
    }
