"""Histories on their way from members to files of their sweeps, and from many files into one.

Nothing is lost wherever a process dies, and whoever else gathers at the same moment: a part is on
the disk before the rows of its members are in the database, and a file is deleted only after a tag
tells of another one that has all of its attempts. What is doubled until then is read once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.record.histories import (
    SCHEMA,
    TIMES,
    WRITING,
    Gone,
    SweepFiles,
    as_part,
    gathered_name,
    named,
    rows_of,
    sha256_of,
    tag_of,
    unseen,
)
from tracker.record.records import Histories, Record
from tracker.record.store import Store
from unlearning.errors import Failure, UserError

ROWS = 2**16  # that a row group has at least, if there are as many
PAUSE_S = 0.1  # once more before each attempt to gather beside others


@dataclass
class Keeper:
    """Takes the histories out of members that are about to be written, and keeps them elsewhere.

    Attributes:
        kept: where.
    """

    store: Store
    kept: Histories
    _uris: dict[str, str | None] = field(default_factory=dict)
    _replaced: dict[str, set[str]] = field(default_factory=dict)

    def taken(self, records: Sequence[Record], sweep_of: Callable[[Record], str]) -> list[Record]:
        """The members without their histories, which are on the disk now; or as they are.

        Args:
            sweep_of: whose child run a member becomes. Members of a sweep that is gone have no
                other place for their histories than their own runs.
        """
        if self.kept is Histories.RUNS:
            return list(records)
        if self.kept is Histories.NONE:
            return [record.without_histories(self.kept) for record in records]
        for sweep_id in dict.fromkeys(map(sweep_of, records)):
            if (uri := self._uri(sweep_id)) is not None:
                own = [record for record in records if sweep_of(record) == sweep_id]
                self.store.artifacts.write(uri, as_part(rows_of(own)))
                self._replaced.setdefault(sweep_id, set())
        return [
            record if self._uri(sweep_of(record)) is None else record.without_histories(self.kept)
            for record in records
        ]

    def replaced(self, sweep_id: str, by: Record, started_ms: int) -> None:
        """Have the histories of an attempt left out that is in the store no more.

        Args:
            by: the same member as it was done again. started_ms: when the attempt before began.
        """
        if sweep_id in self._replaced and started_ms != by.started_ms:
            self._replaced[sweep_id].update(named({by.key: started_ms}).to_pylist())

    def gather(self) -> None:
        """Make one file of what was kept for each sweep."""
        for sweep_id, attempts in self._replaced.items():
            if self._uri(sweep_id) is not None:
                gather(self.store, sweep_id, attempts)

    def _uri(self, sweep_id: str) -> str | None:
        """Where the files of a sweep are; None if there is no such run any more."""
        if sweep_id not in self._uris:
            self._uris[sweep_id] = None
            try:
                info = self.store.run(sweep_id).info
            except UserError:
                return None
            if info.lifecycle_stage == "active":
                self._uris[sweep_id] = info.artifact_uri
        return self._uris[sweep_id]


def gather(store: Store, sweep_id: str, left_out: Collection[str] = ()) -> None:
    """Make one file of all that have histories of a sweep; files that are damaged stay.

    Args:
        left_out: attempts that are in the store no more.

    Raises Failure where files cannot be looked for or written.
    """
    uri = store.run(sweep_id).info.artifact_uri
    for attempt in range(TIMES):
        time.sleep(PAUSE_S * attempt)
        files = SweepFiles(store.artifacts, uri, lambda: store.run(sweep_id).data.tags)
        files.look()
        if not files.parts and len(files.told) <= 1:
            return
        try:
            _gather(store, sweep_id, files, left_out)
        except Gone:  # another process gathers as well
            continue
        return
    raise Failure(f"other processes gather the histories in {uri} all the time: wait")


def _gather(store: Store, sweep_id: str, files: SweepFiles, left_out: Collection[str]) -> None:
    """Raises Gone where other processes are at the same files."""
    names = files.whole()
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "histories"
        size = _write(files, names, draft, left_out)
        if not files.damaged.keys().isdisjoint(names):
            raise Gone
        if not size:
            return
        sha256 = sha256_of(draft)
        made = gathered_name(sha256)
        store.artifacts.put(files.uri, made, draft.rename(draft.with_name(made)))
    store.client.set_tag(sweep_id, tag_of(sha256), sha256)
    if made not in store.artifacts.names(files.uri):  # one who made the same has gathered on
        store.untag(sweep_id, tag_of(sha256))
        raise Gone
    _let_go(store, sweep_id, files, [name for name in names if name != made])


def _let_go(store: Store, sweep_id: str, files: SweepFiles, names: Sequence[str]) -> None:
    """Delete files whose attempts another one has.

    What tells of them is deleted first, and again where one who made the same has told anew.
    """
    told = [files.told[name] for name in names if name in files.told]
    for sha256 in told:
        store.untag(sweep_id, tag_of(sha256))
    store.artifacts.delete(files.uri, *names)
    for sha256 in told:
        store.untag(sweep_id, tag_of(sha256))


def _write(files: SweepFiles, names: Iterable[str], path: Path, left_out: Collection[str]) -> int:
    """Write the attempts in some files into one, each once; how many rows it has.

    They are about in the order of their keys, so that a row group has a narrow span of these.
    """
    places = ((key, name, n) for name in names for n, key in enumerate(files.first_keys(name)))
    seen, total = set(left_out), 0
    group = list[pa.Table]()
    with pq.ParquetWriter(path, SCHEMA, **WRITING) as writer:
        for _, name, number in sorted(places):
            group.append(unseen(files.group(name, number), seen))
            if sum(rows.num_rows for rows in group) >= ROWS:
                total += _flush(writer, group)
                group = []
        return total + _flush(writer, group)


def _flush(writer: pq.ParquetWriter, group: list[pa.Table]) -> int:
    """Write rows as one row group; how many they are."""
    rows = pa.concat_tables([SCHEMA.empty_table(), *group]).combine_chunks()
    if rows.num_rows:
        writer.write_table(rows, row_group_size=rows.num_rows)
    return int(rows.num_rows)
