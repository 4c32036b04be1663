"""Deletion requests: samples that one model is to forget, all of them, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch

from tracker.base.base_models import BaseRun
from tracker.base.beforehand import forecasts
from tracker.base.workers import Engine, Stop
from tracker.store.records import sha256_of
from tracker.store.write import Store
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.several import refuse_unable


class Order(StrEnum):
    """In which order samples are unlearned."""

    GIVEN = "given"
    EASY = "easy"  # the highest predicted GT first
    HARD = "hard"  # the lowest first
    TOGETHER = "together"  # all at once


@dataclass(frozen=True)
class Requests:
    """What is to be forgotten, and how.

    Attributes:
        plan: base model, one algorithm, samples, seed and preset, as of a sweep of these samples.
        order: of the steps.
        rounds: passes over the requests, at most: those that later steps made remembered again
            are unlearned once more.

    Raises UserError where the algorithm cannot do them in that order.
    """

    plan: Plan
    order: Order
    rounds: int

    def __post_init__(self) -> None:
        if self.order is Order.TOGETHER:
            refuse_unable(self.algorithm)
        elif self.algorithm.is_exact:
            raise UserError(
                f"{self.algorithm.name} trains a model without all of them, in one go: give "
                "--order together"
            )

    @property
    def algorithm(self) -> Algorithm:
        """The one that unlearns."""
        return self.plan.algorithms[0]

    @property
    def key(self) -> str:
        """The same for the same requests."""
        ids = self.plan.sample_ids
        ordered = list(ids) if self.order is Order.GIVEN else sorted(ids)
        digest = self.plan.digest(self.algorithm)
        return sha256_of(digest, str(self.order), self.rounds, ordered)[:32]


def in_order(
    store: Store,
    base_run: BaseRun,
    requests: Requests,
    engine: Engine,
    say: Callable[[str], None] = lambda line: None,
) -> list[int]:
    """The sample ids in the order of the steps.

    Easy and hard are told by the GT that the index (`factors.index`) predicts from the base model.
    Equal ones come by their ids, and those of which it says nothing last.

    Raises UserError where the index knows nothing of the algorithm.
    """
    if requests.order not in (Order.EASY, Order.HARD):
        return list(requests.plan.sample_ids)
    say("finding out which requests are easy ...")
    ids, wrong = sorted(requests.plan.sample_ids), misclassified(base_run.model)
    with engine.pool(base_run.model, Stop()) as pool:
        gt = forecasts(store, base_run, requests.algorithm, ids, pool)["gt"]
    if gt.isnan().all() and not wrong.issuperset(ids):
        raise UserError(
            f"which samples are easy for {requests.algorithm.name} is not known beforehand: give "
            "--order given"
        )
    key = -gt if requests.order is Order.EASY else gt
    places = torch.argsort(key.nan_to_num(torch.inf), stable=True)
    return [ids[place] for place in places.tolist()]
