"""Stores that are merged into another one: opened without writing anything, and checked.

All of a store is looked at before anything of it is written elsewhere: the pages of its database,
its files, and whether its runs belong together.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tracker.access import identity
from tracker.access.addresses import Address, is_same_file, without_password
from tracker.access.artifacts import Damaged
from tracker.access.blocks import in_blocks
from tracker.access.database import check_pages, look
from tracker.access.patience import Patience
from tracker.reading.bringing import file_of_prediction, files_of_base
from tracker.reading.families import CHILDREN, Family, checkpoint_of, files_of_parent
from tracker.record.readers import DatabaseReader
from tracker.record.records import PARENT, Kind, its_process_is_gone
from tracker.record.store import PROCESS
from tracker.record.weights import read_checkpoint
from tracker.record.whole import Whole, whole_runs
from tracker.sweeping.plan import KeptPlan, load_plan
from unlearning.errors import UserError
from unlearning.naming import counted

ADDRESS = re.compile("[a-z][a-z0-9+.-]+://")
AT_A_TIME = 200  # members of which all is in memory

Say = Callable[[str], None]
Advance = Callable[[int, str], None]  # is told how many members were just done, and of what


@dataclass(frozen=True)
class SweepThere:
    """A sweep in a store that is merged.

    Attributes:
        members: the run ids of its finished members, filled as they are checked.
    """

    run: Whole
    plan: KeptPlan
    keys: frozenset[str]
    members: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A store that is merged. Times are whole milliseconds; only finished runs count, but those
    that have child runs.

    Attributes:
        runs: all that the reader has. sweeps: by run id. families: unlearnings and tunings, by run
            id.
    """

    folder: Path
    reader: DatabaseReader
    runs: pa.Table
    sweeps: dict[str, SweepThere] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)

    def finished(self, kind: Kind) -> list[str]:
        """The ids of the finished runs of a kind, in the order of their beginnings."""
        return self._ids(pc.and_(self._is(kind), pc.equal(self.runs["status"], "FINISHED")))

    def whole(self, run_ids: Sequence[str]) -> Iterator[Whole]:
        """These runs with all that is logged of them, some at a time."""
        for block in in_blocks(run_ids, AT_A_TIME):
            yield from whole_runs(self.reader, self.runs, block)

    def check(self, say: Say, advance: Advance) -> None:
        """Read all of it, and find out whose members are whose.

        Raises UserError where it is damaged, or may not be merged now.
        """
        with self._damaged():
            bases = self._check_bases()
            for run in self.whole(self.finished(Kind.PREDICTION)):
                file_of_prediction(self.reader.artifacts, run)
            for run in self.whole(self._ids(self._is(Kind.SWEEP))):
                self.sweeps[run.run_id] = self._sweep(run, bases, say)
            self._check_families(bases, say)
            self._check_members(say, advance)

    def _check_bases(self) -> set[str]:
        """The ids of the base models, all of whose files were read."""
        found = set()
        for run in self.whole(self.finished(Kind.BASE_MODEL)):
            files_of_base(self.reader.artifacts, run)
            found.add(run.run_id)
        return found

    def _check_families(self, bases: set[str], say: Say) -> None:
        """Check unlearnings and tunings, and find out whose child runs are whose."""
        left_out, orphans = 0, 0
        for kind, child_kind in CHILDREN.items():
            without = set()
            for run in self.whole(self._ids(self._is(kind))):
                self._refuse_company(run, say)
                base = run.params.get("base_run_id", "")
                if base in bases:
                    files_of_parent(self.reader.artifacts, run)
                    self.families[run.run_id] = Family(run, base)
                else:
                    without.add(run.run_id)
            for child in self.whole(self.finished(child_kind)):
                parent = child.tags.get(PARENT, "")
                if parent in self.families:
                    checkpoint_of(self.reader.artifacts, child)
                    self.families[parent].children.append(child.run_id)
                else:
                    orphans += parent not in without
            left_out += len(without)
        if left_out:
            what = counted(left_out, "unlearning or tuning", "unlearnings and tunings")
            say(f"{what} in {self.folder} left out: their base models are not there")
        if orphans:
            what = counted(orphans, "step or trial", "steps and trials")
            say(f"{what} in {self.folder} left out: what they belong to was deleted there")

    def _refuse_company(self, run: Whole, say: Say) -> None:
        """Raise UserError where a process of this machine is still at a run."""
        process = run.tags.get(PROCESS, "")
        if run.status == "RUNNING" and not its_process_is_gone(process):
            host, _, pid = process.rpartition(":")
            what = f"{run.kind} {run.name} ({run.run_id})"
            who = f"{what} in {self.folder} was begun by process {pid}"
            if not host or host == socket.gethostname():
                raise UserError(f"{who}, which is still at it: merge when it has ended")
            say(f"{who} on {host}, and has not ended: what it has written is merged")

    def _sweep(self, run: Whole, bases: set[str], say: Say) -> SweepThere:
        self._refuse_company(run, say)
        base = run.params.get("base_run_id", "")
        if base not in bases:
            raise UserError(
                f"the base model of sweep {run.name} ({base}) is not in {self.folder}: bring it "
                f"back there with 'mlflow runs restore --run-id {base}'"
            )
        artifacts, uri = self.reader.artifacts, run.artifact_uri
        plan = load_plan(artifacts, uri, run.run_id, run.tags.get("key"))
        return SweepThere(run, plan, frozenset(plan.member_keys()))

    def _check_members(self, say: Say, advance: Advance) -> None:
        orphans = 0
        for member in self.whole(self.finished(Kind.MEMBER)):
            sweep = self.sweeps.get(member.tags.get(PARENT, ""))
            if sweep is None:
                orphans += 1
            else:
                self._check_member(member, sweep)
                sweep.members.append(member.run_id)
            advance(1, self.folder.name)
        if orphans:
            say(
                f"{orphans} members in {self.folder} belong to sweeps that were deleted there: "
                "they are left out"
            )

    def _check_member(self, member: Whole, sweep: SweepThere) -> None:
        """Raise Damaged where a member is not what was written."""
        named = f"child run {member.name} ({member.run_id})"
        if member.tags.get("key") not in sweep.keys:
            raise Damaged(f"{named} is none of those that its sweep has planned")
        try:
            read_checkpoint(self.reader.artifacts, member.artifact_uri, member.tags)
        except Damaged as damage:
            raise Damaged(f"of {named}, {damage}") from damage

    @contextmanager
    def _damaged(self) -> Iterator[None]:
        """Say of what is damaged where it is, and how to go on."""
        try:
            yield
        except Damaged as damage:
            raise Damaged(
                f"nothing was merged, for {self.folder} is damaged: {damage}. Copy that store "
                f"again; or mend it with 'indelible --store {self.folder} check --repair' and call "
                "its sweep again there; or leave it out"
            ) from damage

    def _is(self, kind: Kind) -> pa.Array:
        return pc.equal(self.runs["kind"], str(kind))

    def _ids(self, condition: pa.Array) -> list[str]:
        chosen = self.runs.filter(condition)
        order = [("start_time", "ascending"), ("run_id", "ascending")]
        ids: list[str] = chosen.sort_by(order)["run_id"].to_pylist()
        return ids


def open_sources(named: Sequence[str], into: Address, say: Say) -> list[Source]:
    """The embedded stores of these folders, of which nothing was read but what runs there are.

    Raises UserError for what is no store, for one that is given twice or is the one that is merged
    `into`, and for one that a newer MLflow has written; Failure for a damaged database.
    """
    sources: list[Source] = []
    for name in named:
        if ADDRESS.match(name):
            raise UserError(
                f"'{without_password(name)}' is an address: merge takes the folders of stores; to "
                "merge into a server, give its address as --tracking-uri"
            )
        folder = Path(name)
        source = _opened(folder, into, say)
        for other in sources:
            if is_same_file(other.folder, folder):
                raise UserError(f"{folder} is given twice ({other.folder}): give each store once")
        sources.append(source)
    return sources


def _opened(folder: Path, into: Address, say: Say) -> Source:
    address = Address.of(folder)
    file = address.file
    if file is None or not file.is_file():
        raise UserError(
            f"{folder} is no store, for it has no mlflow.db: give a folder that was --store"
        )
    if not os.access(file, os.R_OK):
        raise UserError(f"{file} cannot be read: its permissions do not let you")
    if into.file is not None and is_same_file(file, into.file):
        raise UserError(f"{folder} is the store that is merged into: give others")
    patience = Patience(address.shown, say=say)
    contents = look(address, patience)
    if contents.revision is None:
        raise UserError(f"{folder} is no store yet: there is nothing in its mlflow.db")
    identity.verify(address, contents.experiments)
    _refuse_newer(address, contents.revision)
    check_pages(address)
    reader = DatabaseReader(address, patience)
    return Source(folder, reader, reader.runs())


def _refuse_newer(address: Address, revision: str) -> None:
    from mlflow import __version__ as version

    from tracker.access.schema import latest_revision

    latest, known = latest_revision(revision)
    if not known:
        raise UserError(
            f"{address.shown} has the schema {revision}, MLflow {version} here has {latest}: it "
            "was written by a newer MLflow, install that here too"
        )
