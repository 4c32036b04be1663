"""Attempts that are in a store, and what they came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tracker.base.base_models import BaseRun
from tracker.store.write import Store
from tracker.studies.calibration import Floats
from tracker.sweep.choosing import draw_samples
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.outcome import Status

MOST = 1000  # samples of a base model whose attempts are looked at
UNMEASURED = (Status.ALREADY_WRONG, Status.NON_FINITE)
MEASURED = ("steps", "test_prob_diff", "test_accuracy", "gt")  # factors that outcomes are made of


@dataclass(frozen=True)
class Attempted:
    """Attempts of one algorithm that came to something; of many some.

    Attributes:
        keys: of the attempts. sample_ids: whose they are.
        outcomes: what they came to: `steps`, `prob_lost`, `points_lost`, `gt`, and whether each
            `flips`, (n,) each.
        samples: all that were attempted, these and more.
    """

    keys: tuple[str, ...]
    sample_ids: tuple[int, ...]
    outcomes: Mapping[str, Floats]
    samples: frozenset[int]


def attempted(store: Store, base_run: BaseRun, plan: Plan, algorithm: Algorithm) -> Attempted:
    """What is in the store of an algorithm, done as the plan wants it.

    Of more than MOST samples some are drawn. A member that came to nothing is left out: its base
    model was wrong, or a step was not finite.
    """
    members = store.finished_members([plan.digest(algorithm)])
    done = {key: each for key, each in members.items() if each.status not in UNMEASURED}
    ids = sorted({_sample_of(key) for key in done})
    chosen = set(draw_samples(ids, min(MOST, len(ids)), 0))
    keys = [key for key in sorted(done) if _sample_of(key) in chosen]
    run_ids = [done[key].run_id for key in keys]
    logged = {member.run_id: member.metrics for member in store.logged(run_ids, [])}
    names = {c.name: c.metric for c in plan.columns if c.name in MEASURED}
    steps, prob_lost, test_accuracy, gt = (
        np.array([logged.get(run_id, {}).get(names[n], np.nan) for run_id in run_ids])
        for n in MEASURED
    )
    points_lost = 100 * (base_run.test_accuracy - test_accuracy)
    flips = np.array([done[key].status == Status.FLIPPED for key in keys], dtype=float)
    return Attempted(
        tuple(keys),
        tuple(map(_sample_of, keys)),
        {
            "steps": steps,
            "prob_lost": prob_lost,
            "points_lost": points_lost,
            "gt": gt,
            "flips": flips,
        },
        frozenset(map(_sample_of, members)),
    )


def _sample_of(key: str) -> int:
    return int(key.rpartition("-")[2])
