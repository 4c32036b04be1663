"""A chunk of members: unlearned, evaluated, measured by the factors, and written as records."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

import factors
from factors.evaluation import Chunk, evaluate
from factors.family import post_values, versions
from tracker.base.base_models import BaseRun
from tracker.base.workers import Clock
from tracker.store.records import (
    AVERAGED,
    COMMAND,
    FLIPPED_TO,
    KEPT_STEP,
    NOTE,
    PATH,
    POINTS_LOST,
    READ,
    VERSIONS,
    Record,
    Run,
    as_tag,
    code_version,
    milliseconds,
)
from tracker.store.weights import file_name
from tracker.sweep.memory import chunk_size, halved
from tracker.sweep.plan import Plan
from tracker.sweep.summary import member_command, member_note, points_lost
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
# Metrics that MLflow's page of a member begins with: it has them in the order of writing.
FIRST = (AVERAGED["gt"], READ["z"], POINTS_LOST, AVERAGED["test_accuracy"], AVERAGED["steps"])
CHUNKS = "chunk_sizes"  # the tag of a sweep with the size of each algorithm's chunks


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

    def __post_init__(self) -> None:
        self.base = self.base_run.model
        self.metrics = {column.name: column.metric for column in self.plan.columns}
        samples = list(self.plan.sample_ids if self.samples is None else self.samples)
        self.rows = {sample: row for row, sample in enumerate(samples)}
        self.positions = self.base.dataset.train.positions(samples)

    def records(self, base: BaseModel, work: Work) -> list[Record]:
        """One record for each member. A chunk for which memory runs out is halved.

        Args:
            base: the runner's base model or a replica of it.

        Raises Failure if one member alone does not fit, Stopped between two steps.
        """
        algorithm, sample_ids = work
        return halved(partial(self._records, base, algorithm), sample_ids, algorithm.name)

    def tried(self, base: BaseModel, work: Work) -> list[Record] | Raised:
        """The same; what an algorithm of somebody else's raises is returned, and others go on."""
        try:
            return self.records(base, work)
        except Raised as raised:
            own = (algorithms.REGISTRY.kind, work[0].name)
            if self.stop() or (raised.kind, raised.name) != own:
                raise
            return raised

    def sizes(self, kept: Mapping[str, str], room: float) -> dict[str, int]:
        """How many members of each algorithm a worker computes at a time, by its name.

        Args:
            kept: the sizes of the chunks when the sweep was begun, on which last bits depend: there
                are no larger ones. room: bytes that the chunk of one worker may take.
        """
        found = dict[str, int]()
        for algorithm in self.plan.algorithms:
            name, remaining = algorithm.name, self.plan.remaining_count
            size = chunk_size(self.base, algorithm, self.executions[name], remaining, room)
            found[name] = min(size, int(kept.get(name, size)))
        return found

    def _records(
        self, base: BaseModel, algorithm: Algorithm, sample_ids: list[int]
    ) -> list[Record]:
        started, plan, train = milliseconds(), self.plan, self.base.dataset.train
        rows = [self.rows[sample] for sample in sample_ids]
        positions, execution = self.positions[rows], self.executions[algorithm.name]
        with self.clock.of("compute"):
            target = None if plan.references is None else base.targets(positions)
            found = unlearn(base, algorithm, positions, plan.seed, execution, self.stop, target)
        if self.stop():
            raise Stopped
        with self.clock.of("evaluate"):
            seen = base.some(plan.remaining_count)
            chunk = evaluate(base, positions.to(base.device), found, seen)
        with self.clock.of("factors"):
            columns = post_values(chunk, plan.families)
            columns |= {name: values[rows] for name, values in self.pre.items()}
        histories = [_histories(chunk, member) for member in range(len(sample_ids))]
        flipped_to = chunk.flipped_to
        unlearned = found.cpu()
        del chunk, found  # what they have on a device
        metrics = self._metrics(columns)
        for name, values in unlearned.details.items():
            metrics[f"{algorithm.name}/{name}"] = values.tolist()
        with self.clock.of("checkpoints"):
            checkpoints = [self._checkpoint(unlearned, member) for member in range(len(sample_ids))]
        own = unlearned.elapsed_s.tolist()  # of the steps; all other time is shared out evenly
        rest = max(0.0, (milliseconds() - started) / 1000 - sum(own)) / len(own)
        records = []
        for member, sample_id in enumerate(sample_ids):
            position = int(positions[member])
            status, path = unlearned.status[member], train.path_of(sample_id)
            kept, last = int(unlearned.kept[member]), int(unlearned.steps[member])
            note = member_note(self.base_run, plan, algorithm, sample_id, status, last, kept)
            records.append(
                Record(
                    name=f"{algorithm.name}-{sample_id:05d}",
                    params={  # no setting may have one of these names: `PARAMS`
                        "algorithm": algorithm.name,
                        "seed": plan.seed,
                        "engine_version": VERSION,
                        "precision": plan.precision,
                        **({"until": plan.until} if plan.references else {}),
                        **algorithm.settings(),
                    },
                    tags={  # in this order MLflow shows them
                        "status": str(status),
                        **({} if (to := flipped_to[member]) is None else {FLIPPED_TO: str(to)}),
                        **({} if kept == last else {KEPT_STEP: str(kept)}),
                        "sample_id": str(sample_id),
                        "label": str(int(train.labels[position])),
                        **({} if path is None else {PATH: path}),
                        "split_position": str(position),
                        **plan.providers_of([algorithm]),
                        NOTE: note,
                        COMMAND: member_command(self.base_run, plan, algorithm, sample_id),
                        "code_version": code_version(),
                        "key": plan.key(algorithm, sample_id),
                        VERSIONS: as_tag(versions(plan.families, self.base.companions, sample_id)),
                        **checkpoints[member].tags,
                    },
                    metrics={n: v[member] for n, v in metrics.items() if not math.isnan(v[member])},
                    histories=histories[member],
                    artifacts=checkpoints[member].file,
                    started_ms=started,
                    ended_ms=started + round(1000 * (own[member] + rest)),
                )
            )
        return records

    def _metrics(self, columns: Mapping[str, Tensor]) -> dict[str, list[float]]:
        """The metrics of members (K), by the factors' columns, in the order of MLflow's page."""
        numbers = {self.metrics[name]: values.tolist() for name, values in columns.items()}
        before, after = self.base_run.test_accuracy, numbers[AVERAGED["test_accuracy"]]
        numbers[POINTS_LOST] = [points_lost(before, accuracy) for accuracy in after]
        return {name: numbers[name] for name in (*FIRST, *numbers) if name in numbers}

    def _checkpoint(self, unlearned: Unlearned, member: int) -> Checkpoint:
        """The checkpoint of a member, by its weights in main memory; empty if none is wanted."""
        if not self.checkpoints or unlearned.status[member] is Status.ALREADY_WRONG:
            return Checkpoint({}, {})
        base_run, network = self.base_run, self.base.network
        whole = self.base.once(
            "chunks/state", lambda: {n: tensor.cpu() for n, tensor in network.state_dict().items()}
        )
        state = {**whole, **unlearned.state_of(member)}
        return Checkpoint.of(base_run.weights, state, base_run.weights_sha256)


def executions_of(sweep: Run) -> dict[str, Execution]:
    """How each algorithm's members are executed: as it was chosen when the sweep was begun."""
    said = json.loads(sweep.tags.get(EXECUTION, "{}"))
    return {name: Execution(how) for name, how in said.items()}


def is_the_same(before: Run, record: Record) -> bool:
    """Whether a member came to the weights that its run already has.

    Where no checkpoint was wanted the run has no digest of its weights. Then the steps and the
    final values of the curves have to be equal.
    """
    if (sha256 := before.tags.get("weights_sha256")) is not None:
        return sha256 == record.tags["weights_sha256"]
    steps = AVERAGED["steps"]
    return before.metrics.get(steps) == record.metrics.get(steps) and all(
        before.metrics.get(point.key) == point.value for point in record.final
    )


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
