"""Deletion requests: samples that one model is to forget, all of them, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch

from tracker.base.base_models import BaseRun
from tracker.base.beforehand import forecasts
from tracker.base.workers import Engine, Stop
from tracker.store.files import Damaged
from tracker.store.records import sha256_of
from tracker.store.write import Store
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.several import refuse_unable

REQUESTS = "requests.json"  # the artifact of an unlearning that says what is asked for


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
        plan: base model, algorithm, samples, seed and preset, as of a sweep of these samples.
        order: of the steps; the plan has the samples in this order.
        rounds: passes over the requests, at most: those that later steps made remembered again
            are unlearned once more.
        key: the same for the same requests.
    """

    plan: Plan
    order: Order
    rounds: int
    key: str

    @classmethod
    def of(cls, plan: Plan, order: Order, rounds: int) -> Requests:
        """Requests whose samples are as they were given.

        Raises UserError where the algorithm cannot do them in that order.
        """
        (algorithm,) = plan.algorithms
        if order is Order.TOGETHER:
            refuse_unable(algorithm)
        elif algorithm.is_exact:
            raise UserError(
                f"{algorithm.name} trains a model without all of them, in one go: give --order "
                "together"
            )
        ids = plan.sample_ids if order is Order.GIVEN else sorted(plan.sample_ids)
        key = sha256_of(plan.digest(algorithm), str(order), rounds, list(ids))[:32]
        return cls(plan, order, rounds, key)

    @property
    def algorithm(self) -> Algorithm:
        """The one that unlearns."""
        return self.plan.algorithms[0]

    @property
    def is_predicted(self) -> bool:
        """Whether the order of the steps follows from a prediction."""
        return self.order in (Order.EASY, Order.HARD)

    def ids(self) -> list[int]:
        """The samples, in the order of their ids."""
        return sorted(self.plan.sample_ids)

    def with_order(self, sample_ids: Sequence[int]) -> Requests:
        """The same requests with the samples in the order of the steps."""
        return replace(self, plan=replace(self.plan, sample_ids=tuple(sample_ids)))

    def as_json(self) -> dict[str, Any]:
        """All that is asked for, as plain values."""
        return {**self.plan.as_json(), "order": str(self.order), "rounds": self.rounds}


def in_order(
    store: Store,
    base_run: BaseRun,
    requests: Requests,
    engine: Engine,
    progress: Callable[[int, str], None] = lambda samples, doing: None,
) -> list[int]:
    """The sample ids in the order of the steps.

    Easy and hard are told by the index, see `factors.index`: by the GT that it predicts from the
    base model. Equal ones come by their ids, and those of which it says nothing last.

    Raises UserError where the index knows nothing of the algorithm.
    """
    ids = list(requests.plan.sample_ids)
    if not requests.is_predicted:
        return ids
    ids, wrong = sorted(ids), misclassified(base_run.model)
    with engine.pool(base_run.model, Stop()) as pool:
        gt = forecasts(store, base_run, requests.algorithm, ids, pool, progress)["gt"]
    if gt.isnan().all() and not wrong.issuperset(ids):
        raise UserError(
            f"which samples are easy for {requests.algorithm.name} is not known beforehand: give "
            "--order given"
        )
    key = -gt if requests.order is Order.EASY else gt
    places = torch.argsort(key.nan_to_num(torch.inf), stable=True)
    return [ids[place] for place in places.tolist()]


def read_order(content: bytes | None, whose: str, ids: Sequence[int]) -> list[int]:
    """The order of the steps that an unlearning was begun with.

    Args:
        ids: of the samples. whose: the id of its run, for the message.

    Raises Damaged where it is not that.
    """
    try:
        order = json.loads(content or b"")["sample_ids"]
        if sorted(order) == sorted(ids):
            return list(order)
    except (ValueError, TypeError, KeyError):
        pass
    raise Damaged(
        f"{REQUESTS} of unlearning {whose} is lost or damaged: delete that run in MLflow, and call "
        "the same command again"
    )
