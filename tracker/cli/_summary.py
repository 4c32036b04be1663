"""What a sweep came to, as lines of text for stderr: stdout is data."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any

from tracker.cli._output import console, print_table
from tracker.store.records import Finished
from tracker.sweep.plan import Plan
from tracker.sweep.summary import Summary, summed_up

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
        summary = summed_up(name, members, test_accuracy, max_loss)
        if summary.attempts:
            rows.append(_cells(summary))
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


def _cells(summary: Summary) -> dict[str, Any]:
    """The cells of an algorithm's line by column; None where there is nothing to say."""

    def number(value: float | None, style: str, unit: str = "") -> str | None:
        return None if value is None else f"{value:{style}}{unit}"

    return {
        "algorithm": summary.algorithm,
        "flipped": f"{summary.flipped} of {summary.attempts}",
        "damaged": summary.damaged,
        "unchanged": summary.unchanged + summary.same_outputs or None,
        "accuracy": number(summary.accuracy, ".1%"),
        "lost": number(summary.mean_lost, "z.1f"),
        "worst": number(summary.worst_lost, "z.1f"),
        "gap": number(summary.gap, ".2g"),
        "steps": number(summary.steps, ".1f"),
        "time": number(summary.seconds, ".2g", " s"),
    }
