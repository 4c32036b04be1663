"""A sweep: members in chunks through unlearning and factors into the store; resumable.

Chunks are computed by worker threads; the store is written here while they compute the next ones.
A chunk is a fixed part of the members that are missing, so that a sweep that was killed and goes
on computes the same chunks again, and with them the same numbers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from indelible.tracker import views
from indelible.tracker.base_models import BaseRun
from indelible.tracker.chunks import ChunkRunner, Work, chunk_size
from indelible.tracker.clock import Clock
from indelible.tracker.notes import aggregates, sweep_note
from indelible.tracker.plan import Plan
from indelible.tracker.pre_factors import pre_factors
from indelible.tracker.records import Finished, Record, code_version, this_process
from indelible.tracker.retention import Retention
from indelible.tracker.store import PROCESS, Store
from indelible.tracker.workers import Workers, how_many
from indelible.unlearning.algorithm import Algorithm
from indelible.unlearning.engine import faster_execution
from indelible.unlearning.execution import Execution

EXECUTION = "execution"  # the tag of a sweep that says how its members are executed


@dataclass(frozen=True)
class Options:
    """How a sweep is run; nothing here changes its numbers beyond the order of sums.

    Attributes:
        chunk: members at a time; as many as memory has room for if None.
        execution: of the members of a chunk; measured for each algorithm if None.
        workers: threads that compute, with one torch thread each; one a core if None.
        retention: which checkpoints are kept.
    """

    chunk: int | None = None
    execution: Execution | None = None
    workers: int | None = None
    retention: Retention = field(default_factory=lambda: Retention("all"))


def run(
    store: Store,
    base: BaseRun,
    plan: Plan,
    options: Options,
    on_progress: Callable[[int, str], None] = lambda members, doing: None,
    clock: Clock | None = None,
) -> str:
    """Do what of the plan is not in the store yet; the id of the sweep's parent run.

    `on_progress` is told how many members were just finished, and with which algorithm.
    """
    store.close_stale_sweeps()
    experiment_id = store.experiment_id(base.dataset, base.arch)
    done = store.finished_members(plan.digest(algorithm) for algorithm in plan.algorithms)
    there = store.find_sweep(experiment_id, plan.sweep_key)
    if there and there.info.status == "FINISHED" and _lacks_nothing(plan, done, options.retention):
        on_progress(plan.size, "found")
        return str(there.info.run_id)
    if there is None:
        record = _parent_record(base, plan, _chosen_executions(base, plan, options))
        sweep_id = store.begin_sweep(experiment_id, record, base.data)
    else:
        sweep_id = store.resume_sweep(experiment_id, there)
    store.add_view(experiment_id, sweep_id)
    # As the sweep was begun, by whichever process: its members are all executed alike.
    how = json.loads(store.run(sweep_id).data.tags[EXECUTION])
    executions = {name: Execution(execution) for name, execution in how.items()}
    sweep = _Sweep(store, base, experiment_id, sweep_id, plan, options, done, on_progress)
    try:
        sweep.go(executions, clock or Clock())
    except BaseException:
        store.interrupt(sweep_id)
        raise
    outcome = aggregates(plan, done)
    children = views.link(experiment_id, sweep_id)
    store.close_sweep(sweep_id, outcome, sweep_note(base, plan, sweep_id, outcome, children))
    return sweep_id


def _lacks_nothing(plan: Plan, done: dict[str, Finished], retention: Retention) -> bool:
    return plan.keys() <= done.keys() and not any(
        _without_checkpoint(plan, algorithm, done, retention) for algorithm in plan.algorithms
    )


def _without_checkpoint(
    plan: Plan, algorithm: Algorithm, done: dict[str, Finished], retention: Retention
) -> list[int]:
    """Samples whose checkpoint is to be kept and was not: an earlier sweep wanted none."""
    keys = {plan.key(algorithm, sample): sample for sample in plan.sample_ids}
    kept = retention.kept({key: done[key] for key in keys if key in done})
    return [sample for key, sample in keys.items() if key in kept and not done[key].has_checkpoint]


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
    on_progress: Callable[[int, str], None]

    def go(self, executions: dict[str, Execution], clock: Clock) -> None:
        """Compute and write what is missing, then the checkpoints that are."""
        for algorithm in self.plan.algorithms:
            there = [s for s in self.plan.sample_ids if self.plan.key(algorithm, s) in self.done]
            self.on_progress(len(there), algorithm.name)
        wanted, base = self.options.retention.kind != "none", self.base.model
        with clock.of("factors"):
            pre = pre_factors(self.store, self.base, self.plan.sample_ids)
        stop = threading.Event()
        runner = ChunkRunner(self.base, self.plan, executions, pre, wanted, clock, stop.is_set)
        with Workers(base, self.options.workers, stop) as workers:
            sizes = self.chunk_sizes(runner, workers.count)
            for (algorithm, _), records in workers.map(runner.records, self.missing(sizes)):
                with clock.of("store"):
                    self.write(algorithm, records)
                self.on_progress(len(records), algorithm.name)
            for (algorithm, _), records in workers.map(runner.records, self.lacking(sizes)):
                self.store.discard([self.done[record.key].run_id for record in records])
                with clock.of("store"):
                    self.write(algorithm, records)

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
        for algorithm in self.plan.algorithms:
            samples = _without_checkpoint(self.plan, algorithm, self.done, self.options.retention)
            yield from _in_chunks(algorithm, samples, sizes[algorithm.name])

    def write(self, algorithm: Algorithm, records: list[Record]) -> None:
        """Write a chunk with the checkpoints that are kept so far; let go of those no longer."""
        held = {
            key: member
            for sample in self.plan.sample_ids
            if (member := self.done.get(key := self.plan.key(algorithm, sample)))
            and member.has_checkpoint
        }
        new = {r.key: Finished("", r.tags["status"], r.metrics, bool(r.artifacts)) for r in records}
        kept = self.options.retention.kept(held | new)
        records = [r if r.key in kept else r.without_checkpoint() for r in records]
        run_ids = self.store.write_members(self.experiment_id, self.sweep_id, records)
        for record, run_id in zip(records, run_ids, strict=True):
            self.done[record.key] = Finished(
                run_id, record.tags["status"], record.metrics, bool(record.artifacts)
            )
        for key in held.keys() - kept - new.keys():
            self.store.drop_checkpoint(held[key].run_id)
            self.done[key] = replace(held[key], has_checkpoint=False)


def _in_chunks(algorithm: Algorithm, samples: list[int], size: int) -> Iterator[Work]:
    for start in range(0, len(samples), size):
        yield algorithm, samples[start : start + size]


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


def _parent_record(base: BaseRun, plan: Plan, executions: dict[str, Execution]) -> Record:
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
            "remaining": plan.remaining or "all",
        },
        tags={
            "key": plan.sweep_key,
            "code_version": code_version(),
            EXECUTION: json.dumps(executions),
            PROCESS: this_process(),
        },
        metrics={},
        artifacts={"plan.json": json.dumps(plan.as_json(), indent=1).encode()},
        started_ms=now,
        ended_ms=now,
    )
