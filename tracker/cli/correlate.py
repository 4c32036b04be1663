"""Correlations of the factors with a target, as GT; beside the paper's, or another sweep's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import click
from rich.text import Text

from analysis.answers import about, with_bootstrap
from analysis.findings import beside_paper
from analysis.words import nested
from tracker.cli._output import Session, between, by_sign, say, show
from tracker.commands.ask import PAPERS, Compare, Correlate
from unlearning.errors import UserError

Row = dict[str, Any]
Rows = Sequence[Row]

HARD = {  # which end of a target is hard
    "z": "z: high is hard (the sample is remembered), far below 0 is over-forgotten",
    "points_lost": "points_lost, of test accuracy: many are hard",
    "relearn_steps": "relearn_steps: few are hard (the sample comes back at once)",
    "unlearning_gap": "unlearning_gap: large is hard (far from a network without the sample)",
    "auc": "auc: high is hard (an audit tells that the sample was seen), .5 tells nothing",
}
MEASURED = {  # what brings a target that is not there
    "z": "'indelible train --references' and 'measure'",
    "relearn_steps": "'indelible measure --factors relearning'",
    "unlearning_gap": "'indelible train --leave-out' and 'measure'",
    "auc": "'indelible audit'",
}
TITLES = {
    "rho": "Spearman's rho",
    "p": "Spearman's rho and its p-value",
    "interval": "Spearman's rho and its 95% interval",
    "partial": "Spearman's rho given the initial margin",
    "within": "Spearman's rho within classes",
}
COLUMNS = {"partial": "partial_rho", "within": "within_class_rho"}  # else `rho`
HOLDS = "they hold for this base model and this seed of unlearning"
STARS = (
    "*** p < 0.001, ** p < 0.01, * p < 0.05 by Holm's correction over all factors of one sweep and "
    f"one population; {HOLDS}"
)
INGREDIENT = "† {of} is made of this factor, or it of {of}: its rho is by construction"
AT_CHANCE = "‡ in place of stars: the membership attack is not known to be better than chance"
SHARED = (
    "§ measured on the very attempt that has this {of}, and shares its chance: rho may be high "
    "even where {of} does not agree with itself under another seed"
)
INTERVALS = {
    "bonett-wright": "by Bonett & Wright",
    "jackknife": "by jackknife where 5% to 95% of the members flipped",
    "bootstrap": "by bootstrap",
}
KNOWN = {"pre": "before", "post": "after §"}  # unlearning
SPARE = ("title", "known")  # columns that a narrow terminal leaves out
LEVELS = (0.05, 0.01, 0.001)  # of the stars
CEILINGS = {  # by what was varied: the factors that they are for
    "unlearning seed": "that is known before unlearning",
    "base model seed": "that does not look at the base model (too high where an algorithm draws "
    "at random: base models share the chance of the seed of unlearning)",
}


def in_words(target: str) -> str:
    """A target as texts have it."""
    return "GT" if target == "gt" else target


def named(row: Row) -> Row:
    """A factor's name in SQL and its title, with a dagger where the target is made of it."""
    return {"factor": row["factor"], "title": f"{row['title']}{' †' if row['ingredient'] else ''}"}


# One sweep


def run(session: Session, asked: Correlate) -> None:
    """Print the correlations of a sweep. Raises UserError where it has nothing of the target."""
    is_number = isinstance(asked.lam, float)
    with session.warehouse() as warehouse:
        which: dict[str, object] = {
            "sweep": session.sweep_id(warehouse, asked.sweep),
            "target": asked.target,
            "population": asked.population,
            "reading": "fixed" if is_number else asked.lam,
            "fixed": asked.lam if is_number else None,
        }
        rows = warehouse.report("correlate", **which).records()
        if asked.target in MEASURED and not any(row["n"] for row in rows):
            brings = MEASURED[asked.target]
            raise UserError(f"no attempt that is asked about has {asked.target}: see {brings}")
        if asked.bootstrap is not None:
            rows = with_bootstrap(warehouse, rows, asked.bootstrap, asked.seed, **which)
    cells = asked.cells or ("rho" if asked.bootstrap is None else "interval")
    of, which_gt = in_words(asked.target), f"lambda: {asked.lam}, "
    title = f"{TITLES[cells]} with {of} ({which_gt * (of == 'GT')}{asked.population})"
    show(rows, asked.style, as_table(rows, cells), title, SPARE)
    if asked.style == "table":
        say(legend(rows, cells))


def legend(rows: Rows, cells: str = "rho") -> str:
    """What the marks and the last rows of the table mean."""
    by, target = {row["ci_by"] for row in rows}, next((row["target"] for row in rows), "gt")
    of = in_words(target)
    ways = ", ".join(said for name, said in INTERVALS.items() if name in by)
    marks = {
        HARD.get(target, ""): target in HARD,
        STARS: cells == "rho",
        f"95% intervals {ways}; {HOLDS}": cells == "interval" and bool(ways),
        AT_CHANCE: cells == "rho" and any(map(_is_withheld, rows)),
        INGREDIENT.format(of=of): True,
        SHARED.format(of=of): any(row["phase"] == "post" and row["n"] for row in rows),
    }
    for varied, which in CEILINGS.items():
        said = f"ceiling ({varied}): the most to expect of a factor {which}"
        marks[said] = bool(_ceilings(rows, varied))
    return "\n".join(mark for mark, is_there in marks.items() if is_there)


def strongest(rows: Rows, each: int) -> list[Row]:
    """The rows of the factors with the largest mean |rho|, so many of those known before and after.

    The strongest come first; what GT is made of is left out, and what few samples have.
    """
    most = max((row["n"] for row in rows), default=0)
    chosen: list[str] = []
    for phase in KNOWN:
        rhos: dict[str, list[float]] = {}
        for row in rows:
            is_told = row["rho"] is not None and not row["ingredient"] and 2 * row["n"] >= most
            if is_told and row["phase"] == phase:
                rhos.setdefault(row["factor"], []).append(abs(row["rho"]))
        chosen += sorted(rhos, key=lambda factor: fmean(rhos[factor]), reverse=True)[:each]
    return [row for factor in chosen for row in rows if row["factor"] == factor]


def as_table(rows: Rows, cells: str = "rho") -> list[Row]:
    """A row a factor and a column an algorithm, as the paper prints it, with ceilings below.

    Factors that were not measured at all are left out.
    """
    measured = {row["factor"] for row in rows if row["n"]}
    table: dict[str, Row] = {}
    most: dict[str, int] = {}
    for row in rows:
        most[row["algorithm"]] = max(most.get(row["algorithm"], 0), row["n"])
        if row["factor"] in measured:
            first = named(row) | {"known": KNOWN[row["phase"]]}
            table.setdefault(row["factor"], first)[row["algorithm"]] = _cell(row, cells)
    if not table:
        return []
    blank = dict.fromkeys(SPARE, "") | dict.fromkeys(most, "-")
    ceilings = {f"ceiling ({varied})": _ceilings(rows, varied) for varied in CEILINGS}
    last = {name: known for name, known in ceilings.items() if known} | {"pairs (at most)": most}
    return [*table.values(), *({"factor": name} | blank | own for name, own in last.items())]


def _ceilings(rows: Rows, varied: str) -> dict[str, str]:
    """The ceilings by algorithm, with intervals, of those for which one is known."""
    column = f"ceiling_{varied.replace(' ', '_')}"
    said = {row["algorithm"]: ceiling(row, column, ".4f", "no interval") for row in rows}
    return {algorithm: known for algorithm, known in said.items() if known is not None}


def ceiling(row: Row, column: str, style: str, none: str) -> str | None:
    """A ceiling with its interval; None where it is not known."""
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return (
        "not distinguishable from 0" if low == 0 else between(value, low, high, style, ".2f", none)
    )


def _cell(row: Row, cells: str) -> Text:
    value = row[COLUMNS.get(cells, "rho")]
    if value is None:
        return Text(row["undefined"] or "-", "dim")
    detail, p, low = "", row["p_value"], row["ci_low"]
    if cells == "rho":
        holm = 1.0 if row["p_holm"] is None else row["p_holm"]
        detail = "‡" if _is_withheld(row) else "*" * sum(holm < level for level in LEVELS)
    elif cells == "p" and p is not None:
        detail = " (<1e-300)" if p < 1e-300 else f" ({p:.0e})"
    elif cells == "interval" and low is not None:
        detail = f" [{low:+.2f},{row['ci_high']:+.2f}]"
    return by_sign(f"{value:+.4f}{detail}", value)


def _is_withheld(row: Row) -> bool:
    """Whether stars are withheld: the attack that is measured is not known to beat chance."""
    return bool(row["at_chance"]) and row["p_holm"] is not None and row["p_holm"] < LEVELS[0]


# Beside others

PAPER = (
    "ours / the paper's; ! the signs differ; ≉ our 95% interval excludes "
    "the paper's value; † GT is made of this factor"
)
POPULATIONS = {"all": "all samples", "flipped": "those that flipped"}
DIFFERENCE = (
    "difference: rho in the second sweep (b) less rho in the first (a), with its 95% interval (Zou "
    "2007); apart: it excludes 0, as one of 20 does by chance; † GT is made of this factor"
)
BESIDE = ("rho_a", "rho_b", "difference", "difference_low", "difference_high", "apart")
COMMON = (
    "the sweeps share samples: intervals, made as for sweeps that share none, are then usually "
    "wider than they have to be"
)
COMPARED = (
    *("dataset", "arch", "base_run_id", "seed", "remaining", "until"),
    *("engine_version", "precision"),
)


def compare(session: Session, asked: Compare) -> None:
    """Print the correlations of two sweeps beside each other, or of one beside the paper's."""
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
                show(of_one, "table", _pivoted(of_one), title, SPARE[:1])
                click.echo()
    if summary:
        show(summary, "table", title="How far they agree")
    say(PAPER)
    for finding in beside_paper([row for row in rows if row["population"] == "all"]):
        say(finding)
    if any(sizes["flipped"]) and not are_others:
        say("all samples flipped: over those that flipped it is the same")


def _pivoted(rows: Rows) -> list[Row]:
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
    with session.warehouse() as warehouse:
        ids = [session.sweep_id(warehouse, reference) for reference in asked.sweeps]
        if ids[0] == ids[1]:
            raise UserError("'{}' and '{}' are one sweep: give another".format(*asked.sweeps))
        sweeps = {row["sweep_id"]: row for row in warehouse.report("sweeps").records()}
        rows = warehouse.report("compare_sweeps", first=ids[0], second=ids[1]).records()
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
        show(of_one, "table", table, title, SPARE[:1])
        click.echo()
    say(DIFFERENCE)
    if any(row["shared"] for row in rows):
        say(COMMON)
    if different := [name for name in COMPARED if a[name] != b[name]]:
        say(f"the sweeps differ in {', '.join(different)}")
