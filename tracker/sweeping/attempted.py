"""Attempts that are in a store, and what they came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from factors.family import Column
from tracker.base.base_models import BaseRun
from tracker.record.records import Finished, Kind
from tracker.record.store import Store
from tracker.sweeping.calibration import Floats
from tracker.sweeping.choosing import draw_samples
from tracker.sweeping.plan import Plan
from unlearning.outcome import Status

MOST = 1000  # samples of a base model whose attempts are looked at
UNMEASURED = (Status.ALREADY_WRONG, Status.NON_FINITE)
FLIPPED = (Status.FLIPPED, Status.REWOUND)
MEASURED = ("steps", "test_prob_diff", "test_accuracy", "gt")  # factors that outcomes are made of


@dataclass(frozen=True)
class Attempt:
    """One attempt: whose, and what it came to.

    Attributes:
        sweep_id: the sweep whose child it is.
        outcome: `steps`, `prob_lost`, `points_lost`, `gt` and `flips` (0 or 1).
    """

    key: str
    sample_id: int
    sweep_id: str
    outcome: Mapping[str, float]


def alike(store: Store, base_run: BaseRun, plan: Plan) -> dict[str, tuple[Plan, ...]]:
    """The plan with other base models and seeds of which there are sweeps, by base model's run id.

    All else is the same: data, architecture, precision, the samples that stand for the remaining
    data, the algorithms' settings, and the version of the engine. The base model itself comes
    first, with the plan's own seed.
    """
    experiment = [store.experiment_id(base_run.dataset, base_run.arch)]
    seeds: dict[str, set[int]] = {base_run.run_id: {plan.seed}}
    for sweep in store.runs(experiment, f"tags.kind = '{Kind.SWEEP}'"):
        params = sweep.data.params
        seeds.setdefault(params["base_run_id"], set()).add(int(params["seed"]))
    weights = {base_run.run_id: base_run.weights_sha256}
    for run in store.finished_runs(Kind.BASE_MODEL):
        tags = run.data.tags
        same = tags.get("data_fingerprint") == plan.fingerprint
        if same and run.info.run_id in seeds and tags["weights_sha256"] not in weights.values():
            weights[run.info.run_id] = tags["weights_sha256"]
    return {
        base: tuple(replace(plan, weights_sha256=sha256, seed=s) for s in sorted(seeds[base]))
        for base, sha256 in weights.items()
    }


def attempts(
    store: Store, base_run: BaseRun, columns: Iterable[Column], members: Mapping[str, Finished]
) -> list[Attempt]:
    """What finished members (by key) from a base model came to, by key.

    Of more than MOST samples some are drawn. A member that came to nothing is left out: its base
    model was wrong, or a step was not finite.
    """
    done = measured(members)
    ids = sorted({sample_of(key) for key in done})
    chosen = set(draw_samples(ids, min(MOST, len(ids)), 0))
    keys = [key for key in sorted(done) if sample_of(key) in chosen]
    names = {c.name: c.metric for c in columns if c.name in MEASURED}
    run_ids = [done[key].run_id for key in keys]
    logged = {member.run_id: member.metrics for member in store.logged(run_ids, [])}
    accuracy = base_run.test_accuracy
    return [
        Attempt(
            key,
            sample_of(key),
            done[key].sweep_id,
            {
                **_outcome(logged.get(done[key].run_id, {}), names, accuracy),
                "flips": float(done[key].status in FLIPPED),
            },
        )
        for key in keys
    ]


def measured(members: Mapping[str, Finished]) -> dict[str, Finished]:
    """Those of members that came to something."""
    return {key: each for key, each in members.items() if each.status not in UNMEASURED}


def _outcome(
    metrics: Mapping[str, float], names: Mapping[str, str], accuracy: float
) -> dict[str, float]:
    steps, prob_lost, test_accuracy, gt = (metrics.get(names[n], np.nan) for n in MEASURED)
    lost = 100 * (accuracy - test_accuracy)
    return {"steps": steps, "prob_lost": prob_lost, "points_lost": lost, "gt": gt}


def sample_of(key: str) -> int:
    """Whose attempt a key is of."""
    return int(key.rpartition("-")[2])


def of(found: Sequence[Attempt], name: str) -> Floats:
    """One part of their outcomes, (n,)."""
    return np.array([attempt.outcome[name] for attempt in found], dtype=np.float64)
