"""What is known of samples before an attempt, as features that mean the same of every base model.

A factor's values have other scales of every base model. So each is replaced by the normal score of
its rank among the same fixed draw of the base model's own samples: a feature of a sample depends on
no other sample that is asked for, and a model that was fitted on one base model can be used on
another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.warehouse import FORECAST
from factors.family import Family
from tracker.base.base_models import BaseRun
from tracker.base.forecasts import forecasts
from tracker.base.pre_factors import pre_factors
from tracker.base.workers import Engine, Stop
from tracker.record.store import Store
from tracker.sweeping.calibration import Floats
from tracker.sweeping.choosing import draw_samples, misclassified
from tracker.sweeping.ranks import normal_scores
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel

REFERENCE = 200  # samples among which a value has its rank
INDEX = "index_"  # begins the names of features that are forecasts of the index

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Known:
    """What is known of samples of one base model.

    Attributes:
        sample_ids: (K,) of them, in order.
        scores: normal scores by algorithm and by the name of the feature, (K,) each; NaN where the
            factor is undefined. The same for all algorithms but for the forecasts of the index.
        forecasts: what the index says, by algorithm and by the names in FORECAST, (K,) each.
        margins: (K,), the factor `margin`.
    """

    sample_ids: tuple[int, ...]
    scores: Mapping[str, Mapping[str, Floats]]
    forecasts: Mapping[str, Mapping[str, Floats]]
    margins: Floats

    def table(self, algorithm: str, names: Sequence[str]) -> Floats:
        """Some features, (K, F); NaN in the column of one that is not known here."""
        unknown = np.full(len(self.sample_ids), np.nan)
        scores = self.scores[algorithm]
        columns = [scores.get(name, unknown) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((len(self.sample_ids), 0))


def reference_samples(base: BaseModel) -> list[int]:
    """The samples among which a value has its rank: a fixed draw of those that it gets right."""
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    return draw_samples(ids, min(REFERENCE, len(ids) - len(wrong)), 0, wrong)


def known_of(
    store: Store,
    base_run: BaseRun,
    algorithms: Sequence[Algorithm],
    sample_ids: Sequence[int],
    families: Sequence[Family],
    engine: Engine,
    progress: Progress,
) -> Known:
    """What is known of samples before the algorithms unlearn them.

    What was computed before is read: `pre` factors and forecasts are kept with the base model.

    Args:
        progress: is told how many samples were just done, once for the factors and once for each
            algorithm; reference samples count too.
    """
    reference = reference_samples(base_run.model)
    every = [*dict.fromkeys((*sample_ids, *reference))]
    place = {sample: row for row, sample in enumerate(every)}
    asked = np.array([place[sample] for sample in sample_ids], dtype=np.int64)
    among = np.array([place[sample] for sample in reference], dtype=np.int64)

    def scored(values: Mapping[str, Floats], prefix: str = "") -> dict[str, Floats]:
        return {f"{prefix}{n}": normal_scores(v[asked], v[among]) for n, v in values.items()}

    found = pre_factors(store, base_run, every, families, engine, progress)
    values = {name: tensor.numpy() for name, tensor in found.items()}
    shared = scored(values)
    scores, said = {}, {}
    with engine.pool(base_run.model, Stop()) as pool:
        for algorithm in algorithms:
            tensors = forecasts(store, base_run, algorithm, every, pool, progress)
            forecast = {name: tensors[name].numpy() for name in FORECAST}
            scores[algorithm.name] = {**scored(forecast, INDEX), **shared}
            said[algorithm.name] = {name: each[asked] for name, each in forecast.items()}
    margins = values.get("margin", np.full(len(every), np.nan))[asked]
    return Known(tuple(sample_ids), scores, said, margins)
