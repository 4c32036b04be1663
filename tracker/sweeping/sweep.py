"""A sweep: members in chunks through unlearning and factors into the store; resumable.

Chunks are computed by worker threads; the store is written here while they compute the next ones.
A chunk is a fixed part of the members that are missing, so that a sweep that was killed and goes
on computes the same chunks again, and with them the same numbers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from mlflow.entities import Run

import factors
from tracker.access.artifacts import Damaged
from tracker.base.base_models import BaseRun
from tracker.base.pre_factors import pre_factors
from tracker.base.workers import Clock, Workers, how_many, in_blocks
from tracker.record import views
from tracker.record.records import (
    AVERAGED,
    NOTE,
    Finished,
    Record,
    code_version,
    milliseconds,
    this_process,
)
from tracker.record.store import PROCESS, Store
from tracker.record.weights import FILE_TAGS
from tracker.sweeping.advice import after_sweep, before_sweep
from tracker.sweeping.chunks import ChunkRunner, Work, chunk_size
from tracker.sweeping.claims import Checkpoints
from tracker.sweeping.notes import aggregates, done_again, sweep_note
from tracker.sweeping.plan import PLAN, Plan, load_plan
from tracker.sweeping.retention import Retention
from tracker.sweeping.settings import TRIAL
from unlearning.algorithm import Algorithm
from unlearning.engine import faster_execution
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.version import VERSION

EXECUTION = "execution"  # the tag of a sweep that says how its members are executed


@dataclass(frozen=True)
class Options:
    """How a sweep is run; nothing here changes its numbers beyond the order of sums.

    Attributes:
        chunk: members at a time; as many as memory has room for if None.
        execution: of the members of a chunk; measured for each algorithm if None.
        workers: threads that compute, with one torch thread each; one a core if None.
        retention: which checkpoints are kept.
        again: whether members that are in the store are done again, in place of those.
        take_over: whether to go on with a sweep that a process elsewhere seems to be at.
    """

    chunk: int | None = None
    execution: Execution | None = None
    workers: int | None = None
    retention: Retention = field(default_factory=lambda: Retention("all"))
    again: bool = False
    take_over: bool = False


def run(
    store: Store,
    base: BaseRun,
    plan: Plan,
    options: Options,
    on_progress: Callable[[int, str], None] = lambda members, doing: None,
    clock: Clock | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Do what of the plan is not in the store yet; the id of the sweep's parent run.

    `on_progress` is told how many members were just finished, and with which algorithm; `say` what
    is to be known before and afterwards: of samples and settings (see `advice`), and how members
    that were done again compare with what they were.
    """
    store.close_stale_sweeps()
    experiment_id = store.experiment_id(base.dataset, base.arch)
    done = store.finished_members(plan.digests)
    there = store.find_sweep(experiment_id, plan.sweep_key)
    if there is not None:
        _check_execution(there, options.execution)
        _keep_plan(store, there, plan)
    checkpoints = Checkpoints.of(store, experiment_id, plan, there, options.retention)
    if there and not options.again and _is_done(there, plan, done, checkpoints):
        checkpoints.note(str(there.info.run_id))
        on_progress(plan.size, "found")
        return str(there.info.run_id)
    if there is None:
        record = _parent_record(base, plan, _chosen_executions(base, plan, options), options)
        sweep_id = store.begin_sweep(experiment_id, record, base.data)
    else:
        sweep_id = store.resume_sweep(experiment_id, there, options.take_over)
    checkpoints.note(sweep_id)
    views.add(store, experiment_id, sweep_id)
    # As the sweep was begun, by whichever process: its members are all executed alike.
    how = json.loads(store.run(sweep_id).data.tags[EXECUTION])
    executions = {name: Execution(execution) for name, execution in how.items()}
    for line in before_sweep(base.model, plan.sample_ids):
        say(line)
    sweep = _Sweep(
        store, base, experiment_id, sweep_id, plan, options, dict(done), checkpoints, on_progress
    )
    try:
        sweep.go(executions, clock or Clock())
    except BaseException:
        store.interrupt(sweep_id)
        raise
    outcome = aggregates(plan, sweep.done)
    children = views.link(experiment_id, sweep_id)
    store.close_sweep(sweep_id, outcome, sweep_note(base, plan, sweep_id, outcome, children))
    for line in after_sweep(plan, sweep.done, base.test_accuracy):
        say(line)
    if options.again:
        say(done_again(done, sweep.done, plan))
    return sweep_id


def _is_done(
    sweep: Run, plan: Plan, done: Mapping[str, Finished], checkpoints: Checkpoints
) -> bool:
    """Whether a sweep is finished, with all members and the checkpoints that are wanted now."""
    return (
        sweep.info.status == "FINISHED"
        and plan.keys() <= done.keys()
        and not any(checkpoints.lacking(done).values())
    )


def _check_execution(sweep: Run, asked: Execution | None) -> None:
    """Raise UserError where a sweep's members are executed otherwise than it is asked for."""
    how = json.loads(sweep.data.tags[EXECUTION])
    if asked is not None and set(how.values()) != {str(asked)}:
        said = ", ".join(f"{name} {execution}" for name, execution in how.items())
        raise UserError(
            f"--execution is {asked}, but this sweep was begun otherwise ({said}): leave it out, "
            "or begin another sweep with --name, which does members anew with --again"
        )


def _keep_plan(store: Store, sweep: Run, plan: Plan) -> None:
    """Write the plan of a sweep that has lost it."""
    uri, run_id = sweep.info.artifact_uri, str(sweep.info.run_id)
    try:
        load_plan(store.artifacts, uri, run_id, plan.sweep_key)
    except Damaged:
        store.artifacts.write(uri, {PLAN: _as_file(plan)})


@dataclass
class _Sweep:
    """The members of one sweep that are finished, and the way of the others into the store."""

    store: Store
    base: BaseRun
    experiment_id: str
    sweep_id: str
    plan: Plan
    options: Options
    done: dict[str, Finished]
    checkpoints: Checkpoints
    on_progress: Callable[[int, str], None]

    def go(self, executions: dict[str, Execution], clock: Clock) -> None:
        """Compute and write what is missing, then the checkpoints that are."""
        again = self.plan.keys() & self.done.keys() if self.options.again else set()
        before = {key: self.done.pop(key) for key in again}
        for algorithm in self.plan.algorithms:
            there = [s for s in self.plan.sample_ids if self.plan.key(algorithm, s) in self.done]
            self.on_progress(len(there), algorithm.name)
        base = self.base.model
        with clock.of("factors"):
            pre = pre_factors(self.store, self.base, self.plan.sample_ids)
        stop = threading.Event()
        wanted = self.checkpoints.any or any(m.has_checkpoint for m in before.values())
        runner = ChunkRunner(self.base, self.plan, executions, pre, wanted, clock, stop.is_set)
        self.checkpoints.begin(self.done)
        with Workers(base, self.options.workers, stop) as workers:
            sizes = self.chunk_sizes(runner, workers.count)

            def through(work: Iterator[Work], before: dict[str, Finished]) -> None:
                for (algorithm, _), records in workers.map(runner.records, work):
                    with clock.of("store"):
                        self.write(algorithm, records, before)
                    self.on_progress(len(records), algorithm.name)

            through(self.missing(sizes), before)
            # What other processes wrote or deleted meanwhile counts as well.
            self.done = self.store.finished_members(self.plan.digests)
            self.checkpoints.begin(self.done)
            through(self.missing(sizes), {})
            through(self.lacking(sizes), dict(self.done))

    def chunk_sizes(self, runner: ChunkRunner, workers: int) -> dict[str, int]:
        """How many members of each algorithm are computed at a time, by its name."""
        executions, remaining = runner.executions, self.plan.remaining
        return {
            a.name: self.options.chunk
            or chunk_size(runner.base, a, executions[a.name], remaining, workers)
            for a in self.plan.algorithms
        }

    def missing(self, sizes: Mapping[str, int]) -> Iterator[Work]:
        """The members that are not in the store, in chunks."""
        for algorithm in self.plan.algorithms:
            samples = [
                s for s in self.plan.sample_ids if self.plan.key(algorithm, s) not in self.done
            ]
            yield from _in_chunks(algorithm, samples, sizes[algorithm.name])

    def lacking(self, sizes: Mapping[str, int]) -> Iterator[Work]:
        """The members that are in the store without a checkpoint that is to be kept."""
        lacking = self.checkpoints.lacking(self.done)
        for algorithm in self.plan.algorithms:
            yield from _in_chunks(algorithm, lacking[algorithm.name], sizes[algorithm.name])

    def write(
        self, algorithm: Algorithm, records: list[Record], before: dict[str, Finished]
    ) -> None:
        """Write a chunk with the checkpoints that are kept so far; let go of those no longer.

        What had a checkpoint `before`, and is written in place of that, has one again.
        """
        kept = self.checkpoints.kept(algorithm, records)
        if not self.options.again:
            records = [r for r in records if not self.attached(r, before.get(r.key))]
        records = [self.with_additions(r, before.get(r.key)) for r in records]
        had = {r.key for r in records if r.key in before and before[r.key].has_checkpoint}
        records = [r if r.key in kept | had else r.without_checkpoint() for r in records]
        written = self.store.write_members(self.experiment_id, self.sweep_id, records, before)
        self.done |= {record.key: member for record, member in zip(records, written, strict=True)}
        for key in self.checkpoints.let_go(algorithm, kept, self.done, self.sweep_id):
            self.store.drop_checkpoint(self.done[key].run_id)
            self.done[key] = replace(self.done[key], has_checkpoint=False)

    def attached(self, record: Record, before: Finished | None) -> bool:
        """Whether a member that is there got its checkpoint: it came to the same weights again.

        Where no checkpoint was wanted, equal numbers have to say so.
        """
        if before is None:
            return False
        there, sha256 = self.store.run(before.run_id).data, record.tags["weights_sha256"]
        is_same = there.tags.get("weights_sha256") == sha256
        if "weights_sha256" not in there.tags:
            is_same = all(
                there.metrics.get(name) == value
                for name, value in record.metrics.items()
                if name != AVERAGED["elapsed_s"]
            )
        if not is_same:
            return False
        self.store.client.set_tag(before.run_id, "weights_sha256", sha256)
        ((name, content),) = record.artifacts.items()
        self.store.attach(before.run_id, name, content, ("checkpoint", record.tags["checkpoint"]))
        self.done[record.key] = replace(before, has_checkpoint=True)
        return True

    def with_additions(self, record: Record, before: Finished | None) -> Record:
        """A member that takes the place of another, with what people gave that: tags, metrics, a
        note."""
        if before is None:
            return record
        there = self.store.run(before.run_id).data
        own = {"kind", *FILE_TAGS, *record.tags} - {NOTE}
        tags = {
            name: value
            for name, value in there.tags.items()
            if name == NOTE or not (name in own or name.startswith("mlflow."))
        }
        measured = {column.metric for column in factors.columns()} | set(factors.HISTORIES)
        prefix = f"{record.params['algorithm']}/"
        metrics = {
            name: value
            for name, value in there.metrics.items()
            if not (name in measured or name.startswith(prefix))
        }
        return replace(record, tags={**record.tags, **tags}, metrics={**record.metrics, **metrics})


def _in_chunks(algorithm: Algorithm, samples: list[int], size: int) -> Iterator[Work]:
    return ((algorithm, block) for block in in_blocks(samples, size))


def _chosen_executions(base: BaseRun, plan: Plan, options: Options) -> dict[str, Execution]:
    """How each algorithm's members are executed: as asked, or what is faster."""
    if options.execution is not None:
        return {algorithm.name: options.execution for algorithm in plan.algorithms}
    positions = base.model.dataset.train.positions(list(plan.sample_ids))
    workers = how_many(base.model, options.workers)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        found = {}
        for algorithm in plan.algorithms:
            # No more of them than a chunk would have: the measurement has to fit as well.
            size = options.chunk or chunk_size(
                base.model, algorithm, Execution.STACKED, plan.remaining, workers
            )
            some = positions[:size]
            found[algorithm.name] = faster_execution(base.model, algorithm, some, plan.seed)
        return found
    finally:
        torch.set_num_threads(threads)


def _parent_record(
    base: BaseRun, plan: Plan, executions: dict[str, Execution], options: Options
) -> Record:
    now = milliseconds()
    return Record(
        name=plan.name,
        params={
            "dataset": base.dataset,
            "arch": base.arch,
            "base_run_id": base.run_id,
            "algorithms": ",".join(algorithm.name for algorithm in plan.algorithms),
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            "remaining": plan.remaining or "all",
            "engine_version": VERSION,
            "precision": plan.precision,
            **(plan.preset.params if plan.preset else {}),
        },
        tags={
            "key": plan.sweep_key,
            "code_version": code_version(),
            EXECUTION: json.dumps(executions),
            PROCESS: this_process(),
            **dict([options.retention.tag]),
            **({TRIAL: plan.preset.trial} if plan.preset and plan.preset.trial else {}),
        },
        metrics={},
        artifacts={PLAN: _as_file(plan)},
        started_ms=now,
        ended_ms=now,
    )


def _as_file(plan: Plan) -> bytes:
    return json.dumps(plan.as_json(), indent=1).encode()
