"""A prediction by a predictor: what it says of each sample of a plan, written as a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.warehouse import BOUNDED
from tracker.base.base_models import BaseRun
from tracker.record.store import Store
from tracker.sweeping.attempted import sample_of
from tracker.sweeping.calibration import within_budget
from tracker.sweeping.choosing import misclassified
from tracker.sweeping.features import Known
from tracker.sweeping.plan import Plan
from tracker.sweeping.predicted import Predicted, as_table
from tracker.sweeping.predicting import How, Prediction, named_columns, refuse_hopeless, written
from tracker.sweeping.predictor import OfAlgorithm
from tracker.sweeping.predictors import Source
from unlearning.algorithm import Algorithm

LEVEL = "model"


def predict_by_model(store: Store, base_run: BaseRun, plan: Plan, source: Source) -> Prediction:
    """Predict what the members of a plan will come to, by a predictor, and write it as a run.

    The attempts that the predictor was fitted on go with it: a sweep with any of them does not
    grade it. Nor does another repeat on the same sample of the same base model.

    Raises UserError where nothing can be predicted, or where the predictor does not hold.
    """
    refuse_hopeless(base_run.model, plan.sample_ids)
    fitted = source.predictor(store, base_run, plan)
    known = source.known(store, base_run, plan, plan.sample_ids)
    tables: list[pa.Table] = []
    keys: set[str] = set()
    for algorithm in plan.algorithms:
        of = fitted.predictor.algorithms[algorithm.name]
        seen = _seen(of, base_run) & {*plan.sample_ids}
        done = frozenset(map(sample_of, store.finished_members([plan.digest(algorithm)])))
        tables.append(as_table(_columns(base_run, plan, algorithm, of, known, seen, done)))
        keys |= {*of.keys, *(plan.key(algorithm, sample) for sample in seen)}
        if seen:
            source.say(
                f"{algorithm.name}: {len(seen)} of the {len(plan.sample_ids)} samples are among "
                "those that the predictor was fitted on: no intervals, and no sweep of them grades "
                "it"
            )
    predicted = Predicted(pa.concat_tables(tables), tuple(sorted(keys)))
    how = How(
        LEVEL,
        fitted.sha256,
        f"by the predictor `{fitted.run_id}`, whose card says what it was fitted on,",
        {"predictor": fitted.run_id},
    )
    return written(store, base_run, plan, predicted, how)


def _seen(of: OfAlgorithm, base_run: BaseRun) -> set[int]:
    """The samples that it was fitted on, of this base model."""
    return {sample_of(key) for key in of.fitted_on.get(base_run.weights_sha256, ())}


def _columns(
    base_run: BaseRun,
    plan: Plan,
    algorithm: Algorithm,
    of: OfAlgorithm,
    known: Known,
    seen: set[int],
    attempted: frozenset[int],
) -> dict[str, Sequence[Any]]:
    """The rows of an algorithm as columns.

    Nothing is said of a sample that the base model gets wrong, of which nothing is unlearned, and
    no interval of one that the predictor was fitted on.

    Args:
        seen: samples that the predictor was fitted on. attempted: those whose attempt is there.
    """
    table = known.table(algorithm.name, of.features)
    found = within_budget(of(table, known.forecasts[algorithm.name]), algorithm.budget)
    wrong = misclassified(base_run.model)
    is_right = np.array([sample not in wrong for sample in plan.sample_ids])
    is_new = np.array([sample not in seen for sample in plan.sample_ids])
    bounds = {f"{name}_{end}" for name in BOUNDED for end in ("low", "high")}
    return named_columns(base_run.model, plan, algorithm, attempted) | {
        name: np.where(is_right & (is_new | (name not in bounds)), values, np.nan).tolist()
        for name, values in found.items()
    }
