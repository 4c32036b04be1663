"""A chunk of members: unlearned, evaluated, measured by the factors, and written as records."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from mlflow.entities import Run
from torch import Tensor, nn

import factors
from factors.evaluation import Chunk, evaluate
from factors.family import post_values
from factors.versions import versions
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
from tracker.sweep.notes import ending, member_note
from tracker.sweep.plan import Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BLOCK, BaseModel
from unlearning.checkpoints import encode
from unlearning.engine import unlearn
from unlearning.errors import Failure, Raised, Stopped, UserError, words_of
from unlearning.execution import Execution
from unlearning.memory import CPU_SHARE, Memory, activations, is_told, size_of
from unlearning.models import weights_sha256
from unlearning.outcome import Status, Unlearned
from unlearning.version import VERSION

Work = tuple[Algorithm, list[int]]  # a chunk: an algorithm and sample ids
Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTION = "execution"  # the tag of a sweep that says how its members are executed
SURELY = 2  # times that what is counted may be more than what is taken
LARGEST_COUNT = 2**20  # of workers, which no machine has
LARGEST_CHUNK = 32  # more members at a time are not faster on a CPU


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
    """Turns sample ids into records. One runner serves many threads, each with its own twin.

    Attributes:
        executions: how each algorithm's members are executed, by the algorithm's name.
        pre: the `pre` factors of the plan's samples by name, in the plan's order.
        checkpoints: whether the unlearned weights are wanted at all.
    """

    base_run: BaseRun
    plan: Plan
    executions: dict[str, Execution]
    pre: dict[str, Tensor]
    checkpoints: bool
    clock: Clock
    stop: Callable[[], bool]
    fitting: dict[str, Fitting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = self.base_run.model
        self.metrics = {column.name: column.metric for column in self.plan.columns}
        self.rows = {sample: row for row, sample in enumerate(self.plan.sample_ids)}
        self.positions = self.base.dataset.train.positions(list(self.plan.sample_ids))

    def records(self, base: BaseModel, work: Work) -> list[Record]:
        """One record for each member. A chunk for which memory runs out is halved, later ones too.

        Args:
            base: the runner's base model or a twin of it.

        Raises Failure if one member alone does not fit, Stopped between two steps.
        """
        algorithm, sample_ids = work
        fitting = self.fitting.setdefault(algorithm.name, Fitting())
        return halved(
            lambda some: self._records(base, algorithm, some), sample_ids, algorithm.name, fitting
        )

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
        started = milliseconds()
        rows = [self.rows[sample] for sample in sample_ids]
        positions, execution = self.positions[rows], self.executions[algorithm.name]
        with self.clock.of("compute"):
            found = unlearn(base, algorithm, positions, self.plan.seed, execution, self.stop)
        if self.stop():
            raise Stopped
        with self.clock.of("evaluate"):
            seen = base.some(self.plan.remaining_count)
            chunk = evaluate(base, positions.to(base.device), found, seen)
        with self.clock.of("factors"):
            columns = {name: values[rows] for name, values in self.pre.items()}
            columns |= post_values(chunk, self.plan.families)
        histories = [_histories(chunk, member) for member in range(len(rows))]
        unlearned = found.cpu()
        del chunk, found  # what they have on a device
        with self.clock.of("checkpoints"):
            checkpoints = self._checkpoints(unlearned) if self.checkpoints else [None] * len(rows)
        own = _own_times(milliseconds() - started, unlearned.elapsed_s.tolist())
        metrics = {self.metrics[name]: values for name, values in columns.items()}
        metrics |= {f"{algorithm.name}/{name}": v for name, v in unlearned.details.items()}
        return [
            Record(
                name=f"{algorithm.name}-{sample_id:05d}",
                params={  # no setting may have one of these names: `PARAMS`
                    "algorithm": algorithm.name,
                    "seed": self.plan.seed,
                    "engine_version": VERSION,
                    "precision": self.plan.precision,
                    **algorithm.settings(),
                },
                tags=self._tags(algorithm, sample_id, unlearned, member, checkpoint),
                metrics=_defined({name: float(v[member]) for name, v in metrics.items()}),
                histories=histories[member],
                artifacts=checkpoint.file if checkpoint else {},
                started_ms=started,
                ended_ms=started + own[member],
            )
            for member, (sample_id, checkpoint) in enumerate(
                zip(sample_ids, checkpoints, strict=True)
            )
        ]

    def _tags(
        self,
        algorithm: Algorithm,
        sample_id: int,
        unlearned: Unlearned,
        member: int,
        checkpoint: Checkpoint | None,
    ) -> dict[str, str]:
        position = int(self.positions[self.rows[sample_id]])
        tags = {
            "sample_id": str(sample_id),
            "split_position": str(position),
            "label": str(int(self.base.dataset.train.labels[position])),
            **self._path(sample_id),
            "status": str(unlearned.status[member]),
            "key": self.plan.key(algorithm, sample_id),
            "code_version": code_version(),
            VERSIONS: as_tag(versions(self.plan.families, self.base.companions, sample_id)),
            **self._kept_step(unlearned, member),
            **self.plan.providers_of([algorithm]),
            NOTE: member_note(
                self.base_run, self.plan, algorithm, sample_id, self._ending(unlearned, member)
            ),
        }
        return tags | (checkpoint.tags if checkpoint else {})

    def _path(self, sample_id: int) -> dict[str, str]:
        """A tag with the path of the sample's file, where it has one."""
        path = self.base.dataset.train.path_of(sample_id)
        return {} if path is None else {PATH: path}

    @staticmethod
    def _ending(unlearned: Unlearned, member: int) -> str:
        """How an attempt ended, in words."""
        steps, kept = int(unlearned.steps[member]), int(unlearned.kept[member])
        return ending(unlearned.status[member], steps, kept)

    @staticmethod
    def _kept_step(unlearned: Unlearned, member: int) -> dict[str, str]:
        """A tag with the step whose weights are kept, where that is not the last one."""
        kept, last = int(unlearned.kept[member]), int(unlearned.steps[member])
        return {} if kept == last else {KEPT_STEP: str(kept)}

    def _checkpoints(self, unlearned: Unlearned) -> list[Checkpoint | None]:
        """The delta of each member; None where nothing was run.

        Args:
            unlearned: with its weights in main memory.
        """
        base_run = self.base_run
        state = self.base.once("chunks/state", lambda: _in_main_memory(self.base.network))
        return [
            None
            if status is Status.ALREADY_WRONG
            else Checkpoint.of(
                base_run.weights, state | unlearned.state_of(member), base_run.weights_sha256
            )
            for member, status in enumerate(unlearned.status)
        ]


def executions_of(sweep: Run) -> dict[str, Execution]:
    """How each algorithm's members are executed: as it was chosen when the sweep was begun."""
    return executions_in(sweep.data.tags)


def executions_in(tags: Mapping[str, str]) -> dict[str, Execution]:
    """How each algorithm's members are executed, as far as the tags of their sweep say it."""
    return {name: Execution(how) for name, how in json.loads(tags.get(EXECUTION, "{}")).items()}


@dataclass
class Fitting:
    """How many members at a time have memory enough, as far as that was found out."""

    most: int = LARGEST_COUNT


def halved(
    compute: Callable[[list[Item]], list[Result]],
    members: list[Item],
    algorithm: str,
    fitting: Fitting | None = None,
) -> list[Result]:
    """What is computed of members. Where memory runs out, of one half after the other.

    Args:
        fitting: is told, so that of too many members a next time the halves are taken at once.

    Raises Failure if one member alone does not fit, and what other people's code raised as it is.
    """
    fitting = fitting or Fitting()
    try:
        if len(members) <= fitting.most:
            return compute(members)
    except (MemoryError, RuntimeError, Raised) as error:
        is_others = isinstance(error, Raised)
        if not is_out_of_memory(error.__cause__ if is_others else error):
            raise
        if len(members) == 1 and is_others:
            raise
        if len(members) == 1:
            raise Failure(f"one {algorithm} member alone does not fit: {error}") from error
        fitting.most = min(fitting.most, len(members) - 1)
    half = len(members) // 2
    halves = members[:half], members[half:]
    return [result for some in halves for result in halved(compute, some, algorithm, fitting)]


def chunk_size(
    base: BaseModel,
    algorithm: Algorithm,
    execution: Execution,
    remaining_count: int | None,
    room: float,
) -> int:
    """How many members of an algorithm a worker computes at a time: one at least.

    As many as fit into its room, while they are unlearned and while they are evaluated.

    Args:
        room: bytes that the chunk of one worker may take.
    """
    phases = _phases(base, algorithm, execution, remaining_count)
    return max(1, min(LARGEST_CHUNK, *(phase.members_within(room) for phase in phases)))


def workers_within(
    base: BaseModel, chosen: Sequence[Algorithm], remaining_count: int | None, room: float
) -> tuple[int, float]:
    """How many workers a machine has room for that compute one member each, and the room of all.

    Args:
        room: bytes for them, and for what all members of the chosen algorithms share.

    Raises UserError where there is not even room for one.
    """
    shared = {}
    for algorithm in chosen:
        with algorithms.REGISTRY.by(algorithm.name):
            shared[algorithm.name] = algorithm.shared_memory(base)
    left, fewest = room - sum(shared.values()), LARGEST_COUNT
    for algorithm in chosen:
        phases = _phases(base, algorithm, Execution.SEQUENTIAL, remaining_count)
        one, own = max(phase.member + phase.once for phase in phases), shared[algorithm.name]
        free = room / CPU_SHARE
        if base.device.type == "cpu" and is_told() and own + one / SURELY > free:
            raise UserError(
                f"one sample of {algorithm.name} takes up to {(own + one) / 1e9:.2g} GB of "
                f"memory, {own / 1e9:.2g} of them for what all samples share, and "
                f"{free / 1e9:.2g} GB are free: change its settings (see 'indelible "
                "algorithms'), use a larger machine, or leave it out"
            )
        fewest = min(fewest, int(max(left, 0) // one))
    return max(1, fewest), max(left, 0.0)


def _phases(
    base: BaseModel, algorithm: Algorithm, execution: Execution, remaining_count: int | None
) -> tuple[Memory, Memory]:
    with algorithms.REGISTRY.by(algorithm.name):
        return algorithm.memory(base, execution), evaluation(base, remaining_count)


def evaluation(base: BaseModel, remaining_count: int | None) -> Memory:
    """An upper bound of the memory that the evaluation and the factors of a chunk take.

    Each member takes its weights twice, with the checkpoint that waits to be written; distances in
    float64, of all parameters and three times of the largest tensor; and its logits and features,
    each with two copies in float64. The chunk as a whole takes the activations of one block.
    """
    weights = size_of(base.state.values())
    entries = [p.numel() for p in base.params.values()]
    samples = len(base.some(remaining_count)) + len(base.test_labels)
    logits = samples * base.train_logits.shape[1] * (base.train_logits.element_size() + 2 * 8)
    features = base.test_features.numel() * (base.test_features.element_size() + 2 * 8)
    member = 2 * weights + 8 * sum(entries) + 3 * 8 * max(entries) + logits + features
    return Memory(member, once=3 * BLOCK * max(activations(base)))


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, on a GPU or in main memory."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        error is not None and "can't allocate memory" in words_of(error)
    )


def _in_main_memory(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


def _defined(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


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
