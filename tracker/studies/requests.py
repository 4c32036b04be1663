"""Deletion requests: samples that one model is to forget, all of them, how, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor

from tracker.store.records import sha256_of
from tracker.sweep.plan import FLIP, Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.several import refuse_unable

RETRAIN = "retrain"  # the algorithm that is exact, and the last resort
USUAL = "matching"  # the one that is taken where none is named, at several learning rates
RATES = (1 / 3, 1.0, 3.0)  # of its usual one
VERSION = 2  # of what an unlearning comes to and keeps


class Order(StrEnum):
    """In which order samples are unlearned."""

    GIVEN = "given"
    TOGETHER = "together"  # all at once


@dataclass(frozen=True)
class Earlier:
    """An unlearning that another one goes on from: its key, requests, weights and record."""

    key: str
    sample_ids: tuple[int, ...]
    state: Mapping[str, Tensor] = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Requests:
    """What is to be forgotten, and how.

    Attributes:
        plans: a plan a trial, of base model, an algorithm, the samples, seed and preset, as of a
            sweep of these samples. The trial that loses the least of those that forget all is kept.
        orders: of the steps of each.
        rounds: passes over the requests, at most: those that later steps made remembered again
            are unlearned once more.
        max_loss: percentage points of test accuracy that it may cost.
        last: the plan of training a model without the requests, where no trial does it; None where
            that cannot be. is_compared: whether that model is trained in any case.
        earlier: what it goes on from; from the base model if None.

    Raises UserError where an algorithm cannot do them in its order.
    """

    plans: tuple[Plan, ...]
    orders: tuple[Order, ...]
    rounds: int
    max_loss: float
    last: Plan | None = None
    is_compared: bool = False
    earlier: Earlier | None = None

    def __post_init__(self) -> None:
        for plan, order in zip(self.plans, self.orders, strict=True):
            algorithm = plan.algorithms[0]
            if order is Order.TOGETHER:
                refuse_unable(algorithm)
            elif algorithm.is_exact:
                raise UserError(
                    f"{algorithm.name} trains a model without all of them, in one go: give "
                    "--order together"
                )

    @property
    def sample_ids(self) -> tuple[int, ...]:
        """Of all requests, the earlier ones first."""
        return self.plans[0].sample_ids

    @property
    def until(self) -> str:
        """What is asked of a request: another prediction, or to stand where the reference does."""
        return self.plans[0].until

    @property
    def algorithms(self) -> list[str]:
        """The names of the algorithms that are tried, each once."""
        return [*dict.fromkeys(plan.algorithms[0].name for plan in self.plans)]

    @property
    def key(self) -> str:
        """The same for the same requests."""
        ids, orders = self.sample_ids, [str(order) for order in dict.fromkeys(self.orders)]
        ordered = list(ids) if orders == [Order.GIVEN] else sorted(ids)
        digests = [plan.digest(plan.algorithms[0]) for plan in self.plans]
        more = list[object]()
        if self.until != FLIP:
            more += [self.max_loss, self.last is not None]
        more += [self.is_compared] if self.is_compared else []
        more += [self.earlier.key] if self.earlier else []
        return sha256_of(VERSION, *digests, *orders, self.rounds, ordered, *more)[:32]


def at_rates(algorithm: Algorithm) -> list[Algorithm]:
    """The algorithm at several learning rates, RATES times its own."""
    own = algorithm.settings()
    return [type(algorithm).from_text({**own, "lr": float(own["lr"]) * k}) for k in RATES]


def order_of(algorithm: Algorithm, asked: str | None, until: str) -> Order:
    """The order that is asked for; else all at once where that can be, but not until the flip."""
    if asked is not None:
        return Order(asked)
    is_set = algorithm.is_exact or (until != FLIP and algorithm.takes_sets)
    return Order.TOGETHER if is_set else Order.GIVEN


def retraining() -> Algorithm:
    """The algorithm that trains a model without the requests."""
    return algorithms.get(RETRAIN)()
