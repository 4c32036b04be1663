"""Stores that are merged into another one: opened without writing anything, and checked.

All of a store is looked at before anything of it is written elsewhere: the pages of its database,
its files, and whether its runs belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tracker.base import parts
from tracker.store import identity
from tracker.store.addresses import Address, is_same_file, without_password
from tracker.store.files import Artifacts, Damaged
from tracker.store.blocks import in_blocks
from tracker.store.database import check_pages, look
from tracker.store.retry import Retry as Patience
from tracker.store.read import DatabaseReader
from tracker.store.records import PARENT, Kind, its_process_is_gone, on_this_machine
from tracker.store.write import PROCESS
from tracker.store.weights import file_name, read_checkpoint, weights_file
from tracker.store.records import Known as Whole
from tracker.store.read import whole_runs
from tracker.studies import predicted
from tracker.studies.request_table import TABLE, read_rows
from tracker.studies.requests import REQUESTS
from tracker.studies.tune import SAMPLES
from tracker.sweep.plan import PLAN, KeptPlan, read_plan
from unlearning.errors import UserError
from unlearning.naming import counted

CHILD = {Kind.SWEEP: Kind.MEMBER, Kind.TUNING: Kind.TRIAL, Kind.UNLEARNING: Kind.STEP}
ADDRESS = re.compile("[a-z][a-z0-9+.-]+://")
AT_A_TIME = 200  # runs of which all is in memory

Say = Callable[[str], None]
Advance = Callable[[int, str], None]  # is told how many child runs were just done, and of what


@dataclass(frozen=True)
class Parent:
    """A sweep, a tuning or an unlearning in a store that is merged.

    Attributes:
        plan: of a sweep.
        children: the run ids of its finished child runs, by key; filled by the check.
    """

    run: Whole
    plan: KeptPlan | None
    children: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """Of its run."""
        return Kind(self.run.kind)

    @cached_property
    def planned(self) -> frozenset[str]:
        """The keys of all members of a sweep; of the others, the children that are there."""
        return frozenset(self.plan.member_keys() if self.plan else self.children)


@dataclass(frozen=True)
class Source:
    """A store that is merged.

    Attributes:
        runs: all that the reader has. parents: by run id, filled by the check.
    """

    folder: Path
    reader: DatabaseReader
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

    def whole(self, run_ids: Sequence[str]) -> Iterator[Whole]:
        """These runs with all that is logged of them, some at a time."""
        for block in in_blocks(run_ids, AT_A_TIME):
            yield from whole_runs(self.reader, self.runs, block)

    def check(self, say: Say, advance: Advance) -> None:
        """Verify all files, and find out whose child runs are whose.

        Raises Damaged where one is damaged, UserError where a process is still at a run.
        """
        try:
            self._check(say, advance)
        except Damaged as damage:
            raise Damaged(
                f"nothing was merged, for {self.folder} is damaged: {damage}. Copy that store "
                f"again; or mend it with 'indelible --store {self.folder} check --repair' and call "
                "its sweep again there; or leave it out"
            ) from damage

    def _check(self, say: Say, advance: Advance) -> None:
        artifacts = self.reader.artifacts
        bases, left_out = set(self.ids(Kind.BASE_MODEL)), 0
        for kind in (Kind.BASE_MODEL, Kind.PREDICTION):
            for run in self.whole(self.ids(kind)):
                files_of(artifacts, run)
        for kind, child_kind in CHILD.items():
            for run in self.whole(self.ids(kind, status="")):
                self._refuse_company(run)
                if run.params.get("base_run_id") in bases:
                    plan = files_of(artifacts, run).get(PLAN)
                    kept = read_plan(plan, run.run_id, run.tags.get("key")) if plan else None
                    self.parents[run.run_id] = Parent(run, kept)
                else:
                    left_out += 1
            for child in self.whole(self.ids(child_kind)):
                parent = self.parents.get(child.tags.get(PARENT, ""))
                if parent is None:
                    left_out += 1
                    continue
                files_of(artifacts, child)
                if parent.plan and child.tags.get("key") not in parent.planned:
                    named = f"{child.name} ({child.run_id})"
                    raise Damaged(f"{named} is none of those that its sweep has planned")
                parent.children[child.tags["key"]] = child.run_id
                advance(1, self.folder.name)
        if left_out:
            runs = counted(left_out, "run")
            say(f"{runs} in {self.folder} left out: what they belong to was deleted there")

    def _refuse_company(self, run: Whole) -> None:
        """Raise UserError where a process of this machine is still at a run."""
        process = run.tags.get(PROCESS, "")
        is_here = on_this_machine(process) and not its_process_is_gone(process)
        if run.status == "RUNNING" and is_here:
            raise UserError(
                f"{run.kind} {run.name} ({run.run_id}) in {self.folder} was begun by process "
                f"{process.rpartition(':')[2]}, which is still at it: merge when it has ended"
            )


def files_of(artifacts: Artifacts, run: Whole) -> dict[str, bytes]:
    """The files of a run that its tags tell of, by name. Raises Damaged."""
    uri, run_id, tags = run.artifact_uri, run.run_id, run.tags
    files: dict[str, bytes | None] = {}
    if run.kind == Kind.BASE_MODEL:
        weights = weights_file(artifacts, uri, tags)
        files[file_name("weights", tags["weights_sha256"])] = weights
        for kind in parts.ALL:
            for name in kind.names(tags):
                files[kind.file(name)] = kind.content(artifacts, uri, run_id, name)
    elif run.kind == Kind.PREDICTION:
        prediction = predicted.predicted_file(artifacts, uri, tags)
        files[predicted.file_name(tags[predicted.TAG])] = prediction
    elif run.kind == Kind.SWEEP:
        files[PLAN] = artifacts.read(uri, PLAN)
        read_plan(files[PLAN], run_id, tags.get("key"))
    elif run.kind == Kind.TUNING:
        files[SAMPLES] = artifacts.read(uri, SAMPLES)
    elif run.kind == Kind.UNLEARNING:
        files[REQUESTS] = artifacts.read(uri, REQUESTS)
        if run.status == "FINISHED":
            read_rows(artifacts, uri, run_id, tags)
            files[TABLE] = artifacts.read(uri, TABLE)
    if "checkpoint" in tags:
        name = file_name("checkpoint", tags["checkpoint"])
        files[name] = read_checkpoint(artifacts, uri, tags)
    if None in files.values():
        raise Damaged(f"{' or '.join(files)} is missing")
    return {name: content for name, content in files.items() if content is not None}


def open_sources(named: Sequence[str], into: Address, say: Say) -> list[Source]:
    """The embedded stores of these folders, of which nothing was read but what runs there are.

    Raises UserError for what is no store, and for the one that is merged `into`; Failure for a
    damaged database.
    """
    for name in named:
        if ADDRESS.match(name):
            raise UserError(
                f"'{without_password(name)}' is an address: merge takes the folders of stores; to "
                "merge into a server, give its address as --tracking-uri"
            )
    return [_opened(Path(name), into, say) for name in named]


def _opened(folder: Path, into: Address, say: Say) -> Source:
    address = Address.of(folder)
    if address.file is None or not address.file.is_file():
        raise UserError(
            f"{folder} is no store, for it has no mlflow.db: give a folder that was --store"
        )
    if into.file is not None and is_same_file(address.file, into.file):
        raise UserError(f"{folder} is the store that is merged into: give others")
    patience = Patience(address.shown, say=say)
    contents = look(address, patience)
    if contents.revision is None:
        raise UserError(f"{folder} is no store yet: there is nothing in its mlflow.db")
    identity.verify(address, contents.experiments)
    check_pages(address)
    reader = DatabaseReader(address, patience)
    return Source(folder, reader, reader.runs())
