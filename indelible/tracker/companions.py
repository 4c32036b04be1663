"""Models beside a base model that tell what GT cannot: leave-one-out models, and an ensemble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from mlflow.entities import Run
from safetensors.torch import load_file, save
from torch import Tensor

from indelible.errors import UserError
from indelible.factors.memorization import memorization_estimate
from indelible.tracker.store import Store
from indelible.tracker.workers import Workers
from indelible.unlearning.algorithms.retrain import left_out_models, train_parts
from indelible.unlearning.base import BaseModel, Companions, logits
from indelible.unlearning.execution import by_device

LEFT_OUT, MEMORIZATION = "leave_one_out", "memorization"  # tags, and names of the files
SHARE = 0.7  # of the training data that each model of the ensemble sees
AT_A_TIME = 8  # models
SAVED_EVERY = 30  # seconds

Progress = Callable[[int, str], None]


def load(store: Store, run: Run) -> Companions:
    """What is kept with a base model's run."""
    left_out, memorization = _read(store, run, LEFT_OUT), _read(store, run, MEMORIZATION)
    of_left_out = zip(left_out["ids"].tolist(), left_out["logits"], strict=True) if left_out else ()
    values = (
        zip(memorization["ids"].tolist(), memorization["values"].tolist(), strict=True)
        if memorization
        else ()
    )
    return Companions(left_out=dict(of_left_out), memorization=dict(values))


def leave_out(
    store: Store, run_id: str, base: BaseModel, sample_ids: Sequence[int], on_progress: Progress
) -> None:
    """Train a model without each sample that has none yet, and keep its test-set logits.

    Raises UserError for ids that are not training samples, and for a base model without a recipe.
    """
    base.dataset.train.positions(list(sample_ids))
    known = dict(base.companions.left_out)
    missing = [sample for sample in sample_ids if sample not in known]
    on_progress(len(sample_ids) - len(missing), "leaving out")
    stop, execution = threading.Event(), by_device(base.device)

    def compute(twin: BaseModel, ids: list[int]) -> list[Tensor]:
        positions = twin.dataset.train.positions(ids).to(twin.device)
        states = left_out_models(twin, positions, execution, stop.is_set)
        return [_logits(twin, states, k, twin.test_inputs).cpu() for k in range(len(ids))]

    saved = time.monotonic()
    try:
        with Workers(base, None, stop) as workers:
            for ids, found in workers.map(compute, _blocks(missing)):
                known |= dict(zip(ids, found, strict=True))
                on_progress(len(ids), "leaving out")
                if time.monotonic() - saved > SAVED_EVERY:
                    _save_left_out(store, run_id, known)
                    saved = time.monotonic()
    finally:  # also where it was interrupted: the next call goes on
        if len(known) > len(base.companions.left_out):
            _save_left_out(store, run_id, known)


def memorize(
    store: Store, run_id: str, base: BaseModel, models: int, on_progress: Progress
) -> None:
    """Train an ensemble on random parts of the data, and keep how memorised each sample is.

    All start from the same weights; each sees a random 70% of the training samples.

    Raises UserError for a base model without a recipe, and for fewer than two models.
    """
    if models < 2:
        raise UserError(f"--memorization-models is {models}: an estimate takes two or more")
    size, stop, execution = len(base.train_labels), threading.Event(), by_device(base.device)
    parts = torch.stack([_part(size, k) for k in range(models)])

    def compute(twin: BaseModel, members: list[int]) -> list[Tensor]:
        states = train_parts(twin, parts[members].to(twin.device), execution, stop.is_set)
        found = [_logits(twin, states, k, twin.train_inputs) for k in range(len(members))]
        return [(each.argmax(dim=1) == twin.train_labels).cpu() for each in found]

    correct: list[Tensor] = []
    with Workers(base, None, stop) as workers:
        for members, found in workers.map(compute, _blocks(range(models))):
            correct += found
            on_progress(len(members), "memorisation")
    included = torch.zeros(models, size, dtype=torch.bool).scatter(1, parts, True)
    right = torch.stack(correct)
    content = {
        "ids": base.dataset.train.ids,
        "values": memorization_estimate(right, included),
        "correct": right,
        "included": included,
    }
    store.attach(run_id, f"{MEMORIZATION}.safetensors", save(content), (MEMORIZATION, str(models)))


def _part(size: int, model: int) -> Tensor:
    """The training samples that one model of the ensemble sees, in order."""
    order = np.random.default_rng([3, model]).permutation(size)
    return torch.from_numpy(np.sort(order[: round(SHARE * size)]))


def _blocks(items: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(items), AT_A_TIME):
        yield list(items[start : start + AT_A_TIME])


def _logits(base: BaseModel, states: Mapping[str, Tensor], k: int, inputs: Tensor) -> Tensor:
    return logits(base.model.at({name: stacked[k] for name, stacked in states.items()}), inputs)


def _save_left_out(store: Store, run_id: str, known: Mapping[int, Tensor]) -> None:
    content = {"ids": torch.tensor(list(known)), "logits": torch.stack(list(known.values()))}
    store.attach(run_id, f"{LEFT_OUT}.safetensors", save(content), (LEFT_OUT, str(len(known))))


def _read(store: Store, run: Run, what: str) -> dict[str, Tensor]:
    if what not in run.data.tags:
        return {}
    with store.artifact(run, f"{what}.safetensors") as path:
        return load_file(path)
