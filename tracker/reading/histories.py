"""Histories that are kept with sweeps, as rows for the warehouse; and what of them is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from analysis import warehouse
from analysis.warehouse import STAGING
from tracker.record.histories import TAG, TIMES, Attempts, Gone, SweepFiles, named
from tracker.record.records import FORGOTTEN, HISTORIES, PARENT, Histories
from unlearning.errors import Failure
from unlearning.naming import counted

if TYPE_CHECKING:
    from tracker.record.readers import Reader


@dataclass
class Kept:
    """The histories of runs, wherever these are.

    Attributes:
        runs: the reader's. path: of the warehouse, which has those that were lost since then.
        lost: what is wrong with the files of sweeps, by run id; filled as these are read.
    """

    reader: Reader
    runs: pa.Table
    path: Path
    lost: dict[str, str] = field(default_factory=dict)
    _files: dict[str, SweepFiles | None] = field(default_factory=dict)

    def of(self, run_ids: Sequence[str], tags: pa.Table) -> pa.Table:
        """The rows of these runs for the warehouse's staging.

        Args:
            tags: of these runs.
        """
        told = tags_by_run(
            tags.filter(pc.is_in(tags["key"], value_set=pa.array([HISTORIES, PARENT, "key"])))
        )
        kept = {run_id: Histories.told(told.get(run_id, {})) for run_id in run_ids}
        own = [run_id for run_id in run_ids if kept[run_id] is Histories.RUNS]
        parts = [self.reader.histories(own)] if own else [STAGING["histories"].empty_table()]
        above: dict[str, dict[str, str]] = {}
        for run_id in run_ids:
            if kept[run_id] is Histories.PARENT:
                of = told[run_id]
                above.setdefault(of.get(PARENT, ""), {})[of["key"]] = run_id
        started = self._started([run_id for of in above.values() for run_id in of.values()])
        for sweep_id, by_key in above.items():
            parts += self._of_sweep(sweep_id, by_key, started)
        return pa.concat_tables(parts).sort_by([("run_id", "ascending"), ("step", "ascending")])

    def _of_sweep(
        self, sweep_id: str, by_key: Mapping[str, str], started: Mapping[str, int]
    ) -> Iterator[pa.Table]:
        """The rows of members of a sweep, and of lost ones those that the warehouse has.

        Args:
            by_key: their run ids. started: by run id.
        """
        files = self._files_of(sweep_id)
        if files is None:
            return
        found = files.rows({key: started[run_id] for key, run_id in by_key.items()})
        yield _staged(found, by_key)
        if files.damaged:
            self.lost[sweep_id] = f"of sweep {sweep_id}, {'; '.join(files.damaged.values())}"
            there = set(pc.unique(found["key"]).to_pylist())
            lost = [run_id for key, run_id in by_key.items() if key not in there]
            yield warehouse.histories_of(self.path, {run_id: started[run_id] for run_id in lost})

    def _files_of(self, sweep_id: str) -> SweepFiles | None:
        """The files of a sweep, None if it is gone."""
        if sweep_id not in self._files:
            uris = self.runs.filter(pc.equal(self.runs["run_id"], sweep_id))["artifact_uri"]
            self._files[sweep_id] = (
                SweepFiles(
                    self.reader.artifacts, uris[0].as_py(), lambda: self.reader.run(sweep_id).tags
                )
                if len(uris)
                else None
            )
        return self._files[sweep_id]

    def _started(self, run_ids: Sequence[str]) -> dict[str, int]:
        """When runs began, in milliseconds since 1970."""
        places = pc.index_in(pa.array(run_ids, pa.string()), value_set=self.runs["run_id"])
        started = self.runs["start_time"].cast(pa.int64()).take(places)
        return dict(zip(run_ids, started.to_pylist(), strict=True))


def _staged(rows: pa.Table, by_key: Mapping[str, str]) -> pa.Table:
    """Rows of the files for the warehouse's staging: NULL where a value is not finite."""
    places = pc.index_in(rows["key"], value_set=pa.array(list(by_key), pa.string()))
    columns = {"run_id": pa.array(list(by_key.values()), pa.string()).take(places)}
    columns["step"] = rows["step"]
    for name in STAGING["histories"].names[2:]:
        columns[name] = pc.if_else(pc.is_finite(rows[name]), rows[name], None)
    staged = pa.table(columns, schema=STAGING["histories"])
    first, second = (pc.is_valid(staged[name]) for name in STAGING["histories"].names[2:])
    return staged.filter(pc.or_(first, second))


@dataclass(frozen=True)
class Looked:
    """What was seen in the files with histories of a sweep.

    Attributes:
        damaged: what is wrong with files, by name. lost: how many attempts are in no whole file.
        needless: parts with nothing that is not in another file too.
    """

    damaged: Mapping[str, str]
    lost: int
    needless: tuple[str, ...]

    @classmethod
    def through(cls, files: SweepFiles, attempts: Attempts) -> Looked:
        """Read all files; attempts: those that are to be in them. Raises Failure."""
        for _ in range(TIMES):
            files.look()
            try:
                return cls._through(files, attempts)
            except Gone:
                continue
        raise Failure(f"other processes gather the histories in {files.uri} all the time: wait")

    @classmethod
    def _through(cls, files: SweepFiles, attempts: Attempts) -> Looked:
        left, needless = set(named(attempts).to_pylist()), []
        for name in files.whole():
            before = len(left)
            for some in files.attempts(name):
                left.difference_update(some)
            if name in files.parts and len(left) == before:
                needless.append(name)
        damaged = dict(files.damaged)
        needless += [name for name in damaged if name in files.parts]
        return cls(damaged, len(left), tuple(needless))

    def offences(self, tags: Mapping[str, str]) -> dict[str, str]:
        """What is to be said, by the file that it is about; by none of what no file has.

        Args:
            tags: of the sweep's run. What was let go of is not told again.
        """
        lost = f"the histories of {counted(self.lost, 'member')} are in no file"
        if self.damaged:
            return {
                name: f"{said}; {lost}" if self.lost else f"{said}; all that it had is in others"
                for name, said in self.damaged.items()
            }
        if not self.lost or any(tag.startswith(f"{FORGOTTEN}{TAG}") for tag in tags):
            return {}
        return {"": f"{lost}: the same sweep with --again makes them anew"}


def tags_by_run(tags: pa.Table) -> dict[str, dict[str, str]]:
    """Rows of tags as mappings, by run."""
    found: dict[str, dict[str, str]] = {}
    for row in tags.to_pylist():
        found.setdefault(row["run_id"], {})[row["key"]] = row["value"]
    return found
