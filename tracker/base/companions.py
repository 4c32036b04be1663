"""Models that are trained beside a base model, for factors that need more than one model.

Leave-one-out models tell what an unlearned model should have come to; an ensemble on random parts
of the data tells how far the base model has memorised a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from factors.distance import softmax_distance
from factors.learning import memorization_estimate
from tracker.base.parts import (
    LEARNING,
    LEFT_OUT,
    MEMORIZATION,
    SECOND_SEED,
    Parts,
    Progress,
    Question,
    Rows,
    Table,
    answers,
    known,
)
from tracker.base.workers import THREADS, Engine, Stop
from unlearning.algorithms.retrain import train_again
from unlearning.base_model import BaseModel, Companions, logits
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


def load(store: Store, run: Run, sample_ids: Sequence[int]) -> Companions:
    """What is kept with a base model's run. Raises Damaged where a part of it is.

    Args:
        sample_ids: of all training samples, in order.
    """
    left_out = known(store, run, LEFT_OUT, _asked(LEFT_OUT), strict=True)["logits"]
    ensemble = known(store, run, MEMORIZATION, _asked(MEMORIZATION), strict=True)
    seen, right = (ensemble[name] for name in ("included", "correct"))
    memorization = dict[int, float]()
    if len(seen) > 1:
        in_order = (torch.stack([of[number] for number in sorted(of)]) for of in (right, seen))
        memorization = dict(zip(sample_ids, memorization_estimate(*in_order).tolist(), strict=True))
    learned = [Learning(part["losses"], part["margins"]) for part, _ in LEARNING.of(store, run)]
    return Companions(left_out, memorization, next(iter(learned), None))


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
    _train(store, run_id, base, LEFT_OUT, sample_ids, on_progress, engine)


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
    run = store.run(run_id)
    once, again = (
        known(store, run, kind, _asked(kind))["logits"] for kind in (LEFT_OUT, SECOND_SEED)
    )
    both = [sample for sample in again if sample in once]
    ids = [*both, *(sample for sample in sample_ids if sample not in both)][:SEEDS_FOR]
    again = _train(store, run_id, base, SECOND_SEED, ids, on_progress, engine)["logits"]
    untouched = base.test_logits.cpu()
    pairs_of = {
        UNTOUCHED: [(once[i], untouched) for i in sorted(once)],
        SECOND: [(once[i], again[i]) for i in sorted(again) if i in once],
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
    _train(store, run_id, base, MEMORIZATION, range(models), on_progress, engine)


def _train(
    store: Store,
    run_id: str,
    base: BaseModel,
    kind: Parts,
    numbers: Sequence[int],
    on_progress: Progress,
    engine: Engine,
) -> dict[str, Rows]:
    """Train models of one kind, and keep what they say of the data; that of all by name."""
    stop = Stop()
    how = (store, run_id, kind, _asked(kind, stop), numbers, partial(engine.pool, base, stop))
    return answers(*how, AT_A_TIME, on_progress, DOING[kind])


def _asked(kind: Parts, stop: Stop | None = None) -> dict[str, Question]:
    """What is kept of the models of one kind, by samples left out or numbers of models."""
    is_part, further_seed = kind == MEMORIZATION, int(kind == SECOND_SEED)
    stop = stop or Stop()

    def compute(base: BaseModel, numbers: list[int]) -> Table:
        size = len(base.train_labels)
        if is_part:  # what a model sees follows from its number
            orders = [np.random.default_rng([3, number]).permutation(size) for number in numbers]
            drawn = np.stack([np.sort(order[: round(SHARE * size)]) for order in orders])
            subsets = Subsets(torch.from_numpy(drawn))
        else:
            subsets = all_but(base.dataset.train.positions(numbers), size)
        states = train_again(base, subsets, stop.is_set, further_seed)
        each = ({name: of[k] for name, of in states.items()} for k in range(len(numbers)))
        models = [base.model.at(state) for state in each]
        if not is_part:
            return {"logits": torch.stack([logits(m, base.test_inputs).cpu() for m in models])}
        seen = torch.zeros(len(numbers), size, dtype=torch.bool)
        right = [logits(m, base.train_inputs).argmax(dim=1) == base.train_labels for m in models]
        seen = seen.scatter(1, subsets.positions, True)
        return {"included": seen, "correct": torch.stack(right).cpu()}

    names = ("included", "correct") if is_part else ("logits",)
    return {kind.kind: Question(names, lambda ids: str(VERSION), compute)}
