"""Stores merged into one: runs by key, files by their SHA-256. What is here stays.

All files of a store are verified before anything of it is written elsewhere. A run is written
whole, its files before its rows, so that the same command goes on with a merge that was stopped. A
sweep's aggregates are computed anew from the members that are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracker.base import images, parts
from tracker.base.base_models import find
from tracker.base.companions import SECOND, UNTOUCHED
from tracker.base.references import ACCURACY, SECONDS
from tracker.reading.checking import contents
from tracker.store import identity, views
from tracker.store.addresses import Address, is_same_file, without_password
from tracker.store.database import check_pages
from tracker.store.files import Artifacts, Damaged
from tracker.store.opening import look, open_store
from tracker.store.read import Reader
from tracker.store.records import (
    AVERAGED,
    COMMAND,
    MEASURED_AT,
    NOTE,
    Data,
    Finished,
    Kind,
    Record,
    Run,
    in_blocks,
    milliseconds,
)
from tracker.store.registry import REGISTERED
from tracker.store.retry import Retry
from tracker.store.write import OWN_ID, Store
from tracker.studies.study import at_work
from tracker.sweep.parent import close
from tracker.sweep.plan import KeptPlan, add_to_catalog, load_plan
from tracker.sweep.shards import SHARD
from unlearning.architectures import as_name
from unlearning.errors import Failure, UserError

CHILD = {
    Kind.SWEEP: Kind.MEMBER,
    Kind.TUNING: Kind.TRIAL,
    Kind.UNLEARNING: Kind.STEP,
    Kind.AUDIT: Kind.AUDITED,
}
ORDER = (Kind.BASE_MODEL, Kind.PREDICTION, *CHILD, *CHILD.values())
AT_A_TIME = 40  # runs of which all is in memory, their checkpoints too
LEFT_OUT = (REGISTERED, views.TAG, views.TAGGED)  # tags that are true of one store alone
# Metrics in which runs of one key may differ: times, and means over however many models there are.
VARYING = {AVERAGED["elapsed_s"], "seconds", UNTOUCHED, SECOND, ACCURACY, SECONDS}
APART = 0.01  # of a metric: other machines come nearer

Say = Callable[[str], None]
Advance = Callable[[int, str], None]  # is told how many child runs were just done, and of what
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A store that is merged, and what runs there are."""

    folder: Path
    reader: Reader
    runs: pa.Table

    def ids(self, kind: Kind) -> list[str]:
        """The ids of the runs of a kind, the first first: finished ones, and all parent runs."""
        order = [("start_time", "ascending"), ("run_id", "ascending")]
        rows = self.runs.select(["run_id", "kind", "status", "start_time"]).sort_by(order)
        return [
            row["run_id"]
            for row in rows.to_pylist()
            if row["kind"] == kind and (kind in CHILD or row["status"] == "FINISHED")
        ]

    def whole(self, run_ids: Sequence[str]) -> Iterator[Run]:
        """These runs with all that is logged of them, some at a time."""
        for some in in_blocks(run_ids, AT_A_TIME):
            yield from self.reader.whole(some)

    def check(self, advance: Advance) -> None:
        """Verify the files of all runs. Raises Damaged."""
        try:
            for kind in ORDER:
                for run in self.whole(self.ids(kind)):
                    contents(self.reader.artifacts, run)
                    advance(int(kind in CHILD.values()), self.folder.name)
        except Damaged as damage:
            raise Damaged(
                f"nothing was merged, for {self.folder} is damaged: {damage}. Copy that store "
                f"again; or mend it with 'indelible --store {self.folder} check --repair' and call "
                "its sweep again there; or leave it out"
            ) from damage


def open_sources(named: Sequence[str], into: Address, say: Say) -> list[Source]:
    """The embedded stores of these folders.

    Raises UserError for what is no store, and for the one that is merged `into`; Failure for a
    damaged database.
    """
    sources = []
    for name in named:
        address = Address.of(Path(name))
        retry = Retry(address.shown, say=say)
        found = look(address, retry)
        if found.revision is None or address.file is None:
            raise UserError(
                f"'{without_password(name)}' is no store: merge takes folders that were --store"
            )
        if into.file is not None and is_same_file(address.file, into.file):
            raise UserError(f"{name} is the store that is merged into: give others")
        identity.verify(address, found.experiments)
        check_pages(address)
        reader = Reader(address, retry)
        sources.append(Source(Path(name), reader, reader.runs()))
    return sources


def merge(store: Store, sources: Sequence[Source], say: Say, advance: Advance) -> Rows:
    """Write what stores have, which were checked, and another one lacks.

    Runs whose base model or parent run was deleted are left out.

    Returns: a row a store and parent run: store, kind, run_id (here), name; how many child runs
    are new, already here, finished (here now) and planned.

    Raises UserError where another process drives what is merged, Failure where a base model of the
    same weights has other outcomes here.
    """
    return [row for source in sources for row in _Merge(store, source, say).go(advance)]


def export(reader: Reader, reference: str, folder: Path) -> Run:
    """Write a base model, with what is beside it, into a store that may be new; what it is.

    The images of its samples are left out: a sweep writes those that it needs.

    Args:
        reference: the base model's name, id or the beginning of its id, or `latest`.

    Raises UserError where there is no such model, or where the folder can be no store; Damaged
    where the model is.
    """
    (run,) = reader.whole([find(reader, reference).run_id])
    contents(reader.artifacts, run)  # raises where it is damaged, before anything is written
    _bring_base(open_store(folder), reader.artifacts, run)
    return run


def _bring_base(store: Store, artifacts: Artifacts, there: Run) -> str:
    """Write a base model with what is beside it, or the parts that it lacks here; its id here.

    Raises Failure where it has other outcomes here.
    """
    files, sha256 = contents(artifacts, there), there.tags["weights_sha256"]
    same = f"tags.key = '{there.tags['key']}' and tags.weights_sha256 = '{sha256}'"
    here = next(store.finished_runs(Kind.BASE_MODEL, same), None)
    if here is None:
        note = there.tags.get(NOTE, "").replace(there.run_id, OWN_ID)
        where, record = _experiment_id(store, there), there.record(files)
        return store.log_base_model(where, record, _data_of(there), note)
    run_id = here.run_id
    if said := _conflict(there.metrics, here.metrics):
        raise Failure(
            f"base model {there.name} was not merged: {said}, so that one of both is damaged: "
            "leave that store out, or delete the run that is wrong in MLflow"
        )
    for kind in parts.ALL:
        for name in kind.names(there.tags):
            tag, file = kind.tag(name), kind.file(name)
            if tag not in here.tags:
                store.attach(run_id, file, files[file], (tag, there.tags[tag]))
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return run_id


def _conflict(there: Mapping[str, float], here: Mapping[str, float]) -> str:
    """In which metric a run has another value than the one of the same key here; empty if none."""
    for name in sorted((there.keys() & here.keys()) - VARYING):
        one, other = there[name], here[name]
        if one == one and not math.isclose(one, other, rel_tol=APART, abs_tol=1e-6):
            return f"{name} is {one:.6g} there and {other:.6g} here"
    return ""


def _experiment_id(store: Store, run: Run) -> str:
    return store.experiment_id(run.params["dataset"], as_name(run.params["arch"]))


def _data_of(base: Run) -> Data:
    """The data set of a base model as an MLflow input."""
    names = {name: f"{name}_samples" for name in ("train", "test")}
    profile = {name: int(base.params[p]) for name, p in names.items() if p in base.params}
    return Data(base.params["dataset"], base.tags.get("data_fingerprint", ""), profile)


def _children(reader: Reader, parent: Run, plan: KeptPlan | None) -> dict[str, Finished]:
    """The finished child runs that a parent run may have, by key, whosever they are."""
    if plan is not None:
        keys = {*plan.keys()}
        found = reader.finished(plan.digests.values())
        return {key: member for key, member in found.items() if key in keys}
    runs = [run for run in reader.of_kind(CHILD[Kind(parent.kind)]) if run.status == "FINISHED"]
    return {run.tags["key"]: Finished.told(run.run_id, run.tags, run.metrics) for run in runs}


@dataclass(frozen=True)
class _Merge:
    """The merging of one store.

    Attributes:
        bases: as they are there, by id. ids: of base models here, by those that they have there.
    """

    store: Store
    source: Source
    say: Say
    bases: dict[str, Run] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def go(self, advance: Advance) -> Rows:
        """Write what is not here; the rows of `merge`."""
        store, source, artifacts = self.store, self.source, self.source.reader.artifacts
        for base in source.whole(source.ids(Kind.BASE_MODEL)):
            self.bases[base.run_id] = base
            self.ids[base.run_id] = _bring_base(store, artifacts, base)
            folder = artifacts.path(base.artifact_uri)
            uri = store.run(self.ids[base.run_id]).artifact_uri
            paths = sorted(folder.glob(f"{images.FOLDER}/*.png")) if folder else []
            for some in in_blocks(paths, 100 * AT_A_TIME):
                files = {path.name: path.read_bytes() for path in some}
                store.artifacts.write_again(uri, images.FOLDER, files)
        rows = []
        for kind in (Kind.PREDICTION, *CHILD):
            for run in source.whole(source.ids(kind)):
                if run.params.get("base_run_id") not in self.bases:
                    continue
                if kind is Kind.PREDICTION:
                    self._write_once(run)  # with the time at which it was made
                else:
                    rows.append(self._bring(run, kind, advance))
        return rows

    def _write_once(self, run: Run) -> str:
        """Write a finished run, unless it is here; its id here."""
        where, record = _experiment_id(self.store, run), self._copied(run)
        data = _data_of(self.bases[run.params["base_run_id"]])
        return self.store.log_once(Kind(run.kind), where, record, data, record.ended_ms)

    def _copied(self, run: Run) -> Record:
        """A run as it is written here: it names base models by the ids that they have here."""
        tags = {name: said for name, said in run.tags.items() if name not in LEFT_OUT}
        for there, here in self.ids.items():
            tags |= {n: tags[n].replace(there, here) for n in (NOTE, COMMAND) if n in tags}
        params = {n: self.ids.get(v, v) if n == "base_run_id" else v for n, v in run.params.items()}
        record = run.record(contents(self.source.reader.artifacts, run))
        return replace(record, params=params, tags=tags)

    def _bring(self, run: Run, kind: Kind, advance: Advance) -> dict[str, Any]:
        """Write a parent run and its children that are not here; its row."""
        store, reader, plan = self.store, self.source.reader, None
        if kind is Kind.SWEEP:
            plan = load_plan(reader.artifacts, run.artifact_uri, run.run_id, run.tags["key"])
        every, here = (_children(each, run, plan) for each in (reader, store.reader))
        there = {key: child for key, child in every.items() if child.sweep_id == run.run_id}
        both = sorted(there.keys() & here.keys())
        apart = [_conflict(there[key].metrics, here[key].metrics) for key in both]
        if said := [f"of {key} {what}" for key, what in zip(both, apart, strict=True) if what]:
            self.say(
                f"{kind} {run.name}: {len(said)} of {len(both)} child runs that were here already "
                f"have other numbers in {self.source.folder}, as {said[0]}; what was here is kept"
            )
        advance(len(both), run.name)
        new = sorted(there.keys() - here.keys())
        planned = {*(plan.keys() if plan else there)}
        where = _experiment_id(store, run)
        known = store.find_sweep(where, run.tags["key"], kind)
        is_done = bool(known and known.status == "FINISHED" and SHARD not in known.tags)
        is_whole = plan is not None and planned <= {*here, *new}
        run_id = known.run_id if known else ""
        if plan is None and run.status == "FINISHED":
            run_id = self._write_once(run)
            self._add(where, run_id, run.name, [there[key].run_id for key in new], advance)
            for child in () if is_done else here.values():
                if child.sweep_id == run_id and child.has_checkpoint:
                    store.drop_checkpoint(child.run_id)  # the parent run has the weights now
        elif known is None or new or (is_whole and not is_done):
            record, base = self._copied(run), self.bases[run.params["base_run_id"]]
            record = replace(record, points=()) if plan else record
            run_id = store.begin_sweep(where, record, _data_of(base), kind)
            accuracy = store.run(self.ids[base.run_id]).metrics["test_accuracy"]
            ended = max(run.ended_ms or 0, (known and known.ended_ms) or 0) or None
            with at_work(store, run_id, f"{kind} {run.name}", self.say):
                self._add(where, run_id, run.name, [there[key].run_id for key in new], advance)
                if plan is not None:
                    add_to_catalog(store, store.run(run_id), plan.factors)
                    done, shares = _children(store.reader, run, plan), run.tags.get(SHARD, "")
                    close(store, run_id, done, accuracy, shares, ended)
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))  # it is loaded again
            if not is_whole:
                store.interrupt(run_id, ended)
        return {
            "store": str(self.source.folder),
            "kind": str(kind),
            "run_id": run_id,
            "name": run.name,
            "new": len(new),
            "already_here": len(there) - len(new),
            "finished": len(planned & {*here, *new}),
            "planned": len(planned),
        }

    def _add(
        self, where: str, parent: str, name: str, run_ids: Sequence[str], advance: Advance
    ) -> None:
        """Write child runs of a parent run that is here."""
        for some in in_blocks(run_ids, AT_A_TIME):
            runs = self.source.reader.whole(some)
            self.store.write_members(where, parent, [self._copied(run) for run in runs])
            advance(len(some), name)
