"""Run a sweep: compute its members in chunks, and write each chunk into the store.

Worker threads compute chunks while the one before is written. A sweep that was stopped goes on with
the members that the store does not have. One process drives it, or each share of it: see `driver`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from mlflow.entities import Run

from tracker.base.base_models import BaseRun
from tracker.base.images import Images
from tracker.base.beforehand import pre_factors
from tracker.base.workers import Stop
from tracker.store import views
from tracker.store.driver import close_stale_sweeps, driving
from tracker.store.files import Damaged
from tracker.store.records import Finished, Histories, Record, as_tag, read_tag
from tracker.store.write import Store
from tracker.sweep.summary import before_sweep
from tracker.sweep.again import done_again, is_the_same, with_additions
from tracker.sweep.parent import check_execution, chosen_executions, parent_record
from tracker.sweep.broken import Broken
from tracker.sweep.chunks import ChunkRunner, Work, executions_of
from tracker.sweep.memory import chunk_size, workers_within
from tracker.sweep.retention import Checkpoints
from tracker.sweep.parent import close
from tracker.sweep.lacking import Outcome, lacking
from tracker.sweep.measuring import keep_catalog, measure
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import PLAN, Plan, as_file, load_plan
from tracker.sweep.shards import Share, tell
from unlearning.algorithm import Algorithm
from unlearning.errors import Raised

CHUNKS = "chunk_sizes"  # the tag of a sweep with the size of each algorithm's chunks
Lacking = dict[str, list[int]]  # sample ids, by algorithm


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
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    done = store.finished_members(plan.digests)
    known = store.find_sweep(experiment_id, plan.sweep_key)
    if known is not None:
        check_execution(known, options.execution)
        _keep_plan(store, known, plan)
    checkpoints = Checkpoints.of(store, experiment_id, plan, known, options.retention)
    if known and not options.again and _is_done(known, share, done, checkpoints):
        unmeasured = lacking(base_run.model, share.planned(), done, plan.families)
        if not any(member.measurable for member in unmeasured):
            checkpoints.note(str(known.info.run_id))
            reporter.progress(share.size, "found")
            reporter.say_all(Outcome(lacking=unmeasured).said())
            reporter.ended(done)
            return str(known.info.run_id)
    most, room = _workers(base_run, plan, options, share, done)
    sweep_id = _begun(store, base_run, plan, options, experiment_id, known)
    what, share_of = f"sweep {plan.name} ({sweep_id})", str(options.shard or "")
    with driving(store, sweep_id, what, share_of, reporter.say) as is_alone:
        store.resume_sweep(sweep_id)
        done = store.finished_members(plan.digests)  # all that a driver before this one wrote
        checkpoints.note(sweep_id)
        tell(store, sweep_id, share_of, plan.keys(), done)
        views.add(store, experiment_id, sweep_id)
        reporter.say_all(before_sweep(base_run.model, plan.sample_ids))
        sweep = _Sweep(
            *(store, base_run, experiment_id, sweep_id, plan, options, dict(done)),
            *(checkpoints, reporter, share, room, most, is_alone),
        )
        try:
            sweep.go()
        except BaseException:
            store.interrupt(sweep_id)
            raise
        sweep.close()
    if options.again:
        reporter.say(done_again(done, sweep.done, plan))
    reporter.ended(sweep.done)
    return sweep_id


def _workers(
    base_run: BaseRun, plan: Plan, options: Options, share: Share, done: Mapping[str, Finished]
) -> tuple[int, float]:
    """How many workers there is room for, as `workers_within` says, and the room of all."""
    planned, room = share.planned(), options.engine.room(base_run.model)
    todo = [a for a in plan.algorithms if options.again or planned[a.name].keys() - done.keys()]
    return workers_within(base_run.model, todo, plan.remaining_count, room)


def _begun(
    store: Store,
    base_run: BaseRun,
    plan: Plan,
    options: Options,
    experiment_id: str,
    known: Run | None,
) -> str:
    """The id of the sweep's run: a new one, or the one that is `known`."""
    if known is None:
        executions = chosen_executions(base_run, plan, options)
        record = parent_record(base_run, plan, executions, options)
        return store.begin_sweep(experiment_id, record, base_run.data)
    keep_catalog(store, known, plan.columns)
    return str(known.info.run_id)


def _is_done(
    sweep: Run, share: Share, done: Mapping[str, Finished], checkpoints: Checkpoints
) -> bool:
    """Whether a share is finished, with all members and the checkpoints that are wanted now."""
    return (
        sweep.info.status == "FINISHED"
        and share.keys <= done.keys()
        and not any(_lacking(share, checkpoints, done).values())
        and not share.is_stale(sweep.data.tags, done)
    )


def _lacking(
    share: Share, checkpoints: Checkpoints, done: Mapping[str, Finished]
) -> dict[str, list[int]]:
    """The samples of a share, by algorithm, whose checkpoint is wanted and is not there."""
    own = {name: {*keys.values()} for name, keys in share.planned().items()}
    return {
        name: [sample for sample in samples if sample in own[name]]
        for name, samples in checkpoints.lacking(done).items()
    }


def _keep_plan(store: Store, sweep: Run, plan: Plan) -> None:
    """Write the plan of a sweep that has lost it."""
    uri, run_id = sweep.info.artifact_uri, str(sweep.info.run_id)
    try:
        load_plan(store.artifacts, uri, run_id, plan.sweep_key)
    except Damaged:
        store.artifacts.write(uri, {PLAN: as_file(plan.as_json())})


@dataclass
class _Sweep:
    """A sweep that is running: its members that are finished, and how the others are written.

    Attributes:
        room: bytes for all that is computed at a time. most: workers that have room.
        check_driver: raises Failure once another process drives the sweep.
        broken: members that their algorithm could not do.
    """

    store: Store
    base_run: BaseRun
    experiment_id: str
    sweep_id: str
    plan: Plan
    options: Options
    done: dict[str, Finished]
    checkpoints: Checkpoints
    reporter: Reporter
    share: Share
    room: float
    most: int
    check_driver: Callable[[], None]
    broken: Broken = field(default_factory=Broken)

    def __post_init__(self) -> None:
        store, base = self.store, self.base_run
        uri = store.run(base.run_id).info.artifact_uri
        self.images = Images(store.artifacts, uri, base.model.dataset)

    def go(self) -> None:
        """Compute and write the members that are missing, then the checkpoints that are."""
        clock = self.reporter.clock
        before = self.again()
        for name, keys in self.share.planned().items():
            self.reporter.progress(len(keys.keys() & self.done.keys()), name)
        base = self.base_run.model
        with clock.of("factors"):
            pre = pre_factors(
                *(self.store, self.base_run, self.share.pre_samples, self.plan.families),
                self.options.engine,
                lambda _, doing: self.reporter.progress(0, doing),
            )
        stop = Stop()
        wanted = self.checkpoints.any or any(m.has_checkpoint for m in before.values())
        executions = executions_of(self.store.run(self.sweep_id))
        runner = ChunkRunner(
            *(self.base_run, self.plan, executions, self.share.in_the_plan(pre)),
            *(wanted, clock, stop.is_set),
        )
        self.checkpoints.begin(self.done)
        with self.options.engine.pool(base, stop, self.most) as pool:
            sizes = self.chunk_sizes(runner, self.room / pool.count)

            def through(work: Iterable[Work], before: dict[str, Finished]) -> None:
                for (algorithm, samples), records in pool.map(runner.tried, work, clock):
                    if isinstance(records, Raised):
                        self.broken.add(algorithm.name, samples, records)
                        continue
                    self.check_driver()
                    with clock.of("store"):
                        self.write(algorithm, records, before)
                    self.reporter.progress(len(records), algorithm.name)

            through(self.chunks_of(before, sizes), before)
            through(self.in_share(self.missing(), sizes), {})
            through(self.in_share(self.without_checkpoint(), sizes), dict(self.done))
        self.measure()
        self.broken.refuse(self.undone())

    def measure(self) -> None:
        """Measure the factors that members lack which were in the store."""
        plan, options = self.plan, self.options
        members = lacking(self.base_run.model, self.share.planned(), self.done, plan.families)
        if any(member.measurable for member in members):
            self.reporter.say(
                f"{len(members)} members have factors that are missing or of another version of "
                "the code: they are measured"
            )
        if members:
            with self.reporter.clock.of("measure"):
                outcome = measure(
                    self.store, self.base_run, members, plan.remaining_count, options.engine
                )
            self.done = self.store.finished_members(plan.digests)
            self.reporter.say_all(outcome.said())

    def close(self) -> None:
        """Write the aggregates and the description into the parent run, and finish it."""
        share, accuracy = str(self.share.shard or ""), self.base_run.test_accuracy
        close(self.store, self.sweep_id, self.done, accuracy, share)

    def chunk_sizes(self, runner: ChunkRunner, room: float) -> dict[str, int]:
        """How many members of each algorithm a worker computes at a time, by its name.

        What memory had room for when the sweep was begun is kept, for as long as it has: last bits
        depend on it.
        """
        names = [algorithm.name for algorithm in self.plan.algorithms]
        if self.options.chunk:
            return dict.fromkeys(names, self.options.chunk)
        executions, remaining = runner.executions, self.plan.remaining_count
        sizes = {
            a.name: chunk_size(runner.base, a, executions[a.name], remaining, room)
            for a in self.plan.algorithms
        }
        kept = read_tag(self.store.run(self.sweep_id).data.tags.get(CHUNKS, ""))
        if not kept:
            said = as_tag({name: str(size) for name, size in sizes.items()})
            self.store.client.set_tag(self.sweep_id, CHUNKS, said)
        known = {name: int(size) for name, size in kept.items() if size.isdecimal()}
        return {name: max(1, min(size, known.get(name, size))) for name, size in sizes.items()}

    def again(self) -> dict[str, Finished]:
        """The members that are done again, if asked for: they count as missing from now on."""
        if not self.options.again:
            return {}
        return {key: self.done.pop(key) for key in self.plan.keys() & self.done.keys()}

    def missing(self) -> Lacking:
        """The members of the share that are not in the store, but for those that are broken."""
        return self.whole(
            {
                name: [sample for key, sample in keys.items() if key not in self.done]
                for name, keys in self.share.planned().items()
            }
        )

    def undone(self) -> dict[str, int]:
        """How many members of each algorithm are not in the store, or not done again."""
        planned = self.share.planned().items()
        lacking = {name: len(keys.keys() - self.done.keys()) for name, keys in planned}
        return {name: n or len(self.broken.samples[name]) for name, n in lacking.items()}

    def without_checkpoint(self) -> Lacking:
        """Those whose checkpoint is wanted and is not there, but for those that are broken."""
        return self.whole(_lacking(self.share, self.checkpoints, self.done))

    def whole(self, lacking: Lacking) -> Lacking:
        """Those of some members that are not broken."""
        return {
            name: [sample for sample in samples if not self.broken.is_out(name, sample)]
            for name, samples in lacking.items()
        }

    def chunks_of(self, keys: Iterable[str], sizes: Mapping[str, int]) -> Iterator[Work]:
        """Chunks of the members with these keys."""
        wanted = set(keys)
        for algorithm in self.plan.algorithms:
            samples = (s for s in self.plan.sample_ids if self.plan.key(algorithm, s) in wanted)
            yield from self.in_chunks(algorithm, samples, sizes[algorithm.name])

    def in_share(self, lacking: Lacking, sizes: Mapping[str, int]) -> Iterator[Work]:
        """Chunks of what is lacking, block after block of the share."""
        wanted = {name: {*samples} for name, samples in lacking.items()}
        for algorithm, block in self.share.blocks:
            samples = (sample for sample in block if sample in wanted[algorithm.name])
            yield from self.in_chunks(algorithm, samples, sizes[algorithm.name])

    def in_chunks(self, algorithm: Algorithm, samples: Iterable[int], size: int) -> Iterator[Work]:
        """Chunks of some members, but for those that are broken by the time that they are made."""
        each = (s for s in samples if not self.broken.is_out(algorithm.name, s))
        while some := list(islice(each, size)):
            yield algorithm, some

    def write(
        self, algorithm: Algorithm, records: list[Record], before: dict[str, Finished]
    ) -> None:
        """Write a chunk with the checkpoints that are kept so far; let go of those no longer.

        What had a checkpoint `before`, and is written in place of that, has one again.
        """
        kept = self.checkpoints.kept(algorithm, records)
        there = [before[record.key].run_id for record in records if record.key in before]
        runs = {run.tags["key"]: run for run in self.store.logged(there, ())}
        if not self.options.again:
            same = {r.key for r in records if r.key in runs and is_the_same(runs[r.key], r)}
            for record in records:
                if record.key in same:
                    self.attach(record, before[record.key])
            records = [record for record in records if record.key not in same]
        measured = [column.metric for column in self.plan.columns]
        records = [
            with_additions(r, runs[r.key], measured) if r.key in runs else r for r in records
        ]
        had = {r.key for r in records if r.key in before and before[r.key].has_checkpoint}
        records = [r if r.key in kept | had else r.without_checkpoint() for r in records]
        self.images.keep(int(record.tags["sample_id"]) for record in records)
        if self.options.histories is Histories.NONE:
            records = [record.without_histories() for record in records]
        written = self.store.write_members(self.experiment_id, self.sweep_id, records, before)
        self.done |= {record.key: member for record, member in zip(records, written, strict=True)}
        for key in self.checkpoints.let_go(algorithm, kept, self.done, self.sweep_id):
            self.store.drop_checkpoint(self.done[key].run_id)
            self.done[key] = replace(self.done[key], has_checkpoint=False)

    def attach(self, record: Record, before: Finished) -> None:
        """Add the checkpoint of a member to its run, which is there without one."""
        self.store.client.set_tag(before.run_id, "weights_sha256", record.tags["weights_sha256"])
        ((name, content),) = record.artifacts.items()
        self.store.attach(before.run_id, name, content, ("checkpoint", record.tags["checkpoint"]))
        self.done[record.key] = replace(before, has_checkpoint=True)
