"""Models that are trained beside a base model, for factors that need more than one model.

Leave-one-out models tell what an unlearned model should have come to; an ensemble on random parts
of the data tells how far the base model has memorised a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from factors.distance import softmax_distance
from factors.memorization import memorization_estimate
from tracker.base.parts import LEARNING, LEFT_OUT, MEMORIZATION, SECOND_SEED, Kept, Parts
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.blocks import in_blocks
from unlearning import training as subsets
from unlearning.algorithms.retrain import left_out_models, train_again
from unlearning.base_model import BaseModel, Companions, logits
from unlearning.execution import by_device
from unlearning.training import Learning

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store

SHARE = 0.7  # of the training data that each model of the ensemble sees
AT_A_TIME = 8  # models
UNTOUCHED, SECOND = "reference/untouched_gap", "reference/second_seed_gap"  # metrics
SEEDS_FOR = 5  # samples at most are left out with a second seed too

Progress = Callable[[int, str], None]
Seen = tuple[Tensor, Tensor]  # whether a model of the ensemble saw each sample, and got it right


def load(store: Store, run: Run) -> Companions:
    """What is kept with a base model's run. Raises Damaged where a part of it is."""
    ensemble, ids = _ensemble(store, run)
    memorization: list[float] = []
    if len(ensemble) > 1:
        included, right = (torch.stack(part) for part in zip(*ensemble.values(), strict=True))
        memorization = memorization_estimate(right, included).tolist()
    left_out = _without(store, run, LEFT_OUT)
    by_id = dict(zip(ids, memorization, strict=False))
    learned = _learning(store, run)
    return Companions(left_out, by_id, learned)


def _learning(store: Store, run: Run) -> Learning | None:
    """How the base model learned its samples; None if that was not recorded."""
    for part in LEARNING.of(store, run):
        return Learning(part["losses"], part["margins"])
    return None


def _without(store: Store, run: Run, kind: Parts) -> dict[int, Tensor]:
    """Test-set logits of models that were trained without a sample, by the sample."""
    known: dict[int, Tensor] = {}
    for part in kind.of(store, run):
        known |= zip(part["ids"].tolist(), part["logits"], strict=True)
    return known


def _ensemble(store: Store, run: Run) -> tuple[dict[int, Seen], list[int]]:
    """The ensemble by the numbers of its models, in their order, and the sample ids."""
    models: dict[int, Seen] = {}
    ids: list[int] = []
    for part in MEMORIZATION.of(store, run):
        ids = part["ids"].tolist()
        numbers = part.get("models", torch.arange(len(part["correct"]))).tolist()
        models |= zip(numbers, zip(part["included"], part["correct"], strict=True), strict=True)
    return dict(sorted(models.items())), ids


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
    on_progress(len(sample_ids) - len(missing), "leaving out")
    _train_without(store, run_id, base, missing, LEFT_OUT, 0, on_progress, engine)


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
    _, again = _of_two_seeds(store, run_id)
    missing = [i for i in sample_ids if i not in again][: max(0, SEEDS_FOR - len(again))]
    on_progress(SEEDS_FOR - len(missing), "a second seed")
    _train_without(store, run_id, base, missing, SECOND_SEED, 1, on_progress, engine)
    left_out, again = _of_two_seeds(store, run_id)
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


def _of_two_seeds(store: Store, run_id: str) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Logits of the leave-one-out models, and those of a second seed for some of their samples."""
    run = store.run(run_id)
    left_out, again = (_without(store, run, kind) for kind in (LEFT_OUT, SECOND_SEED))
    return left_out, {sample: again[sample] for sample in again if sample in left_out}


def _train_without(
    store: Store,
    run_id: str,
    base: BaseModel,
    sample_ids: Sequence[int],
    kind: Parts,
    further_seed: int,
    on_progress: Progress,
    engine: Engine,
) -> None:
    """Train a model without each of the samples, and keep its test-set logits as parts of a kind.

    Args:
        further_seed: is added to the seed of the base model's recipe.
    """
    stop, execution = Stop(), by_device(base.device)

    def compute(twin: BaseModel, ids: list[int]) -> list[Tensor]:
        positions = twin.dataset.train.positions(ids)
        states = left_out_models(twin, positions, execution, stop.is_set, further_seed)
        return [_logits(twin, states, k, twin.test_inputs).cpu() for k in range(len(ids))]

    def save(logits_without: Mapping[int, Tensor]) -> None:
        content = {
            "ids": torch.tensor(list(logits_without)),
            "logits": torch.stack(list(logits_without.values())),
        }
        kind.add(store, run_id, content, str(len(logits_without)))

    with Kept(save) as kept, engine.pool(base, stop) as pool:
        for ids, logits_without in pool.map(compute, in_blocks(sample_ids, AT_A_TIME)):
            kept.add(dict(zip(ids, logits_without, strict=True)))
            on_progress(len(ids), "leaving out")


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
    known, _ = _ensemble(store, store.run(run_id))
    missing = [model for model in range(models) if model not in known]
    on_progress(models - len(missing), "memorisation")
    size, stop, execution = len(base.train_labels), Stop(), by_device(base.device)

    def compute(twin: BaseModel, numbers: list[int]) -> list[Seen]:
        parts = torch.stack([_part(size, number) for number in numbers])
        states = train_again(twin, subsets.Parts(parts), execution, stop.is_set)
        outputs = [_logits(twin, states, k, twin.train_inputs) for k in range(len(numbers))]
        right = [(output.argmax(dim=1) == twin.train_labels).cpu() for output in outputs]
        included = torch.zeros(len(numbers), size, dtype=torch.bool).scatter(1, parts, True)
        return list(zip(included, right, strict=True))

    def save(models_seen: Mapping[int, Seen]) -> None:
        included, right = (torch.stack(part) for part in zip(*models_seen.values(), strict=True))
        content = {
            "ids": base.dataset.train.ids,
            "models": torch.tensor(list(models_seen)),
            "included": included,
            "correct": right,
        }
        MEMORIZATION.add(store, run_id, content, str(len(models_seen)))

    with Kept(save) as kept, engine.pool(base, stop) as pool:
        for numbers, seen in pool.map(compute, in_blocks(missing, AT_A_TIME)):
            kept.add(dict(zip(numbers, seen, strict=True)))
            on_progress(len(numbers), "memorisation")


def _part(size: int, model: int) -> Tensor:
    """The training samples that one model of the ensemble sees, in order."""
    order = np.random.default_rng([3, model]).permutation(size)
    return torch.from_numpy(np.sort(order[: round(SHARE * size)]))


def _logits(base: BaseModel, states: Mapping[str, Tensor], k: int, inputs: Tensor) -> Tensor:
    return logits(base.model.at({name: stacked[k] for name, stacked in states.items()}), inputs)
