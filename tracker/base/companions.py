"""Leave-one-out models: what an unlearned model should have come to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from factors.distance import softmax_distance
from tracker.base import references
from tracker.base.parts import (
    LEARNING,
    LEFT_OUT,
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
from tracker.store.records import Run
from unlearning.algorithms.retrain import train_again
from unlearning.base_model import BaseModel, Companions, logits
from unlearning.training import Learning, all_but
from unlearning.version import VERSION

if TYPE_CHECKING:
    from tracker.store.write import Store

AT_A_TIME = 8  # models
UNTOUCHED, SECOND = "reference/untouched_gap", "reference/second_seed_gap"  # metrics
SEEDS_FOR = 5  # samples at most are left out with a second seed too
DOING = {LEFT_OUT: "leaving out", SECOND_SEED: "a second seed"}


def load(store: Store, run: Run) -> Companions:
    """What is kept with a base model's run. Raises Damaged where a part of it is."""
    left_out = known(store, run, LEFT_OUT, _asked(LEFT_OUT), strict=True)["logits"]
    learned = [Learning(part["losses"], part["margins"]) for part, _ in LEARNING.of(store, run)]
    return Companions(left_out, references.read(store, run), next(iter(learned), None))


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
    """What is kept of the models of one kind, by samples left out."""
    stop, further_seed = stop or Stop(), int(kind == SECOND_SEED)

    def compute(base: BaseModel, numbers: list[int]) -> Table:
        subsets = all_but(base.dataset.train.positions(numbers), len(base.train_labels))
        states = train_again(base, subsets, stop.is_set, further_seed)
        each = ({name: of[k] for name, of in states.items()} for k in range(len(numbers)))
        found = [logits(base.model.at(state), base.test_inputs).cpu() for state in each]
        return {"logits": torch.stack(found)}

    return {kind.kind: Question(("logits",), lambda ids: str(VERSION), compute)}
