"""Deletion requests: samples that one model is to forget, in an order, and what became of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd
import torch

from tracker.base.base_models import BaseRun
from tracker.base.forecasts import forecasts
from tracker.base.workers import Engine, Stop
from tracker.store.artifacts import Artifacts, Damaged
from tracker.store.records import sha256_of
from tracker.store.store import Store
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.outcome import Status
from unlearning.several import refuse_unable

REQUESTS = "requests.json"  # the artifact of an unlearning with its requests
TABLE = "requests.csv"  # the one with its rows
TAG = "requests_sha256"  # of its run: the SHA-256 of the table

FORGOTTEN, REMEMBERED, NEVER = "forgotten", "remembered", "never_seen"
WRONG, MISCLASSIFIED = str(Status.ALREADY_WRONG), "misclassified"
ENDS = (FORGOTTEN, MISCLASSIFIED, REMEMBERED, WRONG, NEVER)


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


def in_order(
    store: Store,
    base_run: BaseRun,
    requests: Requests,
    engine: Engine,
    progress: Callable[[int, str], None] = lambda samples, doing: None,
) -> list[int]:
    """The sample ids in the order of the steps.

    Easy and hard are told by the GT that the index (`factors.index`) predicts from the base model.
    Equal ones come by their ids, and those of which it says nothing last.

    Raises UserError where the index knows nothing of the algorithm.
    """
    if not requests.is_predicted:
        return list(requests.plan.sample_ids)
    ids, wrong = requests.ids(), misclassified(base_run.model)
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


@dataclass(frozen=True)
class Row:
    """What became of a request.

    Attributes:
        ended: FORGOTTEN: it is predicted otherwise than by the base model; MISCLASSIFIED: so it is,
            but after steps for others alone; REMEMBERED; WRONG: the base model got it wrong, and
            nothing was unlearned; or NEVER: the model was trained without it.
        is_wrong_now: whether its prediction is not its label now, whatever the base model said.
        rounds, steps: that it took part in, and steps that were taken in these; of several samples
            at once, those of all of them.
        points_lost: by these steps, percentage points of test accuracy; of steps for several
            samples at once it is nobody's.
        forget_prob: p of its label, of the last weights. sample_path: of its file, if it has one.
    """

    sample_id: int
    label: int
    ended: str
    is_wrong_now: bool
    rounds: int
    steps: int
    points_lost: float | None
    forget_prob: float
    sample_path: str | None


def as_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a file."""
    has_returns = any("\r" in (row.sample_path or "") for row in rows)  # which csv leaves bare
    quoting = csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL
    frame = pd.DataFrame([*map(vars, rows)])
    text: str = frame.to_csv(index=False, lineterminator="\n", quoting=quoting)
    return text.encode()


def read_rows(
    artifacts: Artifacts, uri: str, run_id: str, tags: Mapping[str, str]
) -> tuple[Row, ...]:
    """The rows of a finished unlearning, in the order of its steps.

    Raises Damaged if the file is lost, or is not what was written.
    """
    lost = "delete that run in MLflow, and call the same command again"
    try:
        content = artifacts.checked(uri, TABLE, tags.get(TAG, ""), lost)
    except Damaged as damage:
        raise Damaged(f"of unlearning {run_id}, {damage}") from damage
    lines = csv.DictReader(io.StringIO(content.decode()))
    return tuple(Row(**{n: READ.get(n, str)(text) for n, text in line.items()}) for line in lines)


READ: Mapping[str, Callable[[str], Any]] = {  # what a column's text means
    **dict.fromkeys(("sample_id", "label", "rounds", "steps"), int),
    "is_wrong_now": "True".__eq__,
    "points_lost": lambda text: float(text) if text else None,
    "forget_prob": float,
    "sample_path": lambda text: text or None,
}
