"""Models that are trained beside a base model, for factors that need more than one model.

Leave-one-out models tell what an unlearned model should have come to; an ensemble on random parts
of the data tells how far the base model has memorised a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from unlearning.execution import by_device
from unlearning.training import Learning, Subsets, all_but
from unlearning.version import VERSION

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store

SHARE = 0.7  # of the training data that each model of the ensemble sees
AT_A_TIME = 8  # models
UNTOUCHED, SECOND = "reference/untouched_gap", "reference/second_seed_gap"  # metrics
SEEDS_FOR = 5  # samples at most are left out with a second seed too
DOING = {LEFT_OUT: "leaving out", SECOND_SEED: "a second seed", MEMORIZATION: "memorisation"}
CURRENT = f"version {VERSION}"  # what the tags of parts say; those of other versions are outdated


def load(store: Store, run: Run, sample_ids: Sequence[int]) -> Companions:
    """What is kept with a base model's run. Raises Damaged where a part of it is.

    Args:
        sample_ids: of all training samples, in order.
    """
    seen, right = (_rows(store, run, MEMORIZATION, of) for of in ("included", "correct"))
    memorization = dict[int, float]()
    if len(seen) > 1:
        in_order = (torch.stack([of[number] for number in sorted(of)]) for of in (right, seen))
        memorization = dict(zip(sample_ids, memorization_estimate(*in_order).tolist(), strict=True))
    learned = [Learning(part["losses"], part["margins"]) for part, _ in LEARNING.of(store, run)]
    left_out = _rows(store, run, LEFT_OUT, "logits")
    return Companions(left_out, memorization, next(iter(learned), None))


def _rows(store: Store, run: Run, kind: Parts, column: str) -> dict[int, Tensor]:
    """The rows of a column in all current parts, by the numbers of their models."""
    rows: dict[int, Tensor] = {}
    for part, says in kind.of(store, run):
        if says == CURRENT:
            rows |= zip(part["models"].tolist(), part[column], strict=True)
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
    on_progress(len(sample_ids) - len(missing), DOING[LEFT_OUT])
    _leave_out(store, run_id, base, LEFT_OUT, missing, on_progress, engine)


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
        once, again = (_rows(store, run, kind, "logits") for kind in (LEFT_OUT, SECOND_SEED))
        return once, {sample: again[sample] for sample in again if sample in once}

    _, again = of_two_seeds()
    missing = [i for i in sample_ids if i not in again][: max(0, SEEDS_FOR - len(again))]
    on_progress(SEEDS_FOR - len(missing), DOING[SECOND_SEED])
    _leave_out(store, run_id, base, SECOND_SEED, missing, on_progress, engine)
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


def _leave_out(
    store: Store,
    run_id: str,
    base: BaseModel,
    kind: Parts,
    missing: Sequence[int],
    on_progress: Progress,
    engine: Engine,
) -> None:
    """Train models without a sample each, with another seed for SECOND_SEED."""

    def subsets(base: BaseModel, ids: list[int]) -> Subsets:
        return all_but(base.dataset.train.positions(ids), len(base.train_labels))

    def results(base: BaseModel, ids: list[int], models: list[Model]) -> Table:
        return {"logits": torch.stack([logits(m, base.test_inputs).cpu() for m in models])}

    seed = int(kind is SECOND_SEED)
    _train(store, run_id, base, kind, missing, subsets, results, seed, on_progress, engine)


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

    def subsets(base: BaseModel, numbers: list[int]) -> Subsets:
        size = len(base.train_labels)
        orders = [np.random.default_rng([3, number]).permutation(size) for number in numbers]
        parts = np.stack([np.sort(order[: round(SHARE * size)]) for order in orders])
        return Subsets(torch.from_numpy(parts))

    def results(base: BaseModel, numbers: list[int], models: list[Model]) -> Table:
        """Which samples each model saw, and which it gets right: (models, samples) each."""
        included = torch.zeros(len(numbers), len(base.train_labels), dtype=torch.bool)
        right = [logits(m, base.train_inputs).argmax(dim=1) == base.train_labels for m in models]
        seen = subsets(base, numbers).positions
        return {"included": included.scatter(1, seen, True), "correct": torch.stack(right).cpu()}

    known = _rows(store, store.run(run_id), MEMORIZATION, "correct")
    missing = [number for number in range(models) if number not in known]
    on_progress(models - len(missing), DOING[MEMORIZATION])
    _train(store, run_id, base, MEMORIZATION, missing, subsets, results, 0, on_progress, engine)


def _train(
    store: Store,
    run_id: str,
    base: BaseModel,
    kind: Parts,
    missing: Sequence[int],
    subsets: Callable[[BaseModel, list[int]], Subsets],
    results: Callable[[BaseModel, list[int], list[Model]], Table],
    further_seed: int,
    on_progress: Progress,
    engine: Engine,
) -> None:
    """Train models by the base model's recipe, stacked, and keep what they say as parts.

    Args:
        missing: numbers of models, or the samples that they do not see. subsets: their data.
        results: what is kept of them, a row each. further_seed: is added to the recipe's.
    """
    stop, execution = Stop(), by_device(base.device)

    def compute(replica: BaseModel, some: list[int]) -> Table:
        chosen = subsets(replica, some)
        states = train_again(replica, chosen, execution, stop.is_set, further_seed)
        each = ({name: of[k] for name, of in states.items()} for k in range(len(some)))
        models = [replica.model.at(state) for state in each]
        return {"models": torch.tensor(some), **results(replica, some, models)}

    def save(part: Table) -> None:
        kind.add(store, run_id, part, CURRENT)

    with engine.pool(base, stop) as pool:
        complete(pool, missing, compute, save, on_progress, DOING[kind], AT_A_TIME)
