"""Histories that are kept with a sweep, and not with its members: Parquet among its artifacts.

A row is a step of an attempt. Whose it is, is told by the key of the member and the time at which
the attempt began: what is left of an earlier attempt is never shown for the one that is in the
store. While a sweep runs, each chunk is a part, a file that is named by its content; `gathering`
makes one file of all parts, and a tag of the sweep's run tells of that with its SHA-256. A row
group holds whole attempts.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.warehouse import STAGING
from tracker.access.artifacts import Artifacts
from tracker.record.records import Record
from unlearning.errors import Failure

NAMES = STAGING["histories"].names[2:]
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("started_ms", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in NAMES),
    ]
)
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["key", "started_ms", "step"],
    "use_byte_stream_split": NAMES,
    "write_page_checksum": True,
}
LARGEST = math.nextafter(math.inf, 0.0)  # as which MLflow's databases have what is infinite

TAG = "histories/"  # begins the tags of a sweep's run that tell of gathered files
PART = re.compile(r"histories-part-([0-9a-f]{16})\.parquet")
GATHERED = re.compile(r"histories-([0-9a-f]{16})\.parquet")
IN_FLIGHT = 8  # files that are fetched at a time
TIMES = 10  # that files are looked for anew, while other processes gather them

Attempts = Mapping[str, int]  # when they began, in milliseconds since 1970, by the members' keys
Span = tuple[str, str]  # the first and the last key of a row group
Answer = TypeVar("Answer")


class Gone(Exception):  # noqa: N818 - it is said of a file
    """A file is not there any more: another process has gathered it."""


def rows_of(records: Iterable[Record]) -> pa.Table:
    """The histories of members as rows: SCHEMA. What is infinite is as MLflow's databases have it.

    Raises KeyError where a member has none.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for record in records:
        size = len(record.histories[NAMES[0]])
        columns["key"] += [record.key] * size
        columns["started_ms"] += [record.started_ms] * size
        columns["step"] += range(size)
        for name in NAMES:
            columns[name] += (_finite(value) for value in record.histories[name])
    return pa.table(columns, schema=SCHEMA)


def as_part(rows: pa.Table) -> dict[str, bytes]:
    """The file of a part, by its name; none where there are no rows."""
    if not rows.num_rows:
        return {}
    sink = pa.BufferOutputStream()
    pq.write_table(rows.combine_chunks(), sink, row_group_size=rows.num_rows, **WRITING)
    content = sink.getvalue().to_pybytes()
    return {f"histories-part-{hashlib.sha256(content).hexdigest()[:16]}.parquet": content}


def gathered_name(sha256: str) -> str:
    """The name of a gathered file."""
    return f"histories-{sha256[:16]}.parquet"


def tag_of(sha256: str) -> str:
    """The tag that tells of a gathered file."""
    return f"{TAG}{sha256[:16]}"


def told_by(tags: Mapping[str, str]) -> dict[str, str]:
    """The gathered files that the tags of a sweep's run tell of, with the SHA-256 of each."""
    named = {gathered_name(tag.removeprefix(TAG)): tag for tag in tags if tag.startswith(TAG)}
    return {name: tags[tag] for name, tag in named.items() if GATHERED.fullmatch(name)}


def as_lists(rows: pa.Table) -> dict[str, dict[str, list[float]]]:
    """Rows of one attempt a key as lists in the order of steps, by key and by name."""
    found: dict[str, dict[str, list[float]]] = {}
    columns = rows.sort_by([("key", "ascending"), ("step", "ascending")]).to_pydict()
    for key, *values in zip(columns["key"], *(columns[name] for name in NAMES), strict=True):
        lists = found.setdefault(key, {name: [] for name in NAMES})
        for name, value in zip(NAMES, values, strict=True):
            lists[name].append(value)
    return found


def attempts_in(rows: pa.Table) -> pa.Array:
    """Which attempt each row is of, as text."""
    key, started = (rows[name].combine_chunks() for name in ("key", "started_ms"))
    return pc.binary_join_element_wise(key, started.cast(pa.string()), "@")


def named(attempts: Attempts) -> pa.Array:
    """Attempts as text, as `attempts_in` has it."""
    return pa.array([f"{key}@{started}" for key, started in attempts.items()], pa.string())


@dataclass
class SweepFiles:
    """The files with histories of one sweep, wherever its store has them.

    Attributes:
        tags: those that the sweep's run has at the moment.
        told: gathered files that these told of, with the SHA-256 of each. parts: the others.
        damaged: what is wrong with files that are lost or cannot be read, by name.
    """

    artifacts: Artifacts
    uri: str
    tags: Callable[[], Mapping[str, str]]
    told: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    _spans: dict[str, list[Span | None]] = field(default_factory=dict)
    _copies: TemporaryDirectory[str] | None = None

    def look(self) -> None:
        """See which files there are.

        The tags are read last: a part is deleted when a tag tells of its rows already.
        """
        names = self.artifacts.names(self.uri)
        self.parts = {name: match[1] for name in names if (match := PART.fullmatch(name))}
        self.told, self.damaged = told_by(self.tags()), {}

    def rows(self, attempts: Attempts) -> pa.Table:
        """The rows of these attempts: SCHEMA. Files that are damaged are left out, and noted.

        Raises Failure where files cannot be looked for.
        """
        is_fresh = not self.told and not self.parts
        if is_fresh:
            self.look()
        for _ in range(TIMES):
            try:
                found, is_all = self._found(attempts)
            except Gone:
                pass
            else:
                if is_fresh or is_all:
                    return found
            self.look()
            is_fresh = True
        raise Failure(f"other processes gather the histories in {self.uri} all the time: wait")

    def _found(self, attempts: Attempts) -> tuple[pa.Table, bool]:
        """The rows of attempts, and whether these are all that is asked for. Raises Gone."""
        wanted, keys = named(attempts), sorted(attempts)
        found, seen = [SCHEMA.empty_table()], set[str]()
        for name in (*self.told, *self.parts):
            if len(seen) == len(attempts):
                break  # all is gathered, and parts are being deleted
            for number, span in enumerate(self._spans_of(name)):
                if _meets(span, keys):
                    rows = self.group(name, number)
                    own = rows.filter(pc.is_in(attempts_in(rows), value_set=wanted))
                    found.append(unseen(own, seen))
        return pa.concat_tables(found), len(seen) == len(attempts)

    def group(self, name: str, number: int) -> pa.Table:
        """The rows of a row group: SCHEMA; none of a file that is damaged. Raises Gone."""
        nothing = SCHEMA.empty_table()
        return self._tried(name, lambda file: file.read_row_group(number).cast(SCHEMA), nothing)

    def first_keys(self, name: str) -> list[str]:
        """The first key of each row group of a file. Raises Gone."""
        return [span[0] if span else "" for span in self._spans_of(name)]

    def attempts(self, name: str) -> Iterator[list[str]]:
        """The attempts in a file, some at a time, as `named` has them. Raises Gone."""
        for number in range(len(self._spans_of(name))):
            yield pc.unique(attempts_in(self.group(name, number))).to_pylist()

    def whole(self) -> list[str]:
        """The files that are, byte for byte, what was written; the others are noted as damaged.

        Raises Gone.
        """
        self._fetch()
        for name, sha256 in (self.told | self.parts).items():
            path = self._path(name)
            if path is not None and not sha256_of(path).startswith(sha256):
                self.damaged[name] = f"{name} is damaged: it is not what was written"
        return [name for name in (*self.told, *self.parts) if name not in self.damaged]

    def _spans_of(self, name: str) -> list[Span | None]:
        """The spans of a file's row groups, None where one is not known; none of a damaged file."""
        if name not in self._spans:
            metadata = self._tried(name, lambda file: file.metadata, None)
            if metadata is None:
                return []
            groups = (metadata.row_group(n).column(0) for n in range(metadata.num_row_groups))
            told = (column.statistics for column in groups)
            self._spans[name] = [(s.min, s.max) if s and s.has_min_max else None for s in told]
        return self._spans[name]

    def _tried(self, name: str, ask: Callable[[pq.ParquetFile], Answer], nothing: Answer) -> Answer:
        """What a file answers; nothing where it is damaged. Raises Gone."""
        path = None if name in self.damaged else self._path(name)
        if path is None:
            return nothing
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                return ask(file)
        except FileNotFoundError:
            self._missing(name)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise Failure(f"{path} cannot be read: {error.strerror}") from error
            self.damaged[name] = f"{name} is damaged: it is not what was written"
        return nothing

    def _fetch(self) -> None:
        """Bring all files onto this machine, several at a time. Raises Gone."""
        self._folder()
        if self._copies is not None:
            with ThreadPoolExecutor(IN_FLIGHT) as pool:
                try:
                    list(pool.map(self._path, [*self.told, *self.parts]))
                except Failure:
                    self.artifacts.patience.give_up()  # the pool waits for all that are in flight
                    raise

    def _folder(self) -> Path:
        """Where copies of files are that are not on this machine."""
        if self._copies is None and self.artifacts.path(self.uri) is None:
            self._copies = TemporaryDirectory()
        return Path(self._copies.name) if self._copies else Path()

    def _path(self, name: str) -> Path | None:
        """Where a file is on this machine; None where it is lost. Raises Gone."""
        path = self.artifacts.fetched(self.uri, name, self._folder())
        if path is None:
            self._missing(name)
        return path

    def _missing(self, name: str) -> None:
        """Note that a file is lost, if the tags tell of it now. Raises Gone if they do not."""
        if name not in told_by(self.tags()):
            raise Gone
        self.damaged[name] = f"{name} is missing"


def unseen(rows: pa.Table, seen: set[str]) -> pa.Table:
    """Those rows whose attempt was not seen before; now it is."""
    attempts = attempts_in(rows)
    own = set(pc.unique(attempts).to_pylist())
    if before := own & seen:
        rows = rows.filter(pc.invert(pc.is_in(attempts, value_set=pa.array(sorted(before)))))
    seen |= own
    return rows


def _meets(span: Span | None, keys: Sequence[str]) -> bool:
    """Whether any of some sorted keys may be in a row group."""
    if span is None:
        return True
    place = bisect_left(keys, span[0])
    return place < len(keys) and keys[place] <= span[1]


def _finite(value: float) -> float:
    """As MLflow's databases have it: SQLite has no other zero than 0.0."""
    return max(-LARGEST, min(LARGEST, value)) if math.isinf(value) else value + 0.0


def sha256_of(path: Path) -> str:
    """Of a file. Raises Gone where it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise Gone from error
