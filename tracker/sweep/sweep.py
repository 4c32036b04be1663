"""Run a sweep: compute its members in chunks, and write each chunk into the store.

Worker threads compute chunks while the one before is written. A sweep that was stopped goes on with
the members that the store does not have. One process drives it, or each share of it: see `driver`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.images import Images
from tracker.base.workers import Stop
from tracker.store import views
from tracker.store.driver import close_stale_sweeps, driving
from tracker.store.records import Finished, Histories, Record, Run, as_tag, in_blocks, read_tag
from tracker.store.write import Store
from tracker.sweep.chunks import CHUNKS, ChunkRunner, Work, executions_of, is_the_same
from tracker.sweep.measuring import Outcome, lacking, measure
from tracker.sweep.memory import workers_within
from tracker.sweep.options import Options, Reporter
from tracker.sweep.parent import chosen_executions, close, found, parent_record
from tracker.sweep.plan import FLIP, Plan, add_to_catalog
from tracker.sweep.retention import Checkpoints
from tracker.sweep.shards import SHARD, Share, tell
from tracker.sweep.summary import before_sweep
from unlearning.algorithm import Algorithm
from unlearning.errors import Raised

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
    if options.shard is not None:
        reporter.say(f"share {options.shard}: {share.size} of {plan.size} attempts")
    close_stale_sweeps(store)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    done = store.finished_members(plan.digests.values())
    known = store.find_sweep(experiment_id, plan.sweep_key)
    sweep_id = found(store, known, plan, options.execution) if known else None
    checkpoints = Checkpoints(store, plan, known, options.retention)
    if known and sweep_id and _is_done(known, share, done, checkpoints):
        unmeasured = lacking(base_run.model, share.planned(), done, plan.families)
        if not any(member.measurable for member in unmeasured):
            checkpoints.note(sweep_id)
            reporter.progress(share.size, "found")
            reporter.say_all(Outcome(lacking=unmeasured).said())
            reporter.ended(done)
            return sweep_id
    if known:
        add_to_catalog(store, known, plan.catalog)
    base, room = base_run.model, options.engine.room(base_run.model)
    workers = workers_within(base, plan.algorithms, plan.remaining_count, room)
    if sweep_id is None:
        executions = chosen_executions(base_run, plan, options)
        record = parent_record(base_run, plan, executions, options)
        sweep_id = store.begin_sweep(experiment_id, record, base_run.data)
    what, share_of = f"sweep {plan.name} ({sweep_id})", str(options.shard or "")
    with driving(store, sweep_id, what, share_of, reporter.say) as check_driver:
        store.resume_sweep(sweep_id)
        done = store.finished_members(plan.digests.values())  # also of the last driver
        checkpoints.note(sweep_id)
        tell(store, sweep_id, share_of, plan.keys(), done)
        views.add(store, experiment_id, sweep_id)
        if plan.until == FLIP:
            reporter.say_all(before_sweep(base_run.model, plan.sample_ids))
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
    reporter.ended(sweep.done)
    return sweep_id


def _is_done(
    sweep: Run, share: Share, done: Mapping[str, Finished], checkpoints: Checkpoints
) -> bool:
    """Whether a share is finished, with all members and the checkpoints that are wanted now."""
    is_whole_by_now = SHARD in sweep.tags and share.plan.keys() <= done.keys()
    is_there = sweep.status == "FINISHED" and share.keys <= done.keys()
    return is_there and not is_whole_by_now and not share.keys & checkpoints.lacking(done)


@dataclass
class _Sweep:
    """A sweep that is running: its members that are finished, and how the others are written.

    Attributes:
        sweep: its run, as it was when this process began with it.
        done: members that are in the store, by key.
        workers: how many there is room for, and bytes for all that is computed at a time.
        check_driver: raises Failure once another process drives the sweep.
        raised: what somebody else's algorithm raised, a chunk each.
        incomplete: the keys of members that are unlearned again for their missing checkpoint.
        apart: how many of these came to other weights than before.
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
    check_driver: Callable[[], None]
    raised: defaultdict[str, list[Raised]] = field(default_factory=lambda: defaultdict(list))
    incomplete: Set[str] = frozenset()
    apart: int = 0

    def __post_init__(self) -> None:
        store, self.sweep_id = self.store, self.sweep.run_id
        uri = store.run(self.base_run.run_id).artifact_uri
        self.images = Images(store.artifacts, uri, self.base_run.model.dataset)

    def go(self) -> None:
        """Compute and write the members that are missing, then the checkpoints that are."""
        missing = self.share.keys - self.done.keys()
        for name, keys in self.share.planned().items():
            self.reporter.progress(len(keys.keys() - missing), name)
        self.compute(missing)
        self.measure()
        for key in self.checkpoints.outranked(self.done, self.sweep):
            self.store.drop_checkpoint(self.done[key].run_id)
            self.done[key] = replace(self.done[key], has_checkpoint=False)
        if self.apart:
            self.reporter.say(
                f"{self.apart} members come to other weights here than in the store, and stay "
                "without a checkpoint: delete their runs, and call the sweep again"
            )
        self.refuse()

    def compute(self, missing: Set[str]) -> None:
        """Compute and write missing members, by their keys, then missing checkpoints."""
        clock, engine, base = self.reporter.clock, self.options.engine, self.base_run.model
        with clock.of("factors"):
            pre = pre_factors(
                *(self.store, self.base_run, self.share.pre_samples, self.plan.families, engine),
                lambda _, doing: self.reporter.progress(0, doing),
            )
        stop, executions, wanted = Stop(), executions_of(self.sweep), self.checkpoints.any
        runner = ChunkRunner(
            *(self.base_run, self.plan, executions, pre, wanted, clock, stop.is_set),
            self.share.pre_samples,
        )
        most, room = self.workers
        with engine.pool(base, stop, most) as pool:
            sizes = self.chunk_sizes(runner, room / pool.count)
            self.write_all(pool.map(runner.tried, self.chunks(missing, sizes, whole=False), clock))
            self.incomplete = self.share.keys & self.checkpoints.lacking(self.done)
            again = self.chunks(self.incomplete, sizes, whole=True)
            self.write_all(pool.map(runner.tried, again, clock))

    def chunk_sizes(self, runner: ChunkRunner, room: float) -> dict[str, int]:
        """How many members of each algorithm a worker computes at a time, by its name.

        As was asked for; else as the sweep was begun with, where memory has room for it.
        """
        kept = read_tag(self.sweep.tags.get(CHUNKS, ""))
        sizes = runner.sizes(kept, room)
        if self.options.chunk:
            sizes = dict.fromkeys(sizes, self.options.chunk)
        if not kept:
            said = as_tag({name: str(size) for name, size in sizes.items()})
            self.store.client.set_tag(self.sweep_id, CHUNKS, said)
        return sizes

    def chunks(self, keys: Set[str], sizes: Mapping[str, int], whole: bool) -> Iterator[Work]:
        """Chunks of members, block after block of the share, of algorithms not given up.

        Args:
            whole: as the sweep made them, with other members: last bits depend on who is in one.
        """
        for algorithm, block in self.share.blocks:
            wanted = {s for s in block if self.plan.key(algorithm, s) in keys}
            samples = block if whole else [sample for sample in block if sample in wanted]
            for some in in_blocks(samples, sizes[algorithm.name]):
                given_up = len(self.raised[algorithm.name]) >= GIVEN_UP
                if not (given_up or wanted.isdisjoint(some)):
                    yield algorithm, some

    def write_all(self, results: Iterable[tuple[Work, list[Record] | Raised]]) -> None:
        """Write chunks as they come."""
        for (algorithm, _), records in results:
            if isinstance(records, Raised):
                self.raised[algorithm.name].append(records)
                continue
            self.check_driver()
            with self.reporter.clock.of("store"):
                self.write(algorithm, records)
            self.reporter.progress(len(records), algorithm.name)

    def write(self, algorithm: Algorithm, records: Sequence[Record]) -> None:
        """Write a chunk: members that are new, and checkpoints that others lack."""
        self.complete([record for record in records if record.key in self.incomplete])
        new, kept = list[Record](), self.checkpoints.kept(algorithm.name, records, self.done)
        for record in records:
            if record.key not in self.done:
                own = record if record.key in kept else record.without_checkpoint()
                is_whole = self.options.histories is Histories.RUNS
                new.append(own if is_whole else own.without_histories())
        self.images.keep(int(record.tags["sample_id"]) for record in new)
        written = self.store.write_members(self.sweep.experiment_id, self.sweep_id, new)
        self.done |= {record.key: member for record, member in zip(new, written, strict=True)}

    def complete(self, records: Sequence[Record]) -> None:
        """Add their checkpoints to runs, by records that come to the same weights."""
        members = {self.done[record.key].run_id: record for record in records}
        runs = {run.run_id: run for run in self.store.logged([*members], ())}
        for run_id, record in members.items():
            if run_id not in runs or not is_the_same(runs[run_id], record):
                self.apart += 1
                continue
            tags, ((name, content),) = record.tags, record.artifacts.items()
            self.store.client.set_tag(run_id, "weights_sha256", tags["weights_sha256"])
            self.store.attach(run_id, name, content, ("checkpoint", tags["checkpoint"]))
            self.done[record.key] = replace(self.done[record.key], has_checkpoint=True)

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
            self.done = self.store.finished_members(plan.digests.values())
            self.reporter.say_all(outcome.said())

    def refuse(self) -> None:
        """Raise Raised where somebody else's algorithm did."""
        for name, (raised, *_) in ((name, some) for name, some in self.raised.items() if some):
            left = len(self.share.planned()[name].keys() - self.done.keys())
            line = (
                f"{raised}: {left} attempts of {name} are not done. All else is done, and the same "
                "command tries these again"
            )
            raise Raised(raised.kind, raised.name, line, raised.trace) from raised
