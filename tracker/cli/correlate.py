"""The correlations of the factors with the outcome, GT."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rich.text import Text

from analysis.answers import with_bootstrap
from tracker.cli._output import by_sign, named, show
from tracker.cli._session import Session, say
from tracker.commands.ask import Correlate

Rows = Sequence[dict[str, Any]]

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


def run(session: Session, asked: Correlate) -> None:
    """Print the correlations of a sweep."""
    is_number = isinstance(asked.lam, float)
    with session.warehouse() as warehouse:
        which: dict[str, object] = {
            "sweep": session.sweep_id(warehouse, asked.sweep),
            "population": asked.population,
            "reading": "fixed" if is_number else asked.lam,
            "fixed": asked.lam if is_number else None,
        }
        rows = warehouse.report("correlate", **which).records()
        if asked.bootstrap is not None:
            rows = with_bootstrap(warehouse, rows, asked.bootstrap, asked.seed, **which)
    cells = asked.cells or ("rho" if asked.bootstrap is None else "interval")
    title = f"{TITLES[cells]} with GT (lambda: {asked.lam}, {asked.population})"
    show(rows, asked.style, as_table(rows, cells), title, BELOW)
    if asked.style == "table":
        say(legend(rows, cells))


def legend(rows: Rows, cells: str = "rho") -> str:
    """What the marks and the last rows of the table mean."""
    by = {row["ci_by"] for row in rows}
    ways = ", ".join(said for name, said in INTERVALS.items() if name in by)
    marks = {
        STARS: cells == "rho",
        f"95% intervals {ways}; {HOLDS}": cells == "interval" and bool(ways),
        AT_CHANCE: cells == "rho" and any(map(_is_withheld, rows)),
        INGREDIENT: True,
        SHARED: any(row["phase"] == "post" and row["n"] for row in rows),
    }
    for varied, which in CEILINGS.items():
        said = f"ceiling ({varied}): the most to expect of a factor {which}"
        marks[said] = bool(_ceilings(rows, varied))
    return "\n".join(mark for mark, is_there in marks.items() if is_there)


def strongest(rows: Rows, each: int) -> list[dict[str, Any]]:
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
        means = {factor: fmean(values) for factor, values in rhos.items()}
        chosen += sorted(means, key=means.__getitem__, reverse=True)[:each]
    return [row for factor in chosen for row in rows if row["factor"] == factor]


def as_table(rows: Rows, cells: str = "rho") -> list[dict[str, Any]]:
    """A row a factor and a column an algorithm, as the paper prints it, with ceilings below.

    Factors that were not measured at all are left out.
    """
    measured = {row["factor"] for row in rows if row["n"]}
    table: dict[str, dict[str, Any]] = {}
    most: dict[str, int] = {}
    for row in rows:
        most[row["algorithm"]] = max(most.get(row["algorithm"], 0), row["n"])
        if row["factor"] in measured:
            first = named(row) | {"known": KNOWN[row["phase"]]}
            table.setdefault(row["factor"], first)[row["algorithm"]] = _cell(row, cells)
    if not table:
        return []
    blank = dict.fromkeys(BELOW, "") | dict.fromkeys(most, "-")
    for varied in CEILINGS:
        if known := _ceilings(rows, varied):
            table[varied] = {"factor": f"ceiling ({varied})"} | blank | known
    return [*table.values(), {"factor": "pairs (at most)"} | blank | most]


def _ceilings(rows: Rows, varied: str) -> dict[str, str]:
    """The ceilings by algorithm, with intervals, of those for which one is known."""
    column = f"ceiling_{varied.replace(' ', '_')}"
    said = {}
    for row in rows:
        value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
        if low == 0:
            said[row["algorithm"]] = "not distinguishable from 0"
        elif value is not None:
            ends = "no interval" if low is None else f"{low:.2f} to {high:.2f}"
            said[row["algorithm"]] = f"{value:.4f} ({ends})"
    return said


def _cell(row: dict[str, Any], cells: str) -> Text:
    value = row[{"partial": "partial_rho", "within": "within_class_rho"}.get(cells, "rho")]
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


def _is_withheld(row: dict[str, Any]) -> bool:
    """Whether stars are withheld: the attack that is measured is not known to beat chance."""
    return bool(row["at_chance"]) and row["p_holm"] is not None and row["p_holm"] < LEVELS[0]
