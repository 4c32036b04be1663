"""A prediction: what a sweep will come to, computed and written before it runs.

The index (`factors.index`) forecasts each attempt from the base model alone; intervals come from
attempts on other samples that are in the store (`calibration`).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tracker.base.base_models import BaseRun
from tracker.base.beforehand import forecasts, formula
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.records import NOTE, Kind, Record, sha256_of
from tracker.store.write import Store
from tracker.studies import calibration
from tracker.studies.calibration import Attempted, Floats
from tracker.studies.predicted import TAG, Prediction, as_file, as_table, file_name
from tracker.studies.study import begun
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import FLIP, Plan
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError

DOUBTED = Path(__file__).parent / "doubted.csv"  # where the index is known to fail

Progress = Callable[[int, str], None]  # told how many were just done, and what is being done
Bar = Callable[[int], AbstractContextManager[Progress]]  # for so many in all


class HopelessError(UserError):
    """There is nothing to predict: no sample is new, or none could be unlearned."""


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

    Forecasts that an earlier call computed are read. A prediction that is in the store already is
    not written again: it keeps its time.

    Args:
        bar: opens what is told how many samples were just done, and for which algorithm.
        say: is told remarks, a line each.
        most: test samples that the index looks at; as many as it does by itself if None.

    Raises HopelessError where nothing can be predicted: see `refuse_hopeless`.
    """
    base = base_run.model
    refuse_hopeless(base, plan.sample_ids, plan.until)
    known = [calibration.attempted(store, base_run, plan, each) for each in plan.algorithms]
    asked = [[*dict.fromkeys((*plan.sample_ids, *other.sample_ids))] for other in known]
    with engine.pool(base, Stop()) as pool, bar(sum(map(len, asked))) as progress:
        found = [
            forecasts(store, base_run, algorithm, ids, pool, progress, most, plan.references)
            for algorithm, ids in zip(plan.algorithms, asked, strict=True)
        ]
    tables, keys = [], list[str]()
    for algorithm, ids, others, forecast in zip(plan.algorithms, asked, known, found, strict=True):
        name, values = algorithm.name, {n: each.numpy() for n, each in forecast.items()}
        table, bounded, empty = _rows(base, plan, algorithm, ids, values, others)
        tables.append(table)
        keys += others.keys if bounded else ()
        if np.isnan(values["steps"]).all():
            say(f"{name}: the index knows nothing of this algorithm")
            continue
        flips = others.outcomes["flips"] if bounded else values["flips"]
        reasons = doubts(name, base_run.dataset, float(np.nanmean(flips)), plan.until)
        if not bounded:
            reasons.append(
                f"no intervals: they come from {calibration.FEWEST} attempts or more that are in "
                f"the store with the same settings and seed, and {len(others.keys)} are"
            )
        if empty:
            reasons.append(f"intervals of {', '.join(empty)} are empty: they span nearly all")
        if reasons:
            say(f"{name}: {'; '.join(reasons)}")
    predicted = Prediction("", pa.concat_tables(tables), tuple(sorted(keys)), plan.until)
    record = _record(base_run, plan, predicted, most)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run_id = store.log_once(Kind.PREDICTION, experiment_id, record, base_run.data)
    return replace(predicted, run_id=run_id)


def refuse_hopeless(base: BaseModel, sample_ids: Iterable[int], until: str = FLIP) -> None:
    """Raise HopelessError for a base model of one class, or where no prediction can flip.

    As where it gets none of the samples right.
    """
    if base.train_logits.shape[1] < 2:
        raise HopelessError(
            "the base model has a single class: no prediction can flip, and nothing be unlearned"
        )
    ids = set(sample_ids)
    if until == FLIP and not ids - misclassified(base):
        raise HopelessError(
            f"the base model gets none of the {len(ids)} samples right: nothing would be "
            "unlearned, so that there is nothing to predict"
        )


def only_new(store: Store, plan: Plan) -> Plan:
    """The plan without the samples that any of its algorithms has attempted already.

    Raises HopelessError where none is left.
    """
    done = store.finished_members(plan.digests.values())
    ids = plan.sample_ids
    new = tuple(s for s in ids if not any(plan.key(a, s) in done for a in plan.algorithms))
    if not new:
        raise HopelessError(f"all {len(ids)} samples were attempted already: there is nothing new")
    return replace(plan, sample_ids=new)


def doubts(algorithm: str, dataset: str, flip_rate: float, until: str = FLIP) -> list[str]:
    """Where the index is known to fail, of what is so for these: docs/prediction.md says the same.

    Args:
        flip_rate: of attempts, or else as it is forecast. until: what ends them.
    """
    with DOUBTED.open(encoding="utf-8", newline="") as file:
        return [
            row["said"]
            for row in csv.DictReader(file)
            if row["algorithm"] in (algorithm, "")
            and row["until"] in (until, "")
            and dataset not in row["known_on"].split()
            and flip_rate < float(row["flips_below"])
        ]


def _rows(
    base: BaseModel,
    plan: Plan,
    algorithm: Algorithm,
    ids: Sequence[int],
    values: Mapping[str, Floats],
    known: Attempted,
) -> tuple[pa.Table, list[str], list[str]]:
    """The rows of an algorithm, and of what there are intervals, and empty ones.

    A sample that was attempted already has none: its own attempt may be among the residuals. Nor
    has one with nothing to forget: that is certain.

    Args:
        ids: of the plan's samples and, after them, of others that the calibration needs.
        values: the forecasts for these ids, by name.
    """
    count, place = len(plan.sample_ids), {sample: row for row, sample in enumerate(ids)}
    others = [place[sample] for sample in known.sample_ids]
    positions = base.dataset.train.positions(list(plan.sample_ids))
    is_old = np.array([sample in known.samples for sample in plan.sample_ids])
    columns: dict[str, Any] = {
        "algorithm": [algorithm.name] * count,
        "key": [plan.key(algorithm, sample) for sample in plan.sample_ids],
        "sample_id": plan.sample_ids,
        "label": base.train_labels.cpu()[positions].numpy(),
        "attempted": is_old,
        **{name: forecast[:count] for name, forecast in values.items()},
    }
    bounded, empty = list[str](), list[str]()
    for quantity in calibration.SCALES:
        half = calibration.reach(values[quantity][others], known.outcomes[quantity], quantity)
        expected = np.where(values["steps"] == 0, np.nan, values[quantity])[:count]
        ends = calibration.interval(expected, half, quantity, algorithm.budget)
        if half is not None:
            bounded.append(quantity)
            empty += [quantity] if calibration.is_empty(ends, known.outcomes[quantity]) else []
        low, high = (np.where(is_old, np.nan, end) for end in ends)
        columns |= {f"{quantity}_low": low, f"{quantity}_high": high}
    return as_table(columns), bounded, empty


def _record(base_run: BaseRun, plan: Plan, predicted: Prediction, most: int | None) -> Record:
    content = as_file(predicted.rows, predicted.calibrated_on)
    sha256, names = hashlib.sha256(content).hexdigest(), [a.name for a in plan.algorithms]
    certain = [algorithm.name for algorithm in plan.algorithms if not algorithm.has_chance]
    note = PREDICTION_NOTE.format(
        samples=len(plan.sample_ids), names=",".join(names), base=base_run.run_id, seed=plan.seed
    )
    return begun(
        base_run,
        f"prediction-{plan.name}",
        params={
            "algorithms": ",".join(names),
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            "remaining": plan.remaining_count or "all",
            "calibrated_on": len(predicted.calibrated_on),
            **({"until": plan.until} if plan.references else {}),
            "without_chance": ",".join(certain) or "none",
            **({} if most is None else {"test_samples": str(most)}),
            **(plan.preset.params if plan.preset else {}),
        },
        tags={
            "key": sha256_of("index", formula(), base_run.run_id, sha256)[:32],
            "formula": formula(),
            TAG: sha256,
            NOTE: note,
            **plan.providers_of(plan.algorithms),
        },
        artifacts={file_name(sha256): content},
    )


PREDICTION_NOTE = """\
### What unlearning {samples} samples with {names} will come to

Predicted for base model `{base}`, from it alone, for unlearning with seed {seed}. The prediction \
was made when this run ended; its file is named by its content. A sweep of these samples that \
begins later grades it:

    indelible load
    indelible predict --score SWEEP
"""
