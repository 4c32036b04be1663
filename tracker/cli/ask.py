"""Ranks of samples and how far they agree, the report and figures; and what there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from analysis.pictures import FIGURES
from analysis.statistics import FEWEST_REPEATS
from analysis.warehouse import open_warehouse
from factors import columns
from factors import every as every_family
from factors import provider as brings_family
from tracker.api.answers import Rows
from tracker.cli._output import Session, between, only, say, show, with_short_ids
from tracker.cli.correlate import ceiling
from tracker.commands import ask
from tracker.reading.listing import CAME_TO
from unlearning.algorithms import every, provider
from unlearning.errors import Failure, UserError
from unlearning.naming import counted

# What a terminal of 80 columns has room for, of the ranks for one algorithm: first, by any target.
PLACE = ("difficulty_rank", "tied", "percentile", "sample_id", "label")
RANKED = {
    "gt": (*PLACE, "gt", "regime", "f"),
    "z": (*PLACE, "z", "z_error", "verdict"),
    "points_lost": (*PLACE, "test_points_lost", "verdict"),
}
PAIR = (
    *("algorithm_a", "algorithm_b", "rho", "p_value", "n"),
    *("top_k", "top_overlap", "top_overlap_by_chance"),
)
NO_SETTING = dict.fromkeys(("setting", "default", "accepts", "searched", "description"))


def rank(session: Session, asked: ask.Rank, rows: Rows) -> None:
    """Print the hardest samples, or the easiest."""
    table = only(rows, *RANKED[asked.by], "sample_path") if asked.algorithm else rows
    whom = f" for {asked.algorithm}" if asked.algorithm else ""
    by = "" if asked.by == "gt" else f" by {asked.by}"
    title = f"The {'easiest' if asked.easiest else 'hardest'} samples{whom}{by}"
    show(rows, asked.style, table, title)


def agree(session: Session, asked: ask.Agree) -> None:
    """Print how far the algorithms of a sweep agree, by pairs."""
    with session.warehouse() as warehouse:
        sweep = session.sweep_id(warehouse, asked.sweep)
        pairs = warehouse.report("agree", sweep=sweep).records()
    title = ""
    if pairs and (w := pairs[0]["concordance"]) is not None:
        title = (
            "Kendall's W of {concordance_algorithms} algorithms over {concordance_n} samples: "
            f"{w:.3f} (p = {{concordance_p_value:.1g}})"
        ).format_map(pairs[0])
    show(pairs, asked.style, only(pairs, *PAIR), title)
    if not pairs:
        say("it takes two algorithms with a GT for the same samples: the sweep has fewer")


def reliability(session: Session, asked: ask.Reliability) -> None:
    """Print how far GT agrees with itself under other seeds."""
    with session.warehouse() as warehouse:
        rows = warehouse.report("reliability").records()
    show(rows, asked.style, [_repeated(row) for row in rows], "Reliability of GT")
    fewest = min((row["repeats"] for row in rows), default=FEWEST_REPEATS)
    if not rows:
        say(
            "no sweep was repeated yet: give 'indelible sweep' --repeats N, "
            "or a base model of 'indelible train' with another --seed"
        )
    elif fewest < FEWEST_REPEATS and asked.style == "table":
        say(
            f"{fewest} repeats are {counted(fewest * (fewest - 1) // 2, 'pair')} of seeds: how far "
            "other seeds would differ from them is not in the interval; "
            f"--repeats {FEWEST_REPEATS} or more of 'indelible sweep' would tell"
        )


def _repeated(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it, with its intervals in brackets."""
    (first,) = only([row], "varied", "dataset", "algorithm", "repeats", "n")
    (last,) = only([row], "spearman_brown", "split_half", "icc")
    few = "too few samples for an interval"
    rho = between(row["mean_rho"], row["mean_rho_low"], row["mean_rho_high"], ".4g", ".2f", few)
    return {**first, "mean_rho": rho, "ceiling": ceiling(row, "ceiling", ".4g", few), **last}


def report(session: Session, asked: ask.Report, page: Path) -> None:
    """Print the path of a report."""
    click.echo(page)


def figures(session: Session, asked: ask.Figures, paths: Sequence[Path]) -> None:
    """Print the folder that figures are in."""
    if not paths:
        say("nothing to draw: no attempt of the sweep has a GT")
        return
    folder = paths[0].parent
    click.echo(folder)
    there = {file.name for file in folder.iterdir() if FIGURES.fullmatch(file.name)}
    if left := sorted(there - {path.name for path in paths}):
        others = counted(len(left), "other figure")
        say(f"not of this call: {others} there, as {left[0]}")


# What there is


def sweeps(session: Session, asked: ask.Sweeps, rows: Rows) -> None:
    """Print the sweeps of the store."""
    versions = ("study", "until", "engine_version", "precision")  # which tell sweeps apart
    told_apart = [name for name in versions if len({row[name] for row in rows}) > 1]
    shown = only(rows, "run_id", "name", *told_apart, "status", *CAME_TO, "algorithms", "started")
    spare = ("algorithms", "started", "worst_points_lost")
    show(rows, asked.style, with_short_ids(shown, "run_id"), spare=spare)


def models(session: Session, asked: ask.Models, rows: Rows) -> None:
    """Print the base models of the store, or where one was exported."""
    shown = rows if asked.export else only(rows, "run_id", "name", "test_accuracy", "started")
    show(rows, asked.style, with_short_ids(shown, "run_id"))


def algorithms(session: Session, asked: ask.Algorithms) -> None:
    """Print the algorithms: a row a hyper-parameter, and one for an algorithm that has none."""
    rows = []
    for name, found in every().items():
        brings = provider(name)
        about = {
            "source": found.citation,
            "what": " ".join((found.__doc__ or "").split()),
            "provider": str(brings) if brings else None,
        }
        settings = [_setting(field) for field in dataclasses.fields(found)] or [NO_SETTING]
        rows += [{"algorithm": name} | setting | about for setting in settings]
    names = ("algorithm", "setting", "default", "accepts", "description", "provider")
    show(rows, asked.style, only(rows, *names))


def _setting(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """A hyper-parameter, and among which values `tune` looks for good ones."""
    accepts = field.metadata["accepts"]
    among = accepts.searched
    is_words = among is not None and isinstance(among[0], str)
    return {
        "setting": field.name,
        "default": field.default,
        "accepts": str(accepts),
        "searched": " or ".join(among) if is_words else str(among) if among else None,
        "description": accepts.description,
    }


def factors(session: Session, asked: ask.Factors) -> None:
    """Print the factors, with what those known beforehand cost where the warehouse knows it."""
    costs: dict[str, float] = {}
    with suppress(UserError, Failure), open_warehouse(session.warehouse_path) as warehouse:
        costs = dict(warehouse.report("costs").rows)
    rows, table = Rows(), Rows()
    for column in columns(every_family()):
        cost = costs.get(column.family) if column.phase == "pre" else None
        row = {**dataclasses.asdict(column), "provider": brings_family(column.family)}
        row |= {"cost": cost} if costs else {}
        rows.append({name: str(value) if value else None for name, value in row.items()})
        table.append(rows[-1] | {"cost": cost})
    names = ("name", "title", "phase", "harder", "cost", "provider", "family", "unit")
    show(rows, asked.style, only(table, *names, "description"))
