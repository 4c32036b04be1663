"""How far orders of samples agree: those of algorithms, and those under other seeds."""

from __future__ import annotations

from typing import Any

from analysis.statistics import FEWEST_REPEATS
from tracker.cli._output import only, show
from tracker.cli._session import Session, say
from tracker.commands.ask import Agree, Reliability

PAIR = (
    *("algorithm_a", "algorithm_b", "rho", "p_value", "n"),
    *("top_k", "top_overlap", "top_overlap_by_chance"),
)
NOTHING = "it takes two algorithms with a GT for the same samples: the sweep has fewer"
NOT_REPEATED = (
    "no sweep was repeated yet: give 'indelible sweep' --repeats N, "
    "or a base model of 'indelible train' with another --seed"
)


def run(session: Session, asked: Agree) -> None:
    """Print how far the algorithms of a sweep agree, by pairs."""
    with session.warehouse() as warehouse:
        sweep = session.sweep_id(warehouse, asked.sweep)
        pairs = warehouse.report("agree", sweep=sweep).records()
    if not pairs and asked.style == "table":
        say(NOTHING)
        return
    title = None
    if pairs and (w := pairs[0]["concordance"]) is not None:
        title = (
            "Kendall's W of {concordance_algorithms} algorithms over {concordance_n} samples: "
            f"{w:.3f} (p = {{concordance_p_value:.1g}})"
        ).format_map(pairs[0])
    show(pairs, asked.style, only(pairs, *PAIR), title)


def run_reliability(session: Session, asked: Reliability) -> None:
    """Print how far GT agrees with itself under other seeds."""
    with session.warehouse() as warehouse:
        rows = warehouse.report("reliability").records()
    if not rows and asked.style == "table":
        say(NOT_REPEATED)
        return
    show(rows, asked.style, [_repeated(row) for row in rows], "Reliability of GT")
    fewest = min((row["repeats"] for row in rows), default=FEWEST_REPEATS)
    if asked.style == "table" and fewest < FEWEST_REPEATS:
        pairs = "1 pair" if fewest == 2 else "3 pairs"
        say(
            f"{fewest} repeats are {pairs} of seeds: how far other seeds would differ from them is "
            f"not in the interval; --repeats {FEWEST_REPEATS} or more of 'indelible sweep' would "
            "tell"
        )


def _repeated(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it, with its intervals in brackets."""
    ceiling = _between(row, "ceiling")
    return {
        **{name: row[name] for name in ("varied", "dataset", "algorithm", "repeats", "n")},
        "mean_rho": _between(row, "mean_rho"),
        "ceiling": "not distinguishable from 0" if row["ceiling_low"] == 0 else ceiling,
        **{name: row[name] for name in ("spearman_brown", "split_half", "icc")},
    }


def _between(row: dict[str, Any], name: str) -> str | None:
    """A number with its interval."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return None
    ends = "too few samples for an interval" if low is None else f"{low:.2f} to {high:.2f}"
    return f"{value:.4g} ({ends})"
