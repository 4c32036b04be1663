"""Run a sweep: compute its members in chunks, and write each chunk into the store.

Worker threads compute chunks while the one before is written. A sweep that was stopped goes on with
the members that the store does not have. One process drives it, or each share of it: see `driver`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice

from mlflow.entities import Run

import factors
from factors.family import Family
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.images import Images
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store import views
from tracker.store.driver import close_stale_sweeps, driving
from tracker.store.records import (
    VERSIONS,
    Finished,
    Histories,
    Known,
    Measured,
    Record,
    as_tag,
    read_tag,
)
from tracker.store.write import Store
from tracker.sweep.again import done_again, is_the_same, with_additions
from tracker.sweep.chunks import ChunkRunner, Work, executions_of
from tracker.sweep.lacking import Lacking, Outcome, lacking
from tracker.sweep.measuring import Progress, measure
from tracker.sweep.memory import chunk_size, workers_within
from tracker.sweep.options import Options, Reporter
from tracker.sweep.parent import (
    begin,
    close,
    found,
)
from tracker.sweep.plan import KeptPlan, Plan, add_to_catalog
from tracker.sweep.retention import Checkpoints, Retention
from tracker.sweep.shards import SHARD, Share, tell
from tracker.sweep.summary import before_sweep
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import Raised, UserError

CHUNKS = "chunk_sizes"  # the tag of a sweep with the size of each algorithm's chunks
GIVEN_UP = 3  # chunks of somebody else's algorithm that may raise something


def run(
    store: Store,
    base_run: BaseRun,
    plan: Plan,
    options: Options,
    reporter: Reporter | None = None,
) -> str:
    """Do what of the plan is not in the store yet; the id of the sweep's parent run.

    Raises Raised in the end where somebody else's algorithm did, and all else is done.
    """
    reporter, share = reporter or Reporter(), Share.of(plan, options.shard, options.chunk)
    reporter.say_all(share.lines())
    close_stale_sweeps(store)
    base, experiment_id = base_run.model, store.experiment_id(base_run.dataset, base_run.arch)
    done = store.finished_members(plan.digests)
    known = store.find_sweep(experiment_id, plan.sweep_key)
    sweep_id = known and found(store, known, plan, options.execution)
    checkpoints = Checkpoints(store, experiment_id, plan, known, options.retention)
    if known and sweep_id and not options.again and _is_done(known, share, done, checkpoints):
        unmeasured = lacking(base, share.planned(), done, plan.families)
        if not any(member.measurable for member in unmeasured):
            checkpoints.note(sweep_id)
            reporter.progress(share.size, "found")
            reporter.say_all(Outcome(lacking=unmeasured).said())
            reporter.ended(done)
            return sweep_id
    planned = share.planned()
    todo = [a for a in plan.algorithms if options.again or planned[a.name].keys() - done.keys()]
    workers = workers_within(base, todo, plan.remaining_count, options.engine.room(base))
    if known:
        add_to_catalog(store, known, plan.catalog)
    sweep_id = sweep_id or begin(store, base_run, plan, options, experiment_id)
    what, share_of = f"sweep {plan.name} ({sweep_id})", str(options.shard or "")
    with driving(store, sweep_id, what, share_of, reporter.say) as check_driver:
        store.resume_sweep(sweep_id)
        done = store.finished_members(plan.digests)  # all that a driver before this one wrote
        checkpoints.note(sweep_id)
        tell(store, sweep_id, share_of, plan.keys(), done)
        views.add(store, experiment_id, sweep_id)
        reporter.say_all(before_sweep(base, plan.sample_ids))
        sweep = _Sweep(
            *(store, base_run, store.run(sweep_id), plan, share, options, checkpoints, reporter),
            *(dict(done), workers, check_driver),
        )
        try:
            sweep.go()
        except BaseException:
            store.interrupt(sweep_id)
            raise
        close(store, sweep_id, sweep.done, base_run.test_accuracy, share_of)
    if options.again:
        reporter.say(done_again(done, sweep.done, plan))
    reporter.ended(sweep.done)
    return sweep_id


def _is_done(
    sweep: Run, share: Share, done: Mapping[str, Finished], checkpoints: Checkpoints
) -> bool:
    """Whether a share is finished, with all members and the checkpoints that are wanted now."""
    is_whole_by_now = SHARD in sweep.data.tags and share.plan.keys() <= done.keys()
    return (
        sweep.info.status == "FINISHED"
        and share.keys <= done.keys()
        and not share.keys & checkpoints.lacking(done)
        and not is_whole_by_now
    )


def recompute(
    store: Store,
    base_run: BaseRun,
    sweep: Run,
    kept: KeptPlan,
    members: Sequence[Lacking],
    own_families: Sequence[str] = (),
    engine: Engine = THREADS,
    progress: Progress = lambda members, doing: None,
) -> int:
    """Unlearn samples of a sweep again, and measure what their members lack; of how many.

    A member that comes to the same weights as before is given what it lacks. One that does not, as
    on another machine, is written anew in place of its run.

    Args:
        own_families: the user's own families, `module:package.module:FAMILY` each.

    Raises UserError where this version of the code would not do the same, or memory has no room.
    """
    names = {member.algorithm for member in members}
    settings = {name: own for name, own in kept.settings.items() if name in names}
    plan = Plan.on(
        base_run,
        [algorithms.get(name).from_text(own) for name, own in settings.items()],
        kept.sample_ids,
        int(sweep.data.params["seed"]),
        kept.name,
        kept.remaining_count,
        families=factors.families(own_families),
    )
    for algorithm in plan.algorithms:
        if plan.digest(algorithm) != kept.digests[algorithm.name]:
            raise UserError(
                f"the members of {algorithm.name} in sweep {sweep.info.run_id} were made by "
                "another version of the engine or the algorithm, and would come out otherwise: "
                "sweep them anew, or measure without --recompute"
            )
    by_key = {member.key: member for member in members}
    base, experiment_id = base_run.model, sweep.info.experiment_id
    again = _Sweep(
        *(store, base_run, sweep, plan, Share.of(plan, None, None), Options(engine=engine)),
        Checkpoints(store, experiment_id, plan, None, Retention("none")),
        Reporter(progress),
        {key: member.member for key, member in by_key.items()},
        workers_within(base, plan.algorithms, plan.remaining_count, engine.room(base)),
        lacking={key: member.unmeasurable for key, member in by_key.items()},
    )
    again.compute(by_key.keys)
    again.refuse()
    return len(by_key)


@dataclass
class _Sweep:
    """A sweep that is running: its members that are finished, and how the others are written.

    Attributes:
        sweep: its run, as it was when this process began with it.
        done: members that are in the store, by key.
        workers: how many there is room for, and bytes for all that is computed at a time.
        check_driver: raises Failure once another process drives the sweep.
        lacking: the families that members are given where they come out as before, by key.
        left: the keys of members that are yet to be computed.
        raised: what somebody else's algorithm raised, a chunk each.
    """

    store: Store
    base_run: BaseRun
    sweep: Run
    plan: Plan
    share: Share
    options: Options
    checkpoints: Checkpoints
    reporter: Reporter
    done: dict[str, Finished]
    workers: tuple[int, float]
    check_driver: Callable[[], None] = lambda: None
    lacking: Mapping[str, Sequence[Family]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    raised: defaultdict[str, list[Raised]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        store, self.sweep_id = self.store, str(self.sweep.info.run_id)
        uri = store.run(self.base_run.run_id).info.artifact_uri
        self.images = Images(store.artifacts, uri, self.base_run.model.dataset)
        self.before = dict(self.done)

    def go(self) -> None:
        """Compute and write the members that are missing, then the checkpoints that are."""
        missing = self.share.keys if self.options.again else self.share.keys - self.done.keys()
        for name, keys in self.share.planned().items():
            self.reporter.progress(len(keys.keys() - missing), name)
        self.compute(
            lambda: missing,
            lambda: self.share.keys & self.checkpoints.lacking(self.done),
        )
        self.measure()
        for key in self.checkpoints.outranked(self.done, self.sweep_id):
            self.store.drop_checkpoint(self.done[key].run_id)
            self.done[key] = replace(self.done[key], has_checkpoint=False)
        self.refuse()

    def compute(self, *passes: Callable[[], Set[str]]) -> None:
        """Compute and write members, by their keys: all of a pass before the next one is asked."""
        clock, engine, base = self.reporter.clock, self.options.engine, self.base_run.model
        with clock.of("factors"):
            pre = pre_factors(
                *(self.store, self.base_run, self.share.pre_samples, self.plan.families, engine),
                lambda _, doing: self.reporter.progress(0, doing),
            )
        had = any(self.done[k].has_checkpoint for k in self.plan.keys() & self.done.keys())
        wanted = self.checkpoints.any or bool(self.lacking) or (self.options.again and had)
        stop, executions = Stop(), executions_of(self.sweep)
        runner = ChunkRunner(
            *(self.base_run, self.plan, executions, pre, wanted, clock, stop.is_set),
            self.share.pre_samples,
        )
        most, room = self.workers
        with engine.pool(base, stop, most) as pool:
            sizes = self.chunk_sizes(runner, room / pool.count)
            for keys in passes:
                todo, self.before = keys(), dict(self.done)
                self.left |= todo
                for (algorithm, _), records in pool.map(
                    runner.tried, self.chunks(todo, sizes), clock
                ):
                    if isinstance(records, Raised):
                        self.raised[algorithm.name].append(records)
                        continue
                    self.check_driver()
                    with clock.of("store"):
                        self.write(algorithm, records)
                    self.left -= {record.key for record in records}
                    self.reporter.progress(len(records), algorithm.name)

    def chunk_sizes(self, runner: ChunkRunner, room: float) -> dict[str, int]:
        """How many members of each algorithm a worker computes at a time, by its name.

        What memory had room for when the sweep was begun is kept, for as long as it has: last bits
        depend on it.
        """
        if self.options.chunk:
            return {algorithm.name: self.options.chunk for algorithm in self.plan.algorithms}
        base, remaining = runner.base, self.plan.remaining_count
        sizes = {
            a.name: chunk_size(base, a, runner.executions[a.name], remaining, room)
            for a in self.plan.algorithms
        }
        kept = read_tag(self.sweep.data.tags.get(CHUNKS, ""))
        if not kept and not self.lacking:
            said = as_tag({name: str(size) for name, size in sizes.items()})
            self.store.client.set_tag(self.sweep_id, CHUNKS, said)
        known = {name: int(size) for name, size in kept.items() if size.isdecimal()}
        return {name: max(1, min(size, known.get(name, size))) for name, size in sizes.items()}

    def chunks(self, keys: Set[str], sizes: Mapping[str, int]) -> Iterator[Work]:
        """Chunks of members, block after block of the share, of algorithms not given up."""
        for algorithm, block in self.share.blocks:
            name, key = algorithm.name, self.plan.key
            samples = (sample for sample in block if key(algorithm, sample) in keys)
            while some := list(islice(samples, sizes[name])):
                if len(self.raised[name]) < GIVEN_UP:
                    yield algorithm, some

    def write(self, algorithm: Algorithm, records: Sequence[Record]) -> None:
        """Write a chunk: members that are new, or take the place of others, and what others lack.

        What had a checkpoint before, and is written in place of that, has one again.
        """
        before, redone = self.before, self.options.again
        kept = self.checkpoints.kept(algorithm.name, records, self.done)
        there = [before[record.key].run_id for record in records if record.key in before]
        runs = {run.tags["key"]: run for run in self.store.logged(there, ())}
        measured, new = [column.metric for column in self.plan.columns], list[Record]()
        for record in records:
            run, member = runs.get(record.key), before.get(record.key)
            if run and member and not redone and is_the_same(run, record):
                self.complete(record, run, member)
                continue
            own = record if run is None else with_additions(record, run, measured)
            if record.key not in kept and not (member and member.has_checkpoint):
                own = own.without_checkpoint()
            keeps = self.options.histories is Histories.RUNS
            if not (member.has_histories if member and not redone else keeps):
                own = own.without_histories()
            new.append(own)
        self.images.keep(int(record.tags["sample_id"]) for record in new)
        written = self.store.write_members(
            self.sweep.info.experiment_id, self.sweep_id, new, before
        )
        self.done |= {record.key: member for record, member in zip(new, written, strict=True)}

    def complete(self, record: Record, run: Known, member: Finished) -> None:
        """Add to a run what it lacks, by a record of the same: factors, or its checkpoint."""
        if families := self.lacking.get(record.key):
            values = {
                column.metric: record.metrics.get(column.metric, math.nan)
                for column in factors.columns(families)
            }
            now = read_tag(record.tags[VERSIONS])
            versions = {family.key: now[family.key] for family in families}
            checkpoint = run.tags.get("checkpoint")
            self.store.add_factors([Measured(run.run_id, values, versions, checkpoint)])
            return
        self.store.client.set_tag(run.run_id, "weights_sha256", record.tags["weights_sha256"])
        ((name, content),) = record.artifacts.items()
        self.store.attach(run.run_id, name, content, ("checkpoint", record.tags["checkpoint"]))
        self.done[record.key] = replace(member, has_checkpoint=True)

    def measure(self) -> None:
        """Measure the factors that members lack which were in the store."""
        plan = self.plan
        members = lacking(self.base_run.model, self.share.planned(), self.done, plan.families)
        if any(member.measurable for member in members):
            self.reporter.say(
                f"{len(members)} members have factors that are missing or of another version of "
                "the code: they are measured"
            )
        if members:
            with self.reporter.clock.of("measure"):
                outcome = measure(
                    *(self.store, self.base_run, members, plan.remaining_count),
                    self.options.engine,
                )
            self.done = self.store.finished_members(plan.digests)
            self.reporter.say_all(outcome.said())

    def refuse(self) -> None:
        """Raise Raised where somebody else's algorithm did."""
        first = {name: some[0] for name, some in self.raised.items() if some}
        if first:
            planned = self.plan.planned()
            said = "; ".join(
                f"{raised}: {len(self.left & planned[name].keys())} attempts of {name} are not done"
                for name, raised in first.items()
            )
            line = f"{said}. All else is done, and the same command tries these again"
            traces = "\n".join(raised.trace for raised in first.values())
            one = next(iter(first.values()))
            raise Raised(one.kind, one.name, line, traces) from one
