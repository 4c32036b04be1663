"""Stores merged into one: rows by run id or key, files by their SHA-256. What is here stays.

All of a store is looked at before anything of it is written elsewhere: the pages of its database,
its files, and whether its runs belong together. A run is written whole, its files before its rows.
A parent run (a sweep, a tuning, an unlearning) whose merging was stopped is one that was stopped:
the same merge goes on with it, and its own command does. Its aggregates are made anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from mlflow.entities import Metric, Run, RunTag

from tracker.base import images, parts
from tracker.base.base_models import OUTPUTS_APART, as_name
from tracker.reading.run_files import contents
from tracker.store import views as extremes, identity
from tracker.store.addresses import Address, is_same_file, without_password
from tracker.store.records import in_blocks
from tracker.store.database import check_pages
from tracker.store.driver import close_stale_sweeps, driving, locked
from tracker.store.files import Artifacts, Damaged
from tracker.store.opening import look, open_store
from tracker.store.read import Reader
from tracker.store.records import (
    AVERAGED,
    MEASURED_AT,
    NOTE,
    PARENT,
    Data,
    Finished,
    Kind,
    Known,
    Record,
    its_process_is_gone,
    milliseconds,
    on_this_machine,
    this_process,
)
from tracker.store.registry import REGISTERED
from tracker.store.retry import Retry
from tracker.store.write import OWN_ID, PROCESS, Store
from tracker.sweep.parent import close
from tracker.sweep.plan import PLAN, KeptPlan, add_to_catalog, finished_of, read_plan
from tracker.sweep.shards import SHARD
from unlearning import naming
from unlearning.errors import Failure, UserError

CHILD = {Kind.SWEEP: Kind.MEMBER, Kind.TUNING: Kind.TRIAL, Kind.UNLEARNING: Kind.STEP}
ADDRESS = re.compile("[a-z][a-z0-9+.-]+://")
AT_A_TIME = 200  # runs of which all is in memory
TOGETHER = 64 * 2**20  # bytes of checkpoints that are written in one transaction
OUTCOME = ("train_accuracy", "test_accuracy", "test_loss")  # of a base model, alike everywhere
LEFT_OUT = (REGISTERED, extremes.TAG, extremes.TAGGED)  # tags that are true of one store alone
TIMES = {AVERAGED["elapsed_s"], "seconds"}  # metrics that are never the same twice

Say = Callable[[str], None]
Advance = Callable[[int, str], None]  # is told how many child runs were just done, and of what
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Parent:
    """A sweep, a tuning or an unlearning in a store that is merged.

    Attributes:
        plan: of a sweep. children: the run ids of its finished child runs, by key.
    """

    run: Known
    plan: KeptPlan | None
    children: dict[str, str] = field(default_factory=dict)

    @cached_property
    def planned(self) -> set[str]:
        """The keys of all members of a sweep; of the others, the children that are there."""
        return {*(self.plan.keys() if self.plan else self.children)}

    def is_whole(self, keys: set[str]) -> bool:
        """Whether all of it is there, with these children."""
        return self.planned <= keys if self.plan else self.run.status == "FINISHED"


@dataclass(frozen=True)
class Source:
    """A store that is merged: what runs there are, and, once it was checked, the parent runs."""

    folder: Path
    reader: Reader
    runs: pa.Table
    parents: dict[str, Parent] = field(default_factory=dict)

    def ids(self, kind: Kind, status: str = "FINISHED") -> list[str]:
        """The ids of the runs of a kind, in the order of their beginnings."""
        condition = pc.equal(self.runs["kind"], str(kind))
        if status:
            condition = pc.and_(condition, pc.equal(self.runs["status"], status))
        order = [("start_time", "ascending"), ("run_id", "ascending")]
        ids: list[str] = self.runs.filter(condition).sort_by(order)["run_id"].to_pylist()
        return ids

    def whole(self, run_ids: Sequence[str]) -> Iterator[Known]:
        """These runs with all that is logged of them, some at a time."""
        for some in in_blocks(run_ids, AT_A_TIME):
            yield from self.reader.whole(some)

    def check(self, advance: Advance) -> None:
        """Verify all files, and find out whose child runs are whose.

        Runs whose base model or parent was deleted are left out.

        Raises Damaged where one is damaged, UserError where a process is still at a run.
        """
        try:
            self._check(advance)
        except Damaged as damage:
            raise Damaged(
                f"nothing was merged, for {self.folder} is damaged: {damage}. Copy that store "
                f"again; or mend it with 'indelible --store {self.folder} check --repair' and call "
                "its sweep again there; or leave it out"
            ) from damage

    def _check(self, advance: Advance) -> None:
        artifacts, bases = self.reader.artifacts, set(self.ids(Kind.BASE_MODEL))
        for kind in (Kind.BASE_MODEL, Kind.PREDICTION):
            for run in self.whole(self.ids(kind)):
                contents(artifacts, run)
        for kind, child_kind in CHILD.items():
            for run in self.whole(self.ids(kind, status="")):
                process = run.tags.get(PROCESS, "")
                is_here = on_this_machine(process) and not its_process_is_gone(process)
                if run.status == "RUNNING" and is_here:
                    raise UserError(
                        f"{run.kind} {run.name} ({run.run_id}) in {self.folder} was begun by "
                        f"process {process.rpartition(':')[2]}, which is still at it: merge when "
                        "it has ended"
                    )
                if run.params.get("base_run_id") in bases:
                    plan = contents(artifacts, run).get(PLAN)
                    kept = read_plan(plan, run.run_id, run.tags.get("key")) if plan else None
                    self.parents[run.run_id] = Parent(run, kept)
            for child in self.whole(self.ids(child_kind)):
                parent = self.parents.get(child.tags.get(PARENT, ""))
                if parent is not None:
                    contents(artifacts, child)
                    key = child.tags.get("key", "")
                    if parent.plan and key not in parent.planned:
                        raise Damaged(f"{child.name} ({child.run_id}) is not in its sweep's plan")
                    parent.children[key] = child.run_id
                    advance(1, self.folder.name)


def open_sources(named: Sequence[str], into: Address, say: Say) -> list[Source]:
    """The embedded stores of these folders, of which nothing was read but what runs there are.

    Raises UserError for what is no store, and for the one that is merged `into`; Failure for a
    damaged database.
    """
    sources = []
    for name in named:
        if ADDRESS.match(name):
            raise UserError(
                f"'{without_password(name)}' is an address: merge takes the folders of stores; to "
                "merge into a server, give its address as --tracking-uri"
            )
        folder = Path(name)
        address = Address.of(folder)
        if address.file is None or not address.file.is_file():
            raise UserError(
                f"{folder} is no store, for it has no mlflow.db: give a folder that was --store"
            )
        if into.file is not None and is_same_file(address.file, into.file):
            raise UserError(f"{folder} is the store that is merged into: give others")
        retry = Retry(address.shown, say=say)
        found = look(address, retry)
        if found.revision is None:
            raise UserError(f"{folder} is no store yet: there is nothing in its mlflow.db")
        identity.verify(address, found.experiments)
        check_pages(address)
        reader = Reader(address, retry)
        sources.append(Source(folder, reader, reader.runs()))
    return sources


def merge(store: Store, sources: Sequence[Source], say: Say, advance: Advance) -> Rows:
    """Write what stores have, which were checked, and another one lacks.

    Returns: a row a store and parent run: store, kind, run_id (here), name; how many child runs
    are new, doubled (they were here already), differing (of these, from what was here), finished
    (here now) and planned.

    Raises UserError where another process merges into it or drives what is merged, Failure where a
    base model has another outcome here.
    """
    for source in sources:
        for base in source.whole(source.ids(Kind.BASE_MODEL)):
            _base_here(store, base)
    alone = locked(store, "merge", f"a merge into {store.address.shown}")
    with alone if store.address.is_embedded else nullcontext():
        close_stale_sweeps(store)
        return [row for source in sources for row in _Merge(store, source, say).go(advance)]


def export(reader: Reader, reference: str, folder: Path) -> Known:
    """Write a base model, with what is beside it, into a new store; what it is.

    The images of its samples are left out: a sweep writes those that it needs.

    Args:
        reference: the base model's name, id or the beginning of its id, or `latest`.
        folder: one that is empty or not there.

    Raises UserError where there is no such model, or where the folder is not empty or can be no
    store; Damaged where the model is.
    """
    runs = [run for run in reader.of_kind(Kind.BASE_MODEL) if run.status == "FINISHED"]
    if not runs:
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    named = [(run.run_id, run.name) for run in runs]
    run_id = naming.find(reference, named, "base model", "'indelible models' lists them")
    (run,) = reader.whole([run_id])
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there, and not an empty folder: name one that is not there")
    Address.of(folder)  # raises where no store can be
    contents(reader.artifacts, run)  # raises where it is damaged, before anything is written
    _bring_base(open_store(folder), reader.artifacts, run)
    return run


def _base_here(store: Store, there: Known) -> Run | None:
    """The run here of a base model: of the same key, and with the same weights.

    Raises Failure where that has another accuracy or loss: one of the two is damaged.
    """
    for known in store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{there.tags['key']}'"):
        if known.data.tags.get("weights_sha256") != there.tags["weights_sha256"]:
            continue
        for name in there.metrics.keys() & known.data.metrics.keys() & {*OUTCOME}:
            here, other = known.data.metrics[name], there.metrics[name]
            if abs(here - other) > OUTPUTS_APART * max(abs(here), abs(other)):
                raise Failure(
                    f"nothing of it was merged: base model {there.name} ({there.run_id}) has "
                    f"{name} {other:.6g} there and {here:.6g} here, so that one of both is damaged"
                )
        return known
    return None


def _bring_base(store: Store, artifacts: Artifacts, there: Known) -> str:
    """Write a base model with what is beside it, or add the parts that it lacks here; its run id
    here.
    """
    files, here = contents(artifacts, there), _base_here(store, there)
    if here is None:
        note = there.tags.get(NOTE, "").replace(there.run_id, OWN_ID)
        new = (_experiment_id(store, there), there.record(files), _data_of(there), note)
        return store.log_base_model(*new)
    run_id = str(here.info.run_id)
    for kind in parts.ALL:
        for name in kind.names(there.tags):
            tag, file = kind.tag(name), kind.file(name)
            if tag not in here.data.tags:
                store.attach(run_id, file, files[file], (tag, there.tags[tag]))
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return run_id


def _experiment_id(store: Store, run: Known) -> str:
    return store.experiment_id(run.params["dataset"], as_name(run.params["arch"]))


def _data_of(run: Known) -> Data:
    """The data set of a run as an MLflow input."""
    names = {name: f"{name}_samples" for name in ("train", "test")}
    profile = {name: int(run.params[p]) for name, p in names.items() if p in run.params}
    return Data(run.params["dataset"], run.tags.get("data_fingerprint", ""), profile)


@dataclass
class _Merge:
    """The merging of one store.

    Attributes:
        ids: of base models here, by those that they have there. bases: as they are there.
    """

    store: Store
    source: Source
    say: Say
    ids: dict[str, str] = field(default_factory=dict)
    bases: dict[str, Known] = field(default_factory=dict)

    def go(self, advance: Advance) -> Rows:
        """Write what is not here; the rows of `merge`."""
        store, artifacts = self.store, self.source.reader.artifacts
        for base in self.source.whole(self.source.ids(Kind.BASE_MODEL)):
            self.bases[base.run_id] = base
            self.ids[base.run_id] = _bring_base(store, artifacts, base)
            folder = artifacts.path(base.artifact_uri)
            uri = store.run(self.ids[base.run_id]).info.artifact_uri
            paths = sorted(folder.glob(f"{images.FOLDER}/*.png")) if folder else []
            for some in in_blocks(paths, AT_A_TIME):
                files = {path.name: path.read_bytes() for path in some}
                store.artifacts.write_again(uri, images.FOLDER, files)
        for run in self.source.whole(self.source.ids(Kind.PREDICTION)):
            made = self._copied(run)  # with the time at which it was made
            where = _experiment_id(store, run)
            store.log_once(Kind.PREDICTION, where, made, _data_of(run), made.ended_ms)
        return [self._bring(parent, advance) for parent in self.source.parents.values()]

    def _copied(self, run: Known) -> Record:
        """A run as it is written here: it names base models by the ids that they have here."""
        tags = {name: said for name, said in run.tags.items() if name not in LEFT_OUT}
        for there, here in self.ids.items():
            if NOTE in tags:
                tags[NOTE] = tags[NOTE].replace(there, here)
        base = {n: self.ids.get(v, v) for n, v in run.params.items() if n == "base_run_id"}
        record = run.record(contents(self.source.reader.artifacts, run))
        return replace(record, params={**run.params, **base}, tags=tags)

    def _parent(self, parent: Parent) -> Record:
        """A parent run as it is written here; the aggregates of a sweep are made anew."""
        record = self._copied(parent.run)
        names = parent.plan.digests if parent.plan else ()
        points = tuple(p for p in record.points if p.key.partition("/")[0] not in names)
        return replace(record, tags={**record.tags, PROCESS: this_process()}, points=points)

    def _children(self, parent: Parent) -> dict[str, Finished]:
        """The finished child runs that are here, by key, whosever they are."""
        if parent.plan is not None:
            return finished_of(self.store, parent.plan)
        runs = self.store.finished_runs(CHILD[Kind(parent.run.kind)])
        told = [(run.info.run_id, run.data.tags, run.data.metrics) for run in runs]
        return {tags["key"]: Finished.told(run_id, tags, m) for run_id, tags, m in told}

    def _bring(self, parent: Parent, advance: Advance) -> dict[str, Any]:
        """Write a parent run and its children that are not here; its row.

        It ends where all of it is here.
        """
        store, run = self.store, parent.run
        kind, where = Kind(run.kind), _experiment_id(store, run)
        known, here = store.find_sweep(where, run.tags["key"], kind), self._children(parent)
        doubled = [key for key in parent.children if key in here]
        lacking = [key for key in parent.children if key not in here]
        differing = 0
        for some in in_blocks(doubled, AT_A_TIME):
            there = self.source.reader.logged([parent.children[key] for key in some])
            own = store.logged([here[key].run_id for key in some], ())
            differing += sum(map(_differs, own, there))
        advance(len(doubled), run.name)
        run_id = str(known.info.run_id) if known else ""
        is_closed = known is not None and (
            known.info.status == "FINISHED" and SHARD not in known.data.tags
        )
        took_another_way = kind is Kind.UNLEARNING and (is_closed or differing)
        will_end = not is_closed and parent.is_whole({*here, *lacking})
        if (known is None or lacking or will_end) and not took_another_way:
            if known is None:
                data = _data_of(self.bases[run.params["base_run_id"]])
                run_id = store.begin_sweep(where, self._parent(parent), data, kind)
            with driving(store, run_id, f"{kind} {run.name} ({run_id})", say=self.say):
                here = self._children(parent)  # all that a driver before this one wrote
                store.resume_sweep(run_id)
                try:
                    missing = [key for key in lacking if key not in here]
                    self._add(where, run_id, parent, missing, advance)
                    here = self._children(parent)
                    self._end(parent, run_id, known, here)
                except BaseException:
                    store.interrupt(run_id)
                    raise
        return {
            "store": str(self.source.folder),
            "kind": str(kind),
            "run_id": run_id,
            "name": run.name,
            "new": len([key for key in lacking if key in here]),
            "doubled": len(doubled),
            "differing": differing,
            "finished": len(here.keys() & parent.planned),
            "planned": len(parent.planned),
        }

    def _add(
        self, where: str, run_id: str, parent: Parent, keys: Sequence[str], advance: Advance
    ) -> None:
        """Write child runs: not too many bytes at a time."""
        group, size, left = list[Record](), 0, len(keys)
        for child in self.source.whole([parent.children[key] for key in keys]):
            group.append(self._copied(child))
            size, left = size + sum(map(len, group[-1].artifacts.values())), left - 1
            if size > TOGETHER or len(group) == AT_A_TIME or not left:
                self.store.write_members(where, run_id, group)
                advance(len(group), parent.run.name)
                group, size = [], 0

    def _end(
        self, parent: Parent, run_id: str, known: Run | None, here: Mapping[str, Finished]
    ) -> None:
        """Finish a parent run where all of it is here, else leave it to be gone on with."""
        store, there = self.store, parent.run
        ends = [there.ended_ms, known.info.end_time if known else None]
        ended = max((end for end in ends if end is not None), default=None)
        if parent.plan is not None:
            add_to_catalog(store, store.run(run_id), parent.plan.factors)
            base = store.run(self.ids[there.params["base_run_id"]])
            accuracy = float(base.data.metrics["test_accuracy"])
            close(store, run_id, here, accuracy, there.tags.get(SHARD, ""), ended)
            if known is not None:  # so that it is loaded again
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
        elif parent.is_whole({*here}):
            record, mine = self._parent(parent), store.run(run_id)
            store.artifacts.write(mine.info.artifact_uri, record.artifacts)
            points = [Metric(*p) for p in record.points if mine.data.metrics.get(p.key) != p.value]
            store.client.log_batch(run_id, points, tags=[RunTag(*t) for t in record.tags.items()])
            for child in here.values():  # the parent run has the weights now
                if child.sweep_id == run_id and child.has_checkpoint:
                    store.drop_checkpoint(child.run_id)
            store.discard_half_written(run_id)
            store.client.set_terminated(run_id, "FINISHED", ended)
        if not parent.is_whole({*here}):
            store.interrupt(run_id, ended)


def _differs(here: Known, there: Known) -> bool:
    """Whether what two stores have of a child run differs: weights, or numbers but for times."""
    weights = {t["weights_sha256"] for t in (here.tags, there.tags) if "weights_sha256" in t}
    numbers = [
        (here.metrics[name], value)
        for name, value in there.metrics.items()
        if name in here.metrics and name not in TIMES
    ]
    return len(weights) > 1 or any(one != other == other for one, other in numbers)
