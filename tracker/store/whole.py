"""Runs with all that MLflow has of them, as they are read to be written into another store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tracker.store.records import Point, Record

if TYPE_CHECKING:
    from tracker.store.readers import Reader


@dataclass(frozen=True)
class Whole:
    """A run.

    Attributes:
        experiment: the name of its experiment.
        started_ms, ended_ms: milliseconds since 1970; it has no end while it runs.
        metrics: the latest value of each. points: all values. Both have NaN where it was logged.
    """

    run_id: str
    name: str
    kind: str
    status: str
    experiment: str
    started_ms: int
    ended_ms: int | None
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    points: tuple[Point, ...]

    def record(self, artifacts: Mapping[str, bytes]) -> Record:
        """The run as it is written again, with these files and its own times."""
        return Record(
            name=self.name,
            params=self.params,
            tags=self.tags,
            metrics={},
            started_ms=self.started_ms,
            ended_ms=self.started_ms if self.ended_ms is None else self.ended_ms,
            artifacts=artifacts,
            points=self.points,
        )


def whole_runs(reader: Reader, runs: pa.Table, run_ids: Sequence[str]) -> list[Whole]:
    """These runs, in order. All that is logged of them is in memory at a time.

    Args:
        runs: the reader's runs, these among them.
    """
    wanted = pa.array(run_ids, pa.string())
    places = pa.compute.index_in(wanted, value_set=runs["run_id"].combine_chunks())
    infos = in_milliseconds(runs.take(places)).to_pylist()
    rows = reader.rows(run_ids)
    params, tags, metrics = (by_run(rows[name]) for name in ("params", "tags", "metrics"))
    points: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
    columns = reader.points(run_ids).to_pydict()
    names = ("run_id", "key", "value", "timestamp", "step")
    for run_id, key, value, timestamp, step in zip(*(columns[n] for n in names), strict=True):
        points[run_id].append(Point(key, _number(value), timestamp, step))
    return [
        Whole(
            run_id=info["run_id"],
            name=info["name"],
            kind=info["kind"],
            status=info["status"],
            experiment=info["experiment"],
            started_ms=info["start_time"],
            ended_ms=info["end_time"],
            artifact_uri=info["artifact_uri"],
            params=params.get(info["run_id"], {}),
            tags=tags.get(info["run_id"], {}),
            metrics={n: _number(v) for n, v in metrics.get(info["run_id"], {}).items()},
            points=tuple(sorted(points[info["run_id"]])),
        )
        for info in infos
    ]


def in_milliseconds(runs: pa.Table) -> pa.Table:
    """A reader's runs with their times as whole numbers, milliseconds since 1970."""
    for name in ("start_time", "end_time"):
        place = runs.schema.get_field_index(name)
        runs = runs.set_column(place, name, runs[name].cast(pa.int64()))
    return runs


def by_run(pairs: pa.Table) -> dict[str, dict[str, Any]]:
    """Rows of params, tags or metrics as mappings, by run."""
    found: dict[str, dict[str, Any]] = {}
    columns = (pairs[name].to_pylist() for name in ("run_id", "key", "value"))
    for run_id, key, value in zip(*columns, strict=True):
        found.setdefault(run_id, {})[key] = value
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else value
