"""The hardest samples."""

from __future__ import annotations

from tracker.api import answers
from tracker.cli._output import only, show
from tracker.cli._session import Session
from tracker.commands.ask import Rank

# What a terminal of 80 columns has room for, of the ranks for one algorithm.
SHOWN = ("difficulty_rank", "tied", "percentile", "sample_id", "label", "gt", "regime", "f")

side_by_side = answers.side_by_side


def ranked(session: Session, asked: Rank, rows: answers.Rows) -> None:
    """Print the hardest samples, or the easiest."""
    every = [name for name in (rows or [{}])[0] if name != "sample_path"]
    names = SHOWN if asked.algorithm else every
    files = ("sample_path",) if any(row["sample_path"] for row in rows) else ()
    whom = f" for {asked.algorithm}" if asked.algorithm else ""
    title = f"The {'easiest' if asked.easiest else 'hardest'} samples{whom}"
    show(rows, asked.style, only(rows, *names, *files), title, below=["sample_path"])
