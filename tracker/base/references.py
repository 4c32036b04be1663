"""Reference models: trained by the base model's recipe, each on a random part of the data.

Kept is what they say of the training samples, not their weights: these follow from the numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tracker.base.parts import REFERENCES, Progress, Question, Table, answers, known
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.records import Run, read_tag
from unlearning import models
from unlearning.base_model import BaseModel, logits
from unlearning.errors import UserError
from unlearning.losses import log_odds, wide
from unlearning.recipe import SEEDS, Recipe
from unlearning.references import References
from unlearning.training import Subsets, train_on
from unlearning.version import VERSION

if TYPE_CHECKING:
    from tracker.store.write import Store

SHARE = 0.75  # of the training samples that a reference model sees, where nothing else is said
ACCURACY = "reference/test_accuracy"  # metric: the mean over reference models
SECONDS = "reference/seconds"  # metric: what one training on all of the data would take
NAMES = ("included", "phi", "correct", "test_phi", "test_accuracy")  # what is kept of each


@dataclass(frozen=True)
class Making:
    """How reference models are made: all are alike but for weights, batches and samples.

    Attributes:
        recipe: the base model's; an imported one's is given. share: of the samples that each sees.
    """

    arch: str
    recipe: Recipe
    share: float = SHARE

    @property
    def version(self) -> str:
        """The version of what they say, from which `read` reads how they are made."""
        return f"{VERSION} {json.dumps({**asdict(self.recipe), 'share': self.share})}"

    @classmethod
    def read(cls, arch: str, version: str) -> Making | None:
        """How models are made of which a tag tells; None for those of another engine."""
        engine, _, settings = version.partition(" ")
        if engine != str(VERSION):
            return None
        told = json.loads(settings)
        share = told.pop("share")
        return cls(arch, Recipe(**told), share)

    def model(
        self, base: BaseModel, number: int, stop: Callable[[], bool] = lambda: False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The positions (S,) that a reference model sees, and its parameters and buffers.

        All follow from recipe, share and number. Raises Stopped when `stop` says so.
        """
        chance, size = np.random.default_rng([4, self.recipe.seed, number]), len(base.train_labels)
        seen = np.sort(chance.permutation(size)[: round(self.share * size)])
        recipe = replace(self.recipe, seed=int(chance.integers(SEEDS)))
        network = models.build(self.arch, base.dataset, recipe.seed)
        network = network.to(base.device, base.train_inputs.dtype)
        subset = Subsets(torch.from_numpy(seen)[None])
        data = network, base.train_inputs, base.train_labels
        states = train_on(subset, *data, recipe, stop)
        return subset.positions[0], {name: stacked[0] for name, stacked in states.items()}


def making(store: Store, run: Run) -> Making | None:
    """How the reference models of a base model are made; None where it has none."""
    for said in REFERENCES.names(run.tags).values():
        found = Making.read(run.params["arch"], read_tag(said).get(REFERENCES.kind, ""))
        if found is not None:
            return found
    return None


def read(store: Store, run: Run) -> References | None:
    """What the reference models of a base model say; None where it has none.

    Raises Damaged where a part of it is.
    """
    how = making(store, run)
    if how is None:
        return None
    rows = known(store, run, REFERENCES, _of_references(how), strict=True)
    numbers = sorted(rows["phi"])
    if not numbers:
        return None
    seen, phi, correct, test_phi = (
        torch.stack([rows[name][k] for k in numbers]) for name in NAMES[:-1]
    )
    return References(seen, phi, correct, test_phi)


def refer(
    store: Store,
    run_id: str,
    base: BaseModel,
    how: Making,
    count: int,
    on_progress: Progress,
    engine: Engine = THREADS,
) -> float:
    """Train those of `count` reference models that are not there yet; their mean test accuracy.

    Raises UserError where the base model has reference models that were made otherwise.
    """
    there = making(store, store.run(run_id))
    if there is not None and there != how:
        raise UserError(
            f"base model {run_id} has reference models of another recipe or share, "
            f"{there.version.partition(' ')[2]}: give the same, or none"
        )
    stop = Stop()
    seconds = list[float]()
    asked = (store, run_id, REFERENCES, _of_references(how, stop, seconds), range(count))
    pool = partial(engine.pool, base, stop)
    rows = answers(*asked, pool, 1, on_progress, "reference models")
    mean = fmean(rows["test_accuracy"].values())
    took = {SECONDS: fmean(seconds) / how.share} if seconds else {}
    store.note_metrics(run_id, {ACCURACY: mean, **took})
    return mean


def _of_references(
    how: Making, stop: Stop | None = None, seconds: list[float] | None = None
) -> dict[str, Question]:
    """What is kept of reference models, by their numbers.

    Args:
        seconds: of each training are appended, where this process trains.
    """
    stop, took = stop or Stop(), [] if seconds is None else seconds

    def compute(base: BaseModel, numbers: list[int]) -> Table:
        rows = []
        for number in numbers:
            started = time.perf_counter()
            positions, state = how.model(base, number, stop.is_set)
            took.append(time.perf_counter() - started)
            model, labels = base.model.at(state), base.train_labels
            seen = torch.zeros(len(labels), dtype=torch.bool)
            seen[positions] = True
            train, test = logits(model, base.train_inputs), logits(model, base.test_inputs)
            right = wide(test.argmax(dim=1) == base.test_labels).mean()
            correct, test_phi = train.argmax(dim=1) == labels, log_odds(test, base.test_labels)
            rows.append([seen, log_odds(train, labels), correct, test_phi, right])
        columns = (torch.stack([part.cpu() for part in each]) for each in zip(*rows, strict=True))
        return dict(zip(NAMES, columns, strict=True))

    return {REFERENCES.kind: Question(NAMES, lambda ids: how.version, compute)}
