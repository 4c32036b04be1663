"""A prediction: what a sweep will come to, computed and written before it runs."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from tracker.base.base_models import BaseRun
from tracker.base.beforehand import forecasts, formula
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.records import NOTE, Kind, Record, code_version, milliseconds, sha256_of
from tracker.store.write import Store
from tracker.studies.calibration import Attempted, attempted
from tracker.studies.calibration import (
    FEWEST,
    SCALES,
    Floats,
    interval,
    is_empty,
    reach,
    within_budget,
)
from tracker.studies.predicted import TAG, Predicted, as_table, file_name
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.version import VERSION

DOUBTED = Path(__file__).parent / "doubted.csv"  # where the index is known to fail

Progress = Callable[[int, str], None]  # told how many were just done, and what is being done
Bar = Callable[[int], AbstractContextManager[Progress]]  # for so many in all


class HopelessError(UserError):
    """There is nothing to predict: no sample is new, or none could be unlearned."""


@dataclass(frozen=True)
class Prediction:
    """A prediction in the store: the id of its run, and what it says."""

    run_id: str
    predicted: Predicted

    @property
    def spoilt(self) -> int:
        """How many of its rows no sweep can grade.

        They are of attempts that were there before it, or that it was calibrated on.
        """
        rows, keys = self.predicted.rows, {*self.predicted.calibrated_on}
        pairs = zip(rows["attempted"].to_pylist(), rows["key"].to_pylist(), strict=True)
        return sum(bool(attempted) or key in keys for attempted, key in pairs)

    def ranked(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each algorithm, by its name, the hardest first, with their rank.

        Rank 1 has the lowest GT, ties get their average rank; those without a GT come last.
        """
        of: dict[str, list[dict[str, Any]]] = {}
        for row in self.predicted.rows.to_pylist():
            del row["attempted"]
            of.setdefault(row.pop("algorithm"), []).append(row)
        return {name: _by_rank(name, rows) for name, rows in of.items()}


def predict(
    store: Store,
    base_run: BaseRun,
    plan: Plan,
    engine: Engine = THREADS,
    bar: Bar = lambda total: nullcontext(lambda samples, doing: None),
    say: Callable[[str], None] = lambda line: None,
    most: int | None = None,
) -> Prediction:
    """Predict what the members of a plan will come to, and write it as a run of its own.

    What was computed before is found, and a prediction that is in the store already is not written
    again: it keeps its time.

    Args:
        engine: computes.
        bar: opens what is told how many samples were just done, and for which algorithm.
        say: is told, a line each, what is to be known.
        most: test samples that the index looks at; as many as it does by itself if None.

    Raises HopelessError where nothing can be predicted: see `refuse_hopeless`.
    """
    refuse_hopeless(base_run.model, plan.sample_ids)
    known = [attempted(store, base_run, plan, algorithm) for algorithm in plan.algorithms]
    asked = [[*dict.fromkeys((*plan.sample_ids, *other.sample_ids))] for other in known]
    found = _forecasts(store, base_run, plan, asked, engine, bar, most)
    tables: list[pa.Table] = []
    keys: list[str] = []
    few: dict[str, int] = {}
    for algorithm, ids, values, others in zip(plan.algorithms, asked, found, known, strict=True):
        columns, enough, empty = _columns(base_run.model, plan, algorithm, ids, values, others)
        tables.append(as_table(columns))
        keys += others.keys if enough else ()
        if np.isnan(values["gt"]).all():
            say(f"{algorithm.name}: the index knows nothing of this algorithm")
            continue
        if not enough:
            few[algorithm.name] = len(others.keys)
        flips = others.outcomes["flips"] if enough else values["flips"]
        reasons = doubts(algorithm.name, base_run.dataset, float(np.nanmean(flips)))
        if empty:
            reasons.append(f"intervals of {', '.join(empty)} are empty: they span nearly all")
        if reasons:
            say(f"{algorithm.name}: {'; '.join(reasons)}")
    if few:
        say(_no_intervals(few))
    predicted = Predicted(pa.concat_tables(tables), tuple(sorted(keys)))
    record = _record(base_run, plan, predicted, most)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run_id = store.log_once(Kind.PREDICTION, experiment_id, record, base_run.data)
    return Prediction(run_id, predicted)


def doubts(algorithm: str, dataset: str, flip_rate: float) -> list[str]:
    """Where the index is known to fail, of what is so for these: docs/prediction.md says the same.

    Args:
        flip_rate: of attempts, or else as it is forecast.
    """
    with DOUBTED.open(encoding="utf-8", newline="") as file:
        return [
            row["said"]
            for row in csv.DictReader(file)
            if row["algorithm"] in (algorithm, "")
            and dataset not in row["known_on"].split()
            and flip_rate < float(row["flips_below"])
        ]


def _forecasts(
    store: Store,
    base_run: BaseRun,
    plan: Plan,
    asked: Sequence[Sequence[int]],
    engine: Engine,
    bar: Bar,
    most: int | None,
) -> list[dict[str, Floats]]:
    """What the index says of the samples that are asked for of each of the plan's algorithms."""
    found = []
    with (
        engine.pool(base_run.model, Stop()) as pool,
        bar(sum(map(len, asked))) as progress,
    ):
        for algorithm, ids in zip(plan.algorithms, asked, strict=True):
            values = forecasts(store, base_run, algorithm, ids, pool, progress, most)
            found.append({name: each.numpy() for name, each in values.items()})
    return found


def refuse_hopeless(base: BaseModel, sample_ids: Iterable[int]) -> None:
    """Raise HopelessError for a base model of one class, or that gets none of the samples right."""
    if base.train_logits.shape[1] < 2:
        raise HopelessError(
            "the base model has a single class: no prediction can flip, and nothing be unlearned"
        )
    ids = set(sample_ids)
    if not ids - misclassified(base):
        raise HopelessError(
            f"the base model gets none of the {len(ids)} samples right: nothing would be "
            "unlearned, so that there is nothing to predict"
        )


def only_new(store: Store, plan: Plan) -> Plan:
    """The plan without the samples that any of its algorithms has attempted already.

    Raises HopelessError where none is left.
    """
    done = store.finished_members(plan.digests)
    ids = plan.sample_ids
    new = tuple(s for s in ids if not any(plan.key(a, s) in done for a in plan.algorithms))
    if not new:
        raise HopelessError(f"all {len(ids)} samples were attempted already: there is nothing new")
    return replace(plan, sample_ids=new)


def _by_rank(algorithm: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    gt = np.array([np.nan if row["gt"] is None else row["gt"] for row in rows])
    ranks = [None if np.isnan(rank) else rank for rank in rankdata(gt, nan_policy="omit").tolist()]
    ranked = [
        {"algorithm": algorithm, "rank": rank, **row} for rank, row in zip(ranks, rows, strict=True)
    ]
    return sorted(ranked, key=lambda row: (row["rank"] is None, row["rank"], row["sample_id"]))


def _columns(
    base: BaseModel,
    plan: Plan,
    algorithm: Algorithm,
    ids: Sequence[int],
    values: dict[str, Floats],
    known: Attempted,
) -> tuple[dict[str, Sequence[Any]], bool, list[str]]:
    """The rows of an algorithm as columns, whether any has an interval, and which ones are empty.

    A sample that was attempted already has none: its own attempt may be among the residuals.

    Args:
        ids: of the plan's samples and, after them, of others that the calibration needs.
        values: the forecasts for these ids, by name.
    """
    count, row_of = len(plan.sample_ids), {sample: row for row, sample in enumerate(ids)}
    rows = [row_of[sample] for sample in known.sample_ids]
    positions = base.dataset.train.positions(list(plan.sample_ids))
    columns: dict[str, Sequence[Any]] = {
        "algorithm": [algorithm.name] * count,
        "key": [plan.key(algorithm, sample) for sample in plan.sample_ids],
        "sample_id": plan.sample_ids,
        "label": base.train_labels.cpu()[positions].tolist(),
        "attempted": [sample in known.samples for sample in plan.sample_ids],
        **{name: found[:count].tolist() for name, found in values.items()},
    }
    is_new = np.array([sample not in known.samples for sample in plan.sample_ids])
    enough, empty = False, list[str]()
    for quantity in SCALES:
        half = reach(values[quantity][rows], known.outcomes[quantity], quantity)
        enough = enough or half is not None
        low, high = interval(values[quantity][:count], half, quantity)
        ends = within_budget({f"{quantity}_low": low, f"{quantity}_high": high}, algorithm.budget)
        if half is not None and is_empty([*ends.values()], known.outcomes[quantity]):
            empty.append(quantity)
        for name, found in ends.items():
            columns[name] = np.where(is_new, found, np.nan).tolist()
    return columns, enough, empty


def _no_intervals(attempts: Mapping[str, int]) -> str:
    """Why there are none for these algorithms, with so many attempts to calibrate on."""
    counts = ", ".join(f"{name} ({count})" for name, count in attempts.items())
    return (
        f"no intervals for {counts}: they come from {FEWEST} attempts or more that are in the "
        "store with the same settings and seed"
    )


def _record(base_run: BaseRun, plan: Plan, predicted: Predicted, most: int | None) -> Record:
    content = predicted.as_file()
    sha256, now = hashlib.sha256(content).hexdigest(), milliseconds()
    names = ",".join(algorithm.name for algorithm in plan.algorithms)
    certain = [algorithm.name for algorithm in plan.algorithms if not algorithm.has_chance]
    return Record(
        name=f"prediction-{plan.name}",
        params={
            "dataset": base_run.dataset,
            "arch": base_run.arch,
            "base_run_id": base_run.run_id,
            "algorithms": names,
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            "remaining": plan.remaining_count or "all",
            "engine_version": VERSION,
            "precision": plan.precision,
            "calibrated_on": len(predicted.calibrated_on),
            "without_chance": ",".join(certain) or "none",
            **({} if most is None else {"test_samples": str(most)}),
            **(plan.preset.params if plan.preset else {}),
        },
        tags={
            "key": sha256_of("index", formula(), base_run.run_id, sha256)[:32],
            "formula": formula(),
            "code_version": code_version(),
            "base_weights_sha256": base_run.weights_sha256,
            "data_fingerprint": plan.fingerprint,
            TAG: sha256,
            NOTE: PREDICTION_NOTE.format(
                samples=len(plan.sample_ids),
                names=names,
                base=base_run.run_id,
                seed=plan.seed,
            ),
            **plan.providers_of(plan.algorithms),
        },
        metrics={},
        artifacts={file_name(sha256): content},
        started_ms=now,
        ended_ms=now,
    )


PREDICTION_NOTE = """\
### What unlearning {samples} samples with {names} will come to

Predicted for base model `{base}`, from it alone, for unlearning with seed {seed}. The prediction \
was made when this run ended; its file is named by its content. A sweep of these samples that \
begins later grades it:

    indelible load
    indelible predict --score SWEEP
"""
