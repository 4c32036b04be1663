"""A chunk of members: unlearned, evaluated, measured by the factors, and written as records."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlflow.entities import Run
from torch import Tensor

import factors
from factors.evaluation import Chunk, evaluate
from factors.family import post_values, versions
from tracker.base.base_models import BaseRun
from tracker.base.workers import Clock
from tracker.store.records import (
    KEPT_STEP,
    NOTE,
    PATH,
    VERSIONS,
    Record,
    as_tag,
    code_version,
    milliseconds,
)
from tracker.store.weights import file_name
from tracker.sweep.memory import halved
from tracker.sweep.notes import member_note
from tracker.sweep.plan import Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.checkpoints import encode
from unlearning.engine import unlearn
from unlearning.errors import Raised, Stopped
from unlearning.execution import Execution
from unlearning.models import weights_sha256
from unlearning.outcome import Status, Unlearned
from unlearning.version import VERSION

Work = tuple[Algorithm, list[int]]  # a chunk: an algorithm and sample ids

EXECUTION = "execution"  # the tag of a sweep that says how its members are executed


@dataclass(frozen=True)
class Checkpoint:
    """A member's weights as a difference to the base model's: the file, and the tags for it."""

    file: dict[str, bytes]
    tags: dict[str, str]

    @classmethod
    def of(
        cls, base: Mapping[str, Tensor], result: Mapping[str, Tensor], base_sha256: str
    ) -> Checkpoint:
        """The checkpoint of a state dict."""
        weights = weights_sha256(result)
        content = encode(base, result, base_sha256, weights)
        sha256 = hashlib.sha256(content).hexdigest()
        tags = {"checkpoint": sha256, "weights_sha256": weights}
        return cls({file_name("checkpoint", sha256): content}, tags)


@dataclass
class ChunkRunner:
    """Turns sample ids into records. One runner serves many threads, each with its own replica.

    Attributes:
        executions: how each algorithm's members are executed, by the algorithm's name.
        pre: the `pre` factors of samples by name, (samples,) each.
        checkpoints: whether the unlearned weights are wanted at all.
        samples: whose `pre` is, in order; those of the plan if None.
    """

    base_run: BaseRun
    plan: Plan
    executions: Mapping[str, Execution]
    pre: Mapping[str, Tensor]
    checkpoints: bool
    clock: Clock
    stop: Callable[[], bool]
    samples: Sequence[int] | None = None
    fitting: dict[str, int] = field(default_factory=dict)  # see `halved`

    def __post_init__(self) -> None:
        self.base = self.base_run.model
        self.metrics = {column.name: column.metric for column in self.plan.columns}
        samples = list(self.plan.sample_ids if self.samples is None else self.samples)
        self.rows = {sample: row for row, sample in enumerate(samples)}
        self.positions = self.base.dataset.train.positions(samples)

    def records(self, base: BaseModel, work: Work) -> list[Record]:
        """One record for each member. A chunk for which memory runs out is halved, later ones too.

        Args:
            base: the runner's base model or a replica of it.

        Raises Failure if one member alone does not fit, Stopped between two steps.
        """
        algorithm, sample_ids = work
        compute = partial(self._records, base, algorithm)
        return halved(compute, sample_ids, algorithm.name, self.fitting)

    def tried(self, base: BaseModel, work: Work) -> list[Record] | Raised:
        """The same; what an algorithm of somebody else's raises is returned, and others go on."""
        try:
            return self.records(base, work)
        except Raised as raised:
            own = (algorithms.REGISTRY.kind, work[0].name)
            if self.stop() or (raised.kind, raised.name) != own:
                raise
            return raised

    def _records(
        self, base: BaseModel, algorithm: Algorithm, sample_ids: list[int]
    ) -> list[Record]:
        started, plan = milliseconds(), self.plan
        rows = [self.rows[sample] for sample in sample_ids]
        positions, execution = self.positions[rows], self.executions[algorithm.name]
        with self.clock.of("compute"):
            found = unlearn(base, algorithm, positions, plan.seed, execution, self.stop)
        if self.stop():
            raise Stopped
        with self.clock.of("evaluate"):
            seen = base.some(plan.remaining_count)
            chunk = evaluate(base, positions.to(base.device), found, seen)
        with self.clock.of("factors"):
            columns = {name: values[rows] for name, values in self.pre.items()}
            columns |= post_values(chunk, plan.families)
        histories = [_histories(chunk, member) for member in range(len(sample_ids))]
        unlearned = found.cpu()
        del chunk, found  # what they have on a device
        metrics = {self.metrics[name]: values.tolist() for name, values in columns.items()}
        for name, values in unlearned.details.items():
            metrics[f"{algorithm.name}/{name}"] = values.tolist()
        tags = [
            self._tags(algorithm, *each, unlearned, member)
            for member, each in enumerate(zip(sample_ids, positions.tolist(), strict=True))
        ]
        files: list[Mapping[str, bytes]] = [{} for _ in sample_ids]
        if self.checkpoints:
            with self.clock.of("checkpoints"):
                for member, status in enumerate(unlearned.status):
                    if status is not Status.ALREADY_WRONG:  # else nothing was run
                        checkpoint = self._checkpoint(unlearned.state_of(member))
                        tags[member] |= checkpoint.tags
                        files[member] = checkpoint.file
        took = _own_times(milliseconds() - started, unlearned.elapsed_s.tolist())
        return [
            Record(
                name=f"{algorithm.name}-{sample_id:05d}",
                params={  # no setting may have one of these names: `PARAMS`
                    "algorithm": algorithm.name,
                    "seed": plan.seed,
                    "engine_version": VERSION,
                    "precision": plan.precision,
                    **algorithm.settings(),
                },
                tags=tags[member],
                metrics={n: v[member] for n, v in metrics.items() if not math.isnan(v[member])},
                histories=histories[member],
                artifacts=files[member],
                started_ms=started,
                ended_ms=started + took[member],
            )
            for member, sample_id in enumerate(sample_ids)
        ]

    def _tags(
        self,
        algorithm: Algorithm,
        sample_id: int,
        position: int,
        unlearned: Unlearned,
        member: int,
    ) -> dict[str, str]:
        plan, train = self.plan, self.base.dataset.train
        status, path = unlearned.status[member], train.path_of(sample_id)
        kept, last = int(unlearned.kept[member]), int(unlearned.steps[member])
        return {
            "sample_id": str(sample_id),
            "split_position": str(position),
            "label": str(int(train.labels[position])),
            **({} if path is None else {PATH: path}),
            "status": str(status),
            "key": plan.key(algorithm, sample_id),
            "code_version": code_version(),
            VERSIONS: as_tag(versions(plan.families, self.base.companions, sample_id)),
            **({} if kept == last else {KEPT_STEP: str(kept)}),
            **plan.providers_of([algorithm]),
            NOTE: member_note(self.base_run, plan, algorithm, sample_id, status, last, kept),
        }

    def _checkpoint(self, state: Mapping[str, Tensor]) -> Checkpoint:
        """The checkpoint of a member, by its weights in main memory."""
        base_run, network = self.base_run, self.base.network
        whole = self.base.once(
            "chunks/state", lambda: {n: tensor.cpu() for n, tensor in network.state_dict().items()}
        )
        return Checkpoint.of(base_run.weights, {**whole, **state}, base_run.weights_sha256)


def executions_of(sweep: Run) -> dict[str, Execution]:
    """How each algorithm's members are executed: as it was chosen when the sweep was begun."""
    said = json.loads(sweep.data.tags.get(EXECUTION, "{}"))
    return {name: Execution(how) for name, how in said.items()}


def _own_times(chunk_ms: int, elapsed_s: Sequence[float]) -> list[int]:
    """How long each member took, in milliseconds; together they take as long as their chunk.

    Args:
        chunk_ms: from the first step to the last factor.
        elapsed_s: of each member, its share of the steps; what is left is shared out evenly.
    """
    rest = max(0.0, chunk_ms / 1000 - sum(elapsed_s)) / len(elapsed_s)
    return [round(1000 * (own + rest)) for own in elapsed_s]


def _histories(chunk: Chunk, member: int) -> dict[str, list[float]]:
    """p(x_f) and CE(x_f) after each step; those of the kept step come from the evaluation."""
    unlearned = chunk.unlearned
    steps = int(unlearned.steps[member]) + 1
    prob = unlearned.forget_prob[member, :steps].tolist()
    loss = unlearned.forget_loss[member, :steps].tolist()
    kept = int(unlearned.kept[member])
    if kept:
        prob[kept] = chunk.forget_prob[member].item()
        loss[kept] = -chunk.forget_log_prob[member].item()
    return dict(zip(factors.HISTORIES, (prob, loss), strict=True))
