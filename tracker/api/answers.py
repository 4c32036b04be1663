"""What commands that ask answer, as rows: the command line prints them, Python gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from analysis.answers import about
from analysis.words import MAX_LOSS, under_other_seeds
from tracker.api.place import Place
from tracker.commands import ask
from tracker.reading import listing
from tracker.store import views
from unlearning.errors import UserError
from unlearning.naming import nearest

Rows = list[dict[str, Any]]

SHARED = ("sample_id", "sample_path", "label", "mean_percentile", "tied")


def rank(place: Place, asked: ask.Rank) -> Rows:
    """The hardest samples: a row each.

    It is said which algorithms may order the samples by GT by chance. Raises UserError where the
    sweep has no such algorithm, or no attempt a z by which they are to be ranked.
    """
    with place.warehouse() as warehouse:
        sweep = place.sweep_id(warehouse, asked.sweep)
        which = {"sweep": sweep, "by": asked.by, "top": asked.top, "easiest": asked.easiest}
        seeds = warehouse.report("seed_agreement", sweep=sweep).records()
        names = [row["algorithm"] for row in seeds]
        if asked.algorithm is None:
            rows = side_by_side(warehouse.report("rank_overall", **which).records())
        elif asked.algorithm in names:
            rows = warehouse.report("rank", algorithm=asked.algorithm, **which).records()
        else:
            near = nearest(asked.algorithm, names)
            raise UserError(f"the sweep has no '{asked.algorithm}'{near}, but {', '.join(names)}")
    if asked.by == "z" and not rows:
        raise UserError(
            "no attempt has a z: 'indelible train --references N' trains models that never saw the "
            "samples, and 'indelible measure' then adds it"
        )
    own = [row for row in seeds if asked.algorithm in (None, row["algorithm"])]
    if asked.by == "gt" and (remark := under_other_seeds(own)):
        place.say(remark)
    return rows


def side_by_side(rows: Sequence[dict[str, Any]]) -> Rows:
    """From a row a sample and algorithm to a row a sample, with the rank for each algorithm."""
    ranks = {f"rank_{name}": None for name in sorted({row["algorithm"] for row in rows})}
    table: dict[int, dict[str, Any]] = {}
    for row in rows:
        line = table.setdefault(row["sample_id"], {name: row[name] for name in SHARED} | ranks)
        line[f"rank_{row['algorithm']}"] = row["difficulty_rank"]
    return list(table.values())


class Known(NamedTuple):
    """What is known of one sample.

    Attributes:
        attempts: a row an algorithm. factors: a row a factor, and an algorithm where it is measured
            afterwards. base: the row of the sweep's base model and data set.
    """

    attempts: Rows
    factors: Rows
    base: dict[str, Any]

    def rows(self) -> Rows:
        """The attempts with the factors as columns: a value and its percentile each."""
        rows = [dict(attempt) for attempt in self.attempts]
        for row in rows:
            for factor in self.factors:
                if factor["algorithm"] in (None, row["algorithm"]):
                    row[factor["factor"]] = factor["value"]
                    row[f"{factor['factor']}_percentile"] = factor["percentile"]
        return rows


def sample(place: Place, asked: ask.Sample) -> Known:
    """What is known of one sample. Raises UserError where the sweep has no such sample."""
    with place.warehouse() as warehouse:
        sweep = place.sweep_id(warehouse, asked.sweep)
        attempts, factors = (
            warehouse.report(name, sweep=sweep, sample=asked.sample_id).records()
            for name in ("sample_attempts", "sample_factors")
        )
        base = about(warehouse, sweep)
    if not attempts:
        raise UserError(f"no sample {asked.sample_id} in the sweep: 'indelible rank' names some")
    for row in attempts:
        page = views.of_run(row.pop("experiment_id"), row["run_id"])
        row["link"] = f"{place.ui}/{page}"
    return Known(attempts, factors, base)


def sweeps(place: Place, asked: ask.Sweeps) -> Rows:
    """The sweeps of a store, the newest first: a row each."""
    with place.reader() as reader:
        rows = listing.sweeps(reader)
    if asked.max_loss != MAX_LOSS:
        with place.warehouse() as warehouse:
            damaged = dict(warehouse.report("damage", max_loss=asked.max_loss).rows)
        for row in rows:
            if row["flipped"] is not None:
                row["damaged"] = damaged.get(row["run_id"])
    return rows


def models(place: Place, asked: ask.Models) -> Rows:
    """The base models of a store, the newest first: a row each; or where one was exported."""
    with place.reader() as reader:
        if asked.export is None:
            return listing.models(reader)
        from tracker.reading.merging import export  # which needs MLflow and torch

        run = export(reader, asked.model, asked.export)
        return [{"run_id": run.run_id, "name": run.name, "store": str(asked.export)}]
