"""The correlations of the factors with the outcome, GT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import click

from tracker.cli._options import as_one, format_option, refuse, sweep_option
from tracker.cli._output import named, show
from tracker.cli._session import Session, pass_session, say
from tracker.cli._tables import Cell
from unlearning.errors import UserError
from unlearning.naming import number

READINGS = ("set_sizes", "mean_ratio", "one")
CELLS = ("rho", "p", "interval", "partial", "within")
TITLES = {
    "rho": "Spearman's rho",
    "p": "Spearman's rho and its p-value",
    "interval": "Spearman's rho and its 95% interval",
    "partial": "Spearman's rho given the initial margin",
    "within": "Spearman's rho within classes",
}
HOLDS = "they hold for this base model and this seed of unlearning"
STARS = (
    "*** p < 0.001, ** p < 0.01, * p < 0.05 by Holm's correction over all factors of one sweep and "
    f"one population; {HOLDS}"
)
INGREDIENT = "† GT is made of this factor: its rho is by construction"
AT_CHANCE = "‡ in place of stars: the membership attack is not known to be better than chance"
SHARED = (
    "§ measured on the very attempt that has this GT, and shares its chance: rho may be high even "
    "where GT does not agree with itself under another seed"
)
INTERVALS = {
    "bonett-wright": "by Bonett & Wright",
    "jackknife": "by jackknife where 5% to 95% of the members flipped",
    "bootstrap": "by bootstrap",
}
KNOWN = {"pre": "before", "post": "after §"}  # unlearning
BELOW = ("title", "known")  # columns for which a narrow terminal has no room
LEVELS = (0.05, 0.01, 0.001)  # of the stars
CEILINGS = {  # by what was varied: the factors that they are for
    "unlearning seed": "that is known before unlearning",
    "base model seed": "that does not look at the base model",
}


@dataclass(frozen=True)
class Arguments:
    """The options of the command, by the names that they have there."""

    sweep: str
    population: str
    lam: str
    cells: str | None
    bootstrap: int | None
    seed: int
    style: str


@click.command()
@sweep_option
@click.option(
    "--population",
    type=click.Choice(["all", "flipped", "not_flipped"]),
    default="all",
    show_default=True,
    help="All members with a GT, those whose prediction flipped, or the others.",
)
@click.option(
    "--lambda",
    "lam",
    default="set_sizes",
    show_default=True,
    metavar="|".join((*READINGS, "X")),
    help="Weight of utility in GT: a reading of the paper's, or a number above zero.",
)
@click.option(
    "--cells",
    type=click.Choice(CELLS),
    help="What the table says of each rho.  [default: rho, or interval with --bootstrap]",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(100, 100_000),
    metavar="N",
    help="Intervals from N resamples, at most 100,000.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of resampling.")
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Spearman's rho of every factor against GT, for each algorithm.

    --cells says what the table holds: rho with stars for p-values that Holm's correction leaves
    small, over one sweep and population; its p-value, exact up to nine members; its 95% interval
    (Bonett & Wright, or a jackknife where both many members flipped and many did not, or by
    --bootstrap over the samples), which holds for one base model and one seed; rho
    given the initial margin (partial); or the mean of the classes' own rho (within). Where sweeps
    repeat this one under other seeds, the last rows are ceilings: the most to expect of a factor
    that is known before unlearning, or of one that does not even look at the base model. csv and
    json have all of it, a row a factor and algorithm.

    \b
    Example:
      indelible correlate --population flipped --cells interval
    """
    if arguments.bootstrap is None:
        refuse(["seed"], "without --bootstrap")
    if arguments.style != "table":
        refuse(["cells"], f"on {arguments.style}, which has all of it")
    correlations = _asked(session, arguments)
    cells = arguments.cells or ("interval" if arguments.bootstrap else "rho")
    title = f"{TITLES[cells]} with GT (lambda: {arguments.lam}, {arguments.population})"
    show(correlations, arguments.style, as_table(correlations, cells), title, BELOW)
    if arguments.style == "table":
        say(legend(correlations, cells))


def _asked(session: Session, arguments: Arguments) -> list[dict[str, Any]]:
    """A row for each factor and algorithm."""
    fixed = _number(arguments.lam)
    with session.warehouse() as warehouse:
        asked: dict[str, object] = {
            "sweep": session.sweep_id(warehouse, arguments.sweep),
            "population": arguments.population,
            "reading": arguments.lam if fixed is None else "fixed",
            "fixed": fixed,
        }
        correlations = warehouse.report("correlate", **asked).records()
        if arguments.bootstrap:
            from analysis.answers import with_bootstrap

            resamples, seed = arguments.bootstrap, arguments.seed
            return with_bootstrap(warehouse, correlations, resamples, seed, **asked)
    return correlations


def legend(correlations: Sequence[dict[str, Any]], cells: str = "rho") -> str:
    """What the marks and the last rows of the table mean."""
    ceilings = [
        f"ceiling ({varied}): the most to expect of a factor {which}"
        for varied, which in CEILINGS.items()
        if _ceilings(correlations, varied)
    ]
    by = dict.fromkeys(row["ci_by"] for row in correlations if row["ci_by"])
    ways = ", ".join(said for name, said in INTERVALS.items() if name in by)
    marks = {
        STARS: cells == "rho",
        f"95% intervals {ways}; {HOLDS}": cells == "interval" and bool(ways),
        AT_CHANCE: cells == "rho" and any(map(_is_withheld, correlations)),
        INGREDIENT: True,
        SHARED: any(row["phase"] == "post" and row["n"] for row in correlations),
    }
    return "\n".join([*(mark for mark, is_there in marks.items() if is_there), *ceilings])


def strongest(correlations: Sequence[dict[str, Any]], each: int) -> list[dict[str, Any]]:
    """The rows of the factors with the largest mean |rho|, so many of those known before and after.

    The strongest come first; what GT is made of is left out, and what few samples have.
    """
    most = max((row["n"] for row in correlations), default=0)
    found: dict[tuple[str, str], list[float]] = {}
    for row in correlations:
        if row["rho"] is not None and not row["ingredient"] and 2 * row["n"] >= most:
            found.setdefault((row["phase"], row["factor"]), []).append(abs(row["rho"]))
    ordered = sorted(found, key=lambda key: -fmean(found[key]))
    chosen = [
        factor
        for known in KNOWN
        for factor in [factor for phase, factor in ordered if phase == known][:each]
    ]
    return [row for factor in chosen for row in correlations if row["factor"] == factor]


def as_table(correlations: Sequence[dict[str, Any]], cells: str = "rho") -> list[dict[str, Any]]:
    """A row a factor and a column an algorithm, as the paper prints it.

    Factors that were not measured at all are left out.
    """
    measured = {row["factor"] for row in correlations if row["n"]}
    table: dict[str, dict[str, Any]] = {}
    for row in correlations:
        if row["factor"] not in measured:
            continue
        first = named(row) | {"known": KNOWN[row["phase"]]}
        line = table.setdefault(row["factor"], first)
        line[row["algorithm"]] = _cell(row, cells)
    return [*table.values(), *_footers(correlations)] if table else []


def _footers(correlations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most to expect of a factor, where it is known, and how many pairs there are."""
    algorithms, blank = {row["algorithm"]: "-" for row in correlations}, dict.fromkeys(BELOW, "")
    footers = [
        {"factor": f"ceiling ({varied})", **blank, **algorithms, **known}
        for varied in CEILINGS
        if (known := _ceilings(correlations, varied))
    ]
    largest: dict[str, int] = {}
    for row in correlations:
        largest[row["algorithm"]] = max(largest.get(row["algorithm"], 0), row["n"])
    shown = {name: str(count) for name, count in largest.items()}
    return [*footers, {"factor": "pairs (at most)", **blank, **shown}]


def _ceilings(correlations: Sequence[dict[str, Any]], varied: str) -> dict[str, str]:
    """The ceilings by algorithm, of those for which one is known."""
    column = f"ceiling_{varied.replace(' ', '_')}"
    known = {row["algorithm"]: row for row in correlations if _is_known(row, column)}
    return {algorithm: _ceiling(row, column) for algorithm, row in known.items()}


def _is_known(row: dict[str, Any], column: str) -> bool:
    return row[column] is not None or row[f"{column}_low"] == 0


def _ceiling(row: dict[str, Any], column: str) -> str:
    """A ceiling with its interval, which few samples do not have; none where it may be 0."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    if low == 0:
        return "not distinguishable from 0"
    ends = "no interval" if low is None else f"{low:.2f} to {high:.2f}"
    return f"{row[column]:.4f} ({ends})"


def _cell(row: dict[str, Any], cells: str) -> Cell:
    value = row[{"partial": "partial_rho", "within": "within_class_rho"}.get(cells, "rho")]
    if value is None:
        return Cell(str(row["undefined"] or "-"), "dim")
    detail = DETAILS[cells](row) if cells in DETAILS else ""
    return Cell.by_sign(f"{value:+.4f}{detail}", value)


def _stars(row: dict[str, Any]) -> str:
    if _is_withheld(row):
        return "‡"
    p = 1.0 if row["p_holm"] is None else row["p_holm"]
    stars: int = sum(p < level for level in LEVELS)
    return "*" * stars


def _is_withheld(row: dict[str, Any]) -> bool:
    """Whether stars are withheld: the attack that is measured is not known to beat chance."""
    return bool(row["at_chance"]) and row["p_holm"] is not None and row["p_holm"] < LEVELS[0]


def _p_value(row: dict[str, Any]) -> str:
    p = row["p_value"]
    return "" if p is None else " (<1e-300)" if p < 1e-300 else f" ({p:.0e})"


def _interval(row: dict[str, Any]) -> str:
    low, high = row["ci_low"], row["ci_high"]
    return "" if low is None else f" [{low:+.2f},{high:+.2f}]"


DETAILS: dict[str, Callable[[dict[str, Any]], str]] = {
    "rho": _stars,
    "p": _p_value,
    "interval": _interval,
}


def _number(lam: str) -> float | None:
    if lam in READINGS:
        return None
    with suppress(ValueError):
        if 0 < (fixed := number(lam, float)) < float("inf"):
            return fixed
    raise UserError(f"--lambda is '{lam}': it takes {', '.join(READINGS)} or a number above 0")
