"""Models that are trained beside a base model, for factors that need more than one model.

Leave-one-out models tell what an unlearned model should have come to; an ensemble on random parts
of the data tells how far the base model has memorised a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from factors.distance import softmax_distance
from factors.learning import memorization_estimate
from tracker.base.parts import (
    LEARNING,
    LEFT_OUT,
    MEMORIZATION,
    SECOND_SEED,
    Parts,
    Progress,
    Table,
    complete,
)
from tracker.base.workers import THREADS, Engine, Stop
from unlearning.algorithms.retrain import train_again
from unlearning.base_model import BaseModel, Companions, Model, logits
from unlearning.training import Learning, Subsets, all_but

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store

SHARE = 0.7  # of the training data that each model of the ensemble sees
AT_A_TIME = 8  # models
UNTOUCHED, SECOND = "reference/untouched_gap", "reference/second_seed_gap"  # metrics
SEEDS_FOR = 5  # samples at most are left out with a second seed too


@dataclass(frozen=True)
class Training:
    """Models of one kind that are trained beside a base model by its recipe.

    Attributes:
        kind: of the parts that keep what they say. doing: how that is called in a progress bar.
        subsets: the data of each model, by its number or the sample that it does not see.
        results: what is kept of models: a row for each.
        further_seed: is added to the seed of the base model's recipe.
    """

    kind: Parts
    doing: str
    subsets: Callable[[BaseModel, list[int]], Subsets]
    results: Callable[[BaseModel, list[int], list[Model]], Table]
    further_seed: int = 0

    def go(
        self,
        store: Store,
        run_id: str,
        base: BaseModel,
        missing: Sequence[int],
        on_progress: Progress,
        engine: Engine,
    ) -> None:
        """Train models and keep what they say. Raises UserError for a base without a recipe."""
        stop = Stop()

        def compute(replica: BaseModel, some: list[int]) -> Table:
            subsets = self.subsets(replica, some)
            states = train_again(replica, subsets, stop.is_set, self.further_seed)
            each = ({name: of[k] for name, of in states.items()} for k in range(len(some)))
            return self.results(replica, some, [replica.model.at(state) for state in each])

        def save(part: Table) -> None:
            self.kind.add(store, run_id, part, str(len(next(iter(part.values())))))

        with engine.pool(base, stop) as pool:
            complete(pool, missing, compute, save, on_progress, self.doing, AT_A_TIME)


def _all_but(base: BaseModel, ids: list[int]) -> Subsets:
    return all_but(base.dataset.train.positions(ids), len(base.train_labels))


def _on_test_set(base: BaseModel, ids: list[int], models: list[Model]) -> Table:
    found = [logits(model, base.test_inputs).cpu() for model in models]
    return {"ids": torch.tensor(ids), "logits": torch.stack(found)}


def _drawn(base: BaseModel, numbers: list[int]) -> Subsets:
    """The training samples that models of the ensemble see, in order: they follow from numbers."""
    size = len(base.train_labels)
    orders = [np.random.default_rng([3, number]).permutation(size) for number in numbers]
    parts = np.stack([np.sort(order[: round(SHARE * size)]) for order in orders])
    return Subsets(torch.from_numpy(parts))


def _on_training_set(base: BaseModel, numbers: list[int], models: list[Model]) -> Table:
    """Which samples each model saw, and which it gets right: (models, samples) each."""
    included = torch.zeros(len(numbers), len(base.train_labels), dtype=torch.bool)
    right = [logits(m, base.train_inputs).argmax(dim=1) == base.train_labels for m in models]
    return {
        "models": torch.tensor(numbers),
        "included": included.scatter(1, _drawn(base, numbers).positions, True),
        "correct": torch.stack(right).cpu(),
    }


WITHOUT = Training(LEFT_OUT, "leaving out", _all_but, _on_test_set)
WITHOUT_AGAIN = replace(WITHOUT, kind=SECOND_SEED, further_seed=1)
ENSEMBLE = Training(MEMORIZATION, "memorisation", _drawn, _on_training_set)


def load(store: Store, run: Run, sample_ids: Sequence[int]) -> Companions:
    """What is kept with a base model's run. Raises Damaged where a part of it is.

    Args:
        sample_ids: of all training samples, in order.
    """
    ensemble, memorization = list(MEMORIZATION.of(store, run)), dict[int, float]()
    seen, right = (_rows(ensemble, "models", name) for name in ("included", "correct"))
    if len(seen) > 1:
        in_order = (torch.stack([of[number] for number in sorted(of)]) for of in (right, seen))
        memorization = dict(zip(sample_ids, memorization_estimate(*in_order).tolist(), strict=True))
    learned = next(
        (Learning(part["losses"], part["margins"]) for part in LEARNING.of(store, run)), None
    )
    return Companions(_rows(LEFT_OUT.of(store, run), "ids", "logits"), memorization, learned)


def _rows(parts: Iterable[Table], key: str, column: str) -> dict[int, Tensor]:
    """The rows of a column in all parts, by the numbers in another."""
    rows: dict[int, Tensor] = {}
    for part in parts:
        rows |= zip(part[key].tolist(), part[column], strict=True)
    return rows


def leave_out(
    store: Store,
    run_id: str,
    base: BaseModel,
    sample_ids: Sequence[int],
    on_progress: Progress,
    engine: Engine = THREADS,
) -> None:
    """Train a model without each sample that has none yet, and keep its test-set logits.

    Raises UserError for a base model without a recipe.
    """
    missing = [sample for sample in sample_ids if sample not in base.companions.left_out]
    on_progress(len(sample_ids) - len(missing), WITHOUT.doing)
    WITHOUT.go(store, run_id, base, missing, on_progress, engine)


def measure_chance(
    store: Store,
    run_id: str,
    base: BaseModel,
    sample_ids: Sequence[int],
    on_progress: Progress,
    engine: Engine = THREADS,
) -> dict[str, float]:
    """Log two mean gaps of a base model with which those of unlearned models can be compared.

    The first is from the untouched base model to the leave-one-out models, over all samples that
    were left out. The second is between leave-one-out models of two seeds, which differ by chance
    alone: by the weights at the start and the order of the batches. For it `SEEDS_FOR` of the
    samples are left out once more.

    Returns: the two by the names of their metrics.
    """

    def of_two_seeds() -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        run = store.run(run_id)
        once, again = (_rows(k.of(store, run), "ids", "logits") for k in (LEFT_OUT, SECOND_SEED))
        return once, {sample: again[sample] for sample in again if sample in once}

    _, again = of_two_seeds()
    missing = [i for i in sample_ids if i not in again][: max(0, SEEDS_FOR - len(again))]
    on_progress(SEEDS_FOR - len(missing), "a second seed")
    WITHOUT_AGAIN.go(store, run_id, base, missing, on_progress, engine)
    left_out, again = of_two_seeds()
    untouched = base.test_logits.cpu()
    pairs_of = {
        UNTOUCHED: [(left_out[i], untouched) for i in sorted(left_out)],
        SECOND: [(left_out[i], again[i]) for i in sorted(again)],
    }
    gaps = {
        name: fmean(softmax_distance(*pair).item() for pair in pairs)
        for name, pairs in pairs_of.items()
    }
    store.note_metrics(run_id, gaps)
    return gaps


def memorize(
    store: Store,
    run_id: str,
    base: BaseModel,
    models: int,
    on_progress: Progress,
    engine: Engine = THREADS,
) -> None:
    """Train those models of an ensemble that are not there yet, each on a part of the data.

    All start from the same weights; each sees a random 70% of the training samples, which follow
    from its number.

    Raises UserError for a base model without a recipe.
    """
    known = _rows(MEMORIZATION.of(store, store.run(run_id)), "models", "correct")
    missing = [number for number in range(models) if number not in known]
    on_progress(models - len(missing), ENSEMBLE.doing)
    ENSEMBLE.go(store, run_id, base, missing, on_progress, engine)
