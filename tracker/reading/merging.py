"""Stores merged into one, run by run and by key: what is here stays as it is.

Nothing is half written: a run is written whole, and a sweep whose merging was stopped is one that
was stopped, with which merging goes on as well as sweeping. Nothing is written twice: one process
at a time merges into an embedded store, and a sweep is merged by the process that drives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlflow.entities import RunTag

from tracker.access.blocks import in_blocks
from tracker.base.base_models import as_name
from tracker.reading.bringing import (
    Ids,
    base_here,
    bring_base,
    bring_images,
    bring_prediction,
    data_of,
    with_ids,
)
from tracker.reading.doubled import Doubled
from tracker.reading.families import Bringing
from tracker.reading.sources import AT_A_TIME, Advance, Say, Source, SweepThere
from tracker.record import extremes, views
from tracker.record.driver import driving, locked
from tracker.record.records import (
    FIRST_BEGAN,
    MEASURED_AT,
    NOTE,
    Data,
    Kind,
    Record,
    first_began,
    milliseconds,
    this_process,
)
from tracker.record.store import PROCESS, Store
from tracker.record.weights import file_name, read_checkpoint
from tracker.record.whole import Whole, whole_runs
from tracker.sweeping.chunks import executions_in
from tracker.sweeping.measuring import add_to_catalog, finished_of
from tracker.sweeping.notes import Swept, aggregates, kept_in
from tracker.sweeping.plan import PLAN
from tracker.sweeping.retention import KEEPS, Claim
from tracker.sweeping.shards import SHARD, both, partly
from unlearning import algorithms
from unlearning.errors import UserError
from unlearning.naming import counted

TOGETHER = 64 * 2**20  # bytes of checkpoints that are written in one transaction


@dataclass
class Brought:
    """What came of a sweep of another store.

    Attributes:
        sweep_id: of its run here. new: members that were not here.
        finished, planned: how many of its members are here now, and how many it has.
        executions: how its members are executed there and here, by algorithm, where that differs.
    """

    source: str
    sweep_id: str
    name: str
    planned: int
    finished: int = 0
    new: int = 0
    doubled: Doubled = field(default_factory=Doubled)
    executions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def said(self) -> Iterator[str]:
        """What the user has to know of members that differ, or were here already, a line each."""
        what, doubled = f"sweep {self.name} ({self.sweep_id})", self.doubled
        if self.new and self.executions:
            how = ", ".join(
                f"{n}: {there}, not {here}" for n, (there, here) in self.executions.items()
            )
            yield (
                f"{what}: the {self.new} members that are new from {self.source} were not executed "
                f"there as it is here ({how}), so that their last digits are not those of the "
                "sweep done at once"
            )
        if doubled.first:
            first = doubled.first
            yield (
                f"{what}: {doubled.differing} of {doubled.count} members that were here already "
                f"have other numbers in {self.source}, apart by {doubled.largest:.2g} of the value "
                f"at most; what was here is kept. The first is {first.member}: {first.metric} is "
                f"{first.here!r} here and {first.there!r} there"
            )
        if doubled.lacking:
            yield (
                f"{what}: {doubled.lacking} members lack factors here that they have in "
                f"{self.source}: 'indelible measure' measures them"
            )
        if doubled.given:
            yield f"{what}: {doubled.given} members were given the checkpoints that they lacked"

    def extent(self) -> str:
        """How much of the sweep is here."""
        what = f"sweep {self.name} ({self.sweep_id}): {self.finished} of {self.planned} attempts"
        if self.finished == self.planned:
            return f"{what} are here, which is all of it"
        return (
            f"{what} are here: the stores of other shares, or the same sweep called again, bring "
            "the rest"
        )


@contextmanager
def alone(store: Store, sources: Sequence[Source]) -> Iterator[None]:
    """Have no other process merge into the same embedded store meanwhile.

    Rows of other databases are known by their keys. Raises UserError where one does, Failure where
    a base model of a source has another outcome here.
    """
    for source in sources:
        for run in source.whole(source.finished(Kind.BASE_MODEL)):
            base_here(store, run)
    if not store.address.is_embedded:
        yield
        return
    with locked(store, "merge", f"a merge into {store.address.shown}"):
        yield


def merge(store: Store, source: Source, say: Say, advance: Advance) -> Iterator[Brought]:
    """Write what a store has, which was checked, and another one lacks; `alone`.

    Yields what came of each of its sweeps, when it is done.
    """
    artifacts, ids, written = source.reader.artifacts, dict[str, str](), dict[str, int]()
    bases: dict[str, Whole] = {}
    for run in source.whole(source.finished(Kind.BASE_MODEL)):
        ids[run.run_id], is_new = bring_base(store, artifacts, run)
        bring_images(store, ids[run.run_id], artifacts.path(run.artifact_uri))
        bases[run.run_id] = run
        written["base model"] = written.get("base model", 0) + is_new
    data = {base.tags["data_fingerprint"]: data_of(base) for base in bases.values()}
    for run in source.whole(source.finished(Kind.PREDICTION)):
        fingerprint = run.tags.get("data_fingerprint", "")
        of = data.get(fingerprint, Data(run.params["dataset"], fingerprint, {}))
        is_new = bring_prediction(store, artifacts, run, of, ids)
        written[run.kind] = written.get(run.kind, 0) + is_new
    for family in source.families.values():
        bringing = Bringing(store, artifacts, family, bases[family.base], ids, say)
        is_new = bringing.go(list(source.whole(family.children)))
        written[family.kind] = written.get(family.kind, 0) + is_new
    if said := ", ".join(counted(count, what) for what, count in written.items() if count):
        say(f"from {source.folder}: {said}, or what is kept beside")
    for sweep in source.sweeps.values():
        base = bases[sweep.run.params["base_run_id"]]
        with _Merging(store, source, sweep, base, ids, say) as merging:
            merging.go(advance)
        yield merging.brought


@dataclass
class _Merging:
    """A sweep that is being merged: its run here, and its members here by key.

    As a context: where it is left by an error, the sweep here counts as stopped.
    """

    store: Store
    source: Source
    sweep: SweepThere
    base: Whole
    ids: Ids
    say: Say

    def __post_init__(self) -> None:
        run = self.sweep.run
        params = (run.params["dataset"], as_name(run.params["arch"]))
        self.experiment_id = self.store.experiment_id(*params)
        self.known = self.store.find_sweep(self.experiment_id, run.tags["key"])
        self.done = finished_of(self.store, self.sweep.plan)
        base = self.store.run(self.ids[self.base.run_id])
        self.accuracy = float(base.data.metrics["test_accuracy"])
        self._driving = ExitStack()
        self._is_driven = False
        self.is_open = False
        size = len(self.sweep.keys)
        sweep_id = str(self.known.info.run_id) if self.known else ""
        self.brought = Brought(str(self.source.folder), sweep_id, run.name, size)
        if self.known is not None:
            there, here = executions_in(run.tags), executions_in(self.known.data.tags)
            self.brought.executions = {
                name: (how, here[name]) for name, how in there.items() if how != here.get(name, how)
            }

    def __enter__(self) -> _Merging:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None and self.is_open:
            self.store.interrupt(self.brought.sweep_id)
        self._driving.close()

    @property
    def sweep_id(self) -> str:
        """Of its run here, once there is one."""
        return self.brought.sweep_id

    def go(self, advance: Advance) -> None:
        """Write the members that are not here, and then close the sweep if all are."""
        if self.known is None:
            self._begin()
        for block in in_blocks(self.sweep.members, AT_A_TIME):
            members = whole_runs(self.source.reader, self.source.runs, block)
            if any(member.tags["key"] not in self.done for member in members):
                self._join()
                self._open()
            self._compare([m for m in members if m.tags["key"] in self.done])
            lacking = [member for member in members if member.tags["key"] not in self.done]
            for group in self._groups(lacking):
                written = self.store.write_members(self.experiment_id, self.sweep_id, group)
                pairs = zip(group, written, strict=True)
                self.done |= {record.key: member for record, member in pairs}
            self.brought.new += len(lacking)
            advance(len(block), self.sweep.run.name)
        self._end()

    def _join(self) -> None:
        """Drive the sweep here from now on. Raises UserError where another process does."""
        if self._is_driven:
            return
        self._driving.enter_context(driving(self.store, self.sweep_id, self._named, say=self.say))
        self._is_driven = True
        self.done = finished_of(self.store, self.sweep.plan)

    @property
    def _named(self) -> str:
        return f"sweep {self.sweep.run.name} ({self.sweep_id})"

    # The run of the sweep

    def _begin(self) -> None:
        """Begin the sweep here, as it was begun there."""
        artifacts, run = self.source.reader.artifacts, self.sweep.run
        plan = artifacts.read(run.artifact_uri, PLAN)
        assert plan is not None  # it was read when the store was checked
        record = with_ids(run.record({PLAN: plan}), self.ids)
        tags = {n: said for n, said in record.tags.items() if n != extremes.TAGGED}
        names = self.sweep.plan.digests  # begin the names of aggregates, which are made anew
        points = tuple(p for p in record.points if p.key.partition("/")[0] not in names)
        record = replace(record, tags={**tags, PROCESS: this_process()}, points=points)
        self.brought.sweep_id = self.store.begin_sweep(
            self.experiment_id, record, data_of(self.base)
        )
        views.add(self.store, self.experiment_id, self.sweep_id)
        self.is_open = True

    def _open(self) -> None:
        """Go on with the sweep that is here already, of which members are written."""
        if self.is_open or self.known is None:
            return
        self.store.resume_sweep(self.sweep_id)
        self.is_open = True
        tags, there = self.known.data.tags, self.sweep.run.tags
        for tag in there:
            if tag.startswith(KEEPS) and tag not in tags:
                self.store.client.set_tag(self.sweep_id, tag, there[tag])
        if SHARD in tags or SHARD in there:
            shares = both(tags.get(SHARD, ""), there.get(SHARD, ""))
            self.store.client.set_tag(self.sweep_id, SHARD, shares)
        add_to_catalog(self.store, self.known, self.sweep.plan.factors)

    def _end(self) -> None:
        """Close the sweep where all of its members are here, else leave it to be gone on with."""
        is_closed = self.known is not None and (
            self.known.info.status == "FINISHED" and SHARD not in self.known.data.tags
        )
        if not is_closed:
            self._join()
        self.brought.finished = len(self.sweep.keys & self.done.keys())
        is_whole = self.brought.finished == self.brought.planned
        if is_whole and (self.is_open or not is_closed):
            self._close()
        elif self.is_open:
            self._leave()
        self.is_open = False

    def _leave(self) -> None:
        """Leave a sweep as one that was stopped, of which some shares are here."""
        tags = self.store.run(self.sweep_id).data.tags
        begins = partly(tags.get(SHARD, ""), self.sweep.keys, self.done)
        if begins:
            _, _, rest = tags.get(NOTE, begins).partition("\n\n")
            self.store.client.set_tag(self.sweep_id, NOTE, begins + rest)
        self.store.interrupt(self.sweep_id, self._ended_ms())

    def _close(self) -> None:
        """Write aggregates and description over all members into the run, and finish it."""
        run, plan = self.store.run(self.sweep_id), self.sweep.plan
        tags, done = run.data.tags, finished_of(self.store, plan)
        outcome = aggregates(plan.planned(), done, self.accuracy)
        note = tags.get(NOTE)
        extremes.tag_members(self.store, self.sweep_id, plan.planned(), done)
        views.add(self.store, self.experiment_id, self.sweep_id)
        is_as_there = outcome.items() <= self.sweep.run.metrics.items() and SHARD not in tags
        if note is None or self.known is not None or not is_as_there:
            children = views.link(self.experiment_id, self.sweep_id)
            note = self._swept().note(self.sweep_id, outcome, children)
        if SHARD in tags:
            self.store.untag(self.sweep_id, SHARD)
        if self.known is not None:
            self.store.client.set_tag(self.sweep_id, MEASURED_AT, str(milliseconds()))
        known = run.data.metrics
        changed = {name: value for name, value in outcome.items() if known.get(name) != value}
        self.store.close_sweep(self.sweep_id, changed, note, self._ended_ms())

    def _ended_ms(self) -> int | None:
        """When it last ended, here or there; None if it never did."""
        ends = (self.sweep.run.ended_ms, self.known.info.end_time if self.known else None)
        return max((end for end in ends if end is not None), default=None)

    def _swept(self) -> Swept:
        """What the description says beside the outcome."""
        run, plan = self.sweep.run, self.sweep.plan
        return Swept(
            base_id=self.ids[self.base.run_id],
            base_name=self.base.name,
            dataset=run.params["dataset"],
            arch=run.params["arch"],
            test_accuracy=self.accuracy,
            samples=len(plan.sample_ids),
            seed=int(run.params["seed"]),
            settings=plan.settings,
            exact=frozenset(name for name in plan.digests if _is_exact(name)),
            histories=kept_in(plan.member_keys(), self.done),
        )

    # Its members

    def _groups(self, members: Iterable[Whole]) -> Iterator[list[Record]]:
        """Members as they are written, with their checkpoints: not too many bytes at a time."""
        group, size = list[Record](), 0
        for member in members:
            files = self._checkpoint(member)
            record = with_ids(member.record(files), self.ids)
            tags = {n: said for n, said in record.tags.items() if n != extremes.TAG}
            group.append(replace(record, tags=tags))
            size += sum(map(len, files.values()))
            if size > TOGETHER:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _checkpoint(self, member: Whole) -> dict[str, bytes]:
        """The file with the checkpoint of a member there, if it has one. Raises Damaged."""
        artifacts, tags = self.source.reader.artifacts, member.tags
        content = read_checkpoint(artifacts, member.artifact_uri, tags)
        return {} if content is None else {file_name("checkpoint", tags["checkpoint"]): content}

    def _compare(self, members: Sequence[Whole]) -> None:
        """Compare members with those that are here; give these checkpoints that are wanted."""
        run_ids = [self.done[member.tags["key"]].run_id for member in members]
        here = {run.tags["key"]: run for run in self.store.logged(run_ids, ())}
        timed = [
            f"{f['family']}/{f['factor']}" for f in self.sweep.plan.factors if f["unit"] == "s"
        ]
        for member in members:
            key = member.tags["key"]
            if key not in here:
                continue
            first = first_began(member.started_ms, member.tags)
            if first < first_began(here[key].started_ms, here[key].tags):
                now = RunTag(MEASURED_AT, str(milliseconds()))  # so that it is loaded again
                tags = [RunTag(FIRST_BEGAN, str(first)), now]
                self.store.client.log_batch(here[key].run_id, tags=tags)
            is_same = self.brought.doubled.add(
                member.name, here[key].metrics, member.metrics, timed
            )
            lacks = "checkpoint" in member.tags and "checkpoint" not in here[key].tags
            own = here[key].tags.get("weights_sha256", member.tags.get("weights_sha256"))
            if lacks and is_same and own == member.tags.get("weights_sha256") and self._wants(key):
                self._give(here[key].run_id, member)

    def _wants(self, key: str) -> bool:
        """Whether the sweep here wants a member's checkpoint."""
        return key in self._wanted

    @cached_property
    def _wanted(self) -> set[str]:
        tags = self.store.run(self.sweep_id).data.tags
        return Claim.of(self.sweep.plan, tags).wanted(self.done)

    def _give(self, run_id: str, member: Whole) -> None:
        """Add the checkpoint of a member to its run here."""
        tags = member.tags
        self.store.client.set_tag(run_id, "weights_sha256", tags["weights_sha256"])
        ((name, content),) = self._checkpoint(member).items()
        self.store.attach(run_id, name, content, ("checkpoint", tags["checkpoint"]))
        key = tags["key"]
        self.done[key] = replace(self.done[key], has_checkpoint=True)
        self.brought.doubled.given += 1


def _is_exact(name: str) -> bool:
    """Whether an algorithm is exact; one that is not installed here counts as not."""
    with suppress(UserError):
        return bool(algorithms.get(name).is_exact)
    return False
