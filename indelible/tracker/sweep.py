"""A sweep: members in chunks through unlearning and factors into the store; resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from indelible import factors
from indelible.factors.family import Chunk, after, before, evaluate
from indelible.tracker.base_models import BaseRun
from indelible.tracker.notes import aggregates, sweep_note
from indelible.tracker.plan import Plan
from indelible.tracker.records import Finished, Record, code_version
from indelible.tracker.store import Store
from indelible.unlearning.algorithm import Algorithm
from indelible.unlearning.base import BaseModel
from indelible.unlearning.checkpoints import encode
from indelible.unlearning.engine import Status, unlearn

CHECKPOINT = "checkpoint.safetensors"
MEMORY = 2**30  # bytes that the stacked parameters and outputs of a chunk may take
LARGEST_CHUNK = 64  # more does not make a CPU faster


@dataclass(frozen=True)
class Options:
    """How a sweep is run, which changes nothing about its numbers.

    Attributes:
        chunk: members at a time; chosen by memory if None.
        checkpoints: whether every member's weights are kept.
    """

    chunk: int | None = None
    checkpoints: bool = True


def run(
    store: Store,
    base: BaseRun,
    plan: Plan,
    options: Options,
    on_progress: Callable[[int, str], None] = lambda members, doing: None,
) -> str:
    """Do what of the plan is not in the store yet; the id of the sweep's parent run.

    `on_progress` is told how many members were just finished, and with which algorithm.
    """
    experiment_id = store.experiment_id(base.dataset, base.arch)
    done = store.finished_members(plan.digest(algorithm) for algorithm in plan.algorithms)
    there = store.find_sweep(experiment_id, plan.sweep_key)
    if there is None:
        sweep_id = store.begin_sweep(experiment_id, _parent_record(base, plan), base.data)
    elif there.info.status == "FINISHED" and plan.keys() <= done.keys():
        on_progress(plan.size, "found")
        return str(there.info.run_id)
    else:
        sweep_id = store.resume_sweep(experiment_id, there)
    try:
        sweep = _Sweep(base, plan, options)
        for algorithm in plan.algorithms:
            missing = [s for s in plan.sample_ids if plan.key(algorithm, s) not in done]
            on_progress(len(plan.sample_ids) - len(missing), algorithm.name)
            for members in sweep.chunks(algorithm, missing):
                store.write_members(experiment_id, sweep_id, members)
                done |= {m.tags["key"]: Finished(m.tags["status"], m.metrics) for m in members}
                on_progress(len(members), algorithm.name)
    except BaseException:
        store.interrupt(sweep_id)
        raise
    outcome = aggregates(plan, done)
    store.close_sweep(sweep_id, outcome, sweep_note(base, plan, sweep_id, outcome))
    return sweep_id


class _Sweep:
    """What all chunks share: the base model and the `pre` factors of every sample."""

    def __init__(self, base: BaseRun, plan: Plan, options: Options) -> None:
        self.base, self.plan, self.options = base, plan, options
        self.families = factors.families()
        self.positions = base.model.dataset.train.positions(list(plan.sample_ids))
        self.pre: dict[str, Tensor] = {}

    def chunks(self, algorithm: Algorithm, sample_ids: list[int]) -> Iterator[list[Record]]:
        """The samples' records with one algorithm, a chunk at a time."""
        size = self.options.chunk or chunk_size(self.base.model)
        for start in range(0, len(sample_ids), size):
            yield self.chunk(algorithm, sample_ids[start : start + size])

    def chunk(self, algorithm: Algorithm, sample_ids: list[int]) -> list[Record]:
        """Unlearn, evaluate, compute the factors; one record a member."""
        if not self.pre:
            self.pre = before(self.base.model, self.families, self.positions)
        rows = [self.plan.sample_ids.index(sample) for sample in sample_ids]
        started = time.time_ns() // 1_000_000
        positions = self.positions[rows]
        unlearned = unlearn(self.base.model, algorithm, positions, self.plan.seed)
        chunk = evaluate(self.base.model, positions, unlearned)
        post = after(chunk, self.families)
        columns = {name: values[rows] for name, values in self.pre.items()} | post
        ended = time.time_ns() // 1_000_000
        return [
            Record(
                name=f"{algorithm.name}-{sample_id:05d}",
                params={
                    "algorithm": algorithm.name,
                    "seed": self.plan.seed,
                    **algorithm.settings(),
                },
                tags=self._tags(algorithm, sample_id, chunk, member),
                metrics=_defined({name: values[member].item() for name, values in columns.items()})
                | _defined({n: v[member].item() for n, v in unlearned.details.items()}),
                histories=_histories(chunk, member),
                artifacts=self._checkpoint(chunk, member) if self.options.checkpoints else {},
                started_ms=started,
                ended_ms=ended,
            )
            for member, sample_id in enumerate(sample_ids)
        ]

    def _tags(
        self, algorithm: Algorithm, sample_id: int, chunk: Chunk, member: int
    ) -> dict[str, str]:
        label = self.base.model.train_labels[chunk.positions[member]].item()
        return {
            "sample_id": str(sample_id),
            "label": str(label),
            "status": str(chunk.unlearned.status[member]),
            "key": self.plan.key(algorithm, sample_id),
            "code_version": code_version(),
        }

    def _checkpoint(self, chunk: Chunk, member: int) -> dict[str, bytes]:
        if chunk.unlearned.status[member] is Status.ALREADY_WRONG:
            return {}
        state = self.base.model.network.state_dict()
        result = state | chunk.unlearned.params_of(member)
        return {CHECKPOINT: encode(state, result, self.base.model.weights_sha256)}


def chunk_size(base: BaseModel) -> int:
    """How many members fit: parameters five times (with gradients and moments), and outputs."""
    weights = 5 * sum(p.numel() * p.element_size() for p in base.params.values())
    samples = len(base.train_labels) + len(base.test_labels)
    outputs = samples * base.train_logits.shape[1] * 24  # logits, and float64 twice
    return max(1, min(LARGEST_CHUNK, MEMORY // (weights + outputs)))


def _defined(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _histories(chunk: Chunk, member: int) -> dict[str, list[float]]:
    """p(x_f) and CE(x_f) after each step; the last point is the one that was evaluated."""
    unlearned = chunk.unlearned
    steps = int(unlearned.steps[member]) + 1
    prob = unlearned.forget_prob[member, :steps].tolist()
    loss = unlearned.forget_loss[member, :steps].tolist()
    if steps > 1:
        prob[-1] = chunk.forget_prob[member].item()
        loss[-1] = -chunk.forget_log_prob[member].item()
    return {"forget_prob": prob, "forget_loss": loss}


def _parent_record(base: BaseRun, plan: Plan) -> Record:
    now = time.time_ns() // 1_000_000
    return Record(
        name=plan.name,
        params={
            "dataset": base.dataset,
            "arch": base.arch,
            "base_run_id": base.run_id,
            "algorithms": ",".join(algorithm.name for algorithm in plan.algorithms),
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
        },
        tags={"key": plan.sweep_key, "code_version": code_version()},
        metrics={},
        artifacts={"plan.json": json.dumps(plan.as_json(), indent=1).encode()},
        started_ms=now,
        ended_ms=now,
    )
