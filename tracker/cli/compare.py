"""Correlations beside others: a sweep's beside the paper's, or two sweeps beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from analysis.answers import about
from analysis.findings import beside_paper
from analysis.words import nested
from tracker.cli._output import by_sign, named, show
from tracker.cli._session import Session, say
from tracker.commands.ask import PAPERS, Compare
from unlearning.errors import UserError

Row = dict[str, Any]

PAPER = (
    "ours / the paper's; ! the signs differ; ≉ our 95% interval excludes "
    "the paper's value; † GT is made of this factor"
)
DIFFERENCE = (
    "difference: rho in the second sweep (b) less rho in the first (a), with its 95% interval (Zou "
    "2007); apart: it excludes 0, as one of 20 does by chance; † GT is made of this factor"
)
BESIDE = ("rho_a", "rho_b", "difference", "difference_low", "difference_high", "apart")
SHARED = (
    "the sweeps share samples: intervals, made as for sweeps that share none, are then usually "
    "wider than they have to be"
)
POPULATIONS = {"all": "all samples", "flipped": "those that flipped"}
BELOW = ("title",)  # a column for which a narrow terminal has no room
COMPARED = ("dataset", "arch", "base_run_id", "seed", "remaining", "engine_version", "precision")


def run(session: Session, asked: Compare) -> None:
    """Print correlations beside others."""
    if asked.sweeps:
        _two_sweeps(session, asked)
    else:
        _beside_the_paper(session, asked)


def _beside_the_paper(session: Session, asked: Compare) -> None:
    """Print a sweep's correlations beside the paper's. Raises UserError where it has none."""
    with session.warehouse() as warehouse:
        sweep = session.sweep_id(warehouse, asked.sweep)
        own = about(warehouse, sweep)["dataset"]
        which = {"sweep": sweep, "against": asked.against or (own if own in PAPERS else None)}
        rows = warehouse.report("compare", population=None, **which).records()
        summary = warehouse.report("compare_algorithms", **which).records()
    if not rows:
        raise UserError("the sweep has none of the paper's algorithms: ga, neggrad, scrub, salun")
    if asked.style != "table":
        show(rows, asked.style)
        return
    sizes = {name: [r["n"] for r in rows if r["population"] == name] for name in POPULATIONS}
    are_others = any(sizes["flipped"]) and sizes["all"] != sizes["flipped"]
    for against, populations in nested(rows, "against", "population").items():
        for population, of_one in populations.items():
            if population == "all" or are_others:
                whom = POPULATIONS[population]
                title = f"Spearman's rho with GT over {whom}, ours / the paper's on {against}"
                show(of_one, "table", _pivoted(of_one), title, BELOW)
                click.echo()
    if summary:
        show(summary, "table", title="How far they agree")
    for row in rows:
        if row["remark"]:
            place = f"{row['against']}, {row['algorithm']}, {row['factor']}"
            say(f"the paper's value for {place}: {row['remark']}")
    say(PAPER)
    for finding in beside_paper([row for row in rows if row["population"] == "all"]):
        say(finding)
    if any(sizes["flipped"]) and not are_others:
        say("all samples flipped: over those that flipped it is the same")


def _pivoted(rows: Sequence[Row]) -> list[Row]:
    """A row a factor and a column an algorithm."""
    table: dict[str, Row] = {}
    for row in rows:
        rho, paper = row["rho"], f"{row['paper_rho']:+.2f}"
        cell = Text(f"{row['undefined']}/{paper}", "dim")
        if rho is not None:
            marks = ("" if row["signs_agree"] else "!") + ("≉" if row["excludes"] else "")
            cell = by_sign(f"{rho:+.2f}/{paper}{marks}", rho)
        table.setdefault(row["factor"], named(row))[row["algorithm"]] = cell
    return list(table.values())


def _two_sweeps(session: Session, asked: Compare) -> None:
    """Print the correlations of two sweeps and how they differ."""
    first, second = asked.sweeps
    with session.warehouse() as warehouse:
        ids = [session.sweep_id(warehouse, reference) for reference in asked.sweeps]
        if ids[0] == ids[1]:
            raise UserError(f"'{first}' and '{second}' are one sweep: give another")
        sweeps = {row["sweep_id"]: row for row in warehouse.report("sweeps").records()}
        rows = warehouse.report("compare_sweeps", first=ids[0], second=ids[1]).records()
        settings = [dict(warehouse.report("settings", sweep=sweep).rows) for sweep in ids]
    a, b = (sweeps[sweep] for sweep in ids)
    if not rows:
        raise UserError(
            f"the sweeps have no algorithm in common: {a['algorithms']} and {b['algorithms']}"
        )
    if asked.style != "table":
        show(rows, asked.style)
        return
    measured = [r for r in rows if r["population"] == "all" and (r["n_a"] or r["n_b"])]
    for algorithm, of_one in nested(measured, "algorithm").items():
        known = [row["apart"] for row in of_one if row["apart"] is not None]
        sizes = " and ".join(str(max(row[n] for row in of_one)) for n in ("n_a", "n_b"))
        title = (
            f"Spearman's rho with GT, {algorithm}, in {a['name']} and {b['name']}: {sizes} "
            f"samples; {sum(known)} of {len(known)} intervals exclude 0"
        )
        table = [named(row) | {name: row[name] for name in BESIDE} for row in of_one]
        show(of_one, "table", table, title, BELOW)
        click.echo()
    say(DIFFERENCE)
    if any(row["shared"] for row in rows):
        say(SHARED)
    if different := [name for name in COMPARED if a[name] != b[name]]:
        say(f"the sweeps differ in {', '.join(different)}")
    for algorithm in sorted(settings[0].keys() & settings[1].keys()):
        one, other = ((of[algorithm] or "").split(", ") for of in settings)
        own = ", ".join(part for part in one if part not in other)
        its = ", ".join(part for part in other if part not in one)
        if own or its:
            say(f"{algorithm} was set differently: {own} in {a['name']} and {its} in {b['name']}")
