"""Two sweeps beside each other, for `indelible compare A B`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from analysis.words import nested
from tracker.cli._output import named, show
from tracker.cli._session import Session, say
from tracker.cli._tables import Cell
from unlearning.errors import UserError

BELOW = ("title",)  # a column for which a narrow terminal has no room
LEGEND = (
    "difference: rho in the second sweep less rho in the first, with its 95% interval (Zou 2007); "
    "* it excludes 0, as one of 20 does by chance; † GT is made of this factor"
)
SHARED = (
    "the sweeps share samples: intervals, made as for sweeps that share none, are then usually "
    "wider than they have to be"
)

Rows = list[dict[str, Any]]


def compare_sweeps(session: Session, first: str, second: str, style: str) -> None:
    """Print the correlations of two sweeps and how they differ."""
    with session.warehouse() as warehouse:
        ids = [session.sweep_id(warehouse, reference) for reference in (first, second)]
        if ids[0] == ids[1]:
            raise UserError(f"'{first}' and '{second}' are one sweep: give another")
        sweeps = {row["sweep_id"]: row for row in warehouse.report("sweeps").records()}
        asked = dict(zip(("first", "second"), ids, strict=True))
        rows = warehouse.report("compare_sweeps", **asked).records()
        own, others = (dict(warehouse.report("settings", sweep=sweep).rows) for sweep in ids)
    a, b = (sweeps[sweep_id] for sweep_id in ids)
    if not rows:
        raise UserError(
            f"the sweeps have no algorithm in common: {a['algorithms']} and {b['algorithms']}"
        )
    if style != "table":
        show(rows, style)
        return
    tables = nested([row for row in rows if row["population"] == "all"], "algorithm")
    for algorithm, of_algorithm in tables.items():
        measured = [row for row in of_algorithm if row["n_a"] or row["n_b"]]
        if measured:
            table = [_shown(row, *_headings(a, b)) for row in measured]
            show(measured, style, table, _title(algorithm, measured), BELOW)
            click.echo()
    say(LEGEND)
    if any(row["shared"] for row in rows):
        say(SHARED)
    if remark := _apart(a, b):
        say(remark)
    for remark in _set_apart(own, others, _headings(a, b)):
        say(remark)


def _headings(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str]:
    """What tells the sweeps apart at the head of a column."""
    if a["name"] != b["name"]:
        return a["name"], b["name"]
    return "first", "second"


def _title(algorithm: str, rows: Rows) -> str:
    """What a table is about, and how many of its differences are more than chance explains."""
    known = [row["apart"] for row in rows if row["apart"] is not None]
    sizes = (max(row[n] for row in rows) for n in ("n_a", "n_b"))
    return (
        f"Spearman's rho with GT, {algorithm}: {' and '.join(map(str, sizes))} samples; "
        f"{sum(known)} of {len(known)} intervals exclude 0"
    )


def _shown(row: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    """A row as a table has it."""
    low, high = row["difference_low"], row["difference_high"]
    interval = "" if low is None else f" [{low:+.2f},{high:+.2f}]{'*' if row['apart'] else ''}"
    difference = row["difference"]
    return {
        **named(row),
        a: _rho(row["rho_a"], row["undefined_a"]),
        b: _rho(row["rho_b"], row["undefined_b"]),
        "difference": None
        if difference is None
        else Cell.by_sign(f"{difference:+.2f}{interval}", difference if row["apart"] else 0),
    }


def _rho(rho: float | None, why: str | None) -> Cell:
    return Cell(str(why or "-"), "dim") if rho is None else Cell.by_sign(f"{rho:+.2f}", rho)


def _set_apart(
    first: dict[str, str | None], second: dict[str, str | None], names: tuple[str, str]
) -> Iterator[str]:
    """A line for each algorithm of both sweeps whose hyper-parameters are not the same.

    Args:
        first, second: the settings by algorithm, as the report `settings` has them.
    """
    for algorithm in sorted(first.keys() & second.keys()):
        both = [(of[algorithm] or "").split(", ") for of in (first, second)]
        own = [[part for part in both[k] if part not in both[1 - k]] for k in (0, 1)]
        said = [f"{', '.join(parts)} in {name}" for parts, name in zip(own, names, strict=True)]
        if any(own):
            yield f"{algorithm} was set differently: {' and '.join(said)}"


def _apart(a: dict[str, Any], b: dict[str, Any]) -> str:
    """In what the sweeps themselves differ; empty where in nothing that is listed."""
    names = ("dataset", "arch", "base_run_id", "seed", "remaining", "engine_version", "precision")
    different = [name for name in names if a[name] != b[name]]
    return f"the sweeps differ in {', '.join(different)}" if different else ""
