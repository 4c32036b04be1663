"""What is asked of the tables of an MLflow store that is a database, SQLite or PostgreSQL.

The tables are named here with the columns that are read, since importing MLflow's models takes
seconds. NaN comes as NULL.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    String,
    and_,
    case,
    cast,
    column,
    func,
    or_,
    select,
    table,
)

from tracker.store.records import MEASURED_AT

OURS = "indelible/%"  # the names of this tool's experiments
AT_A_TIME = 500  # runs that one query asks for

Rows = list[tuple[Any, ...]]


def _table(name: str, columns: str) -> Any:
    return table(name, *map(column, columns.split()))


RUNS = _table(
    "runs", "run_uuid name status start_time end_time lifecycle_stage artifact_uri experiment_id"
)
EXPERIMENTS = _table("experiments", "experiment_id name artifact_location")
EXPERIMENT_TAGS = _table("experiment_tags", "experiment_id key value")
TAGS = _table("tags", "run_uuid key value")
PARAMS = _table("params", "run_uuid key value")
METRICS = _table("metrics", "run_uuid key value timestamp step is_nan")
LATEST = _table("latest_metrics", "run_uuid key value is_nan")


def fetched(connection: Connection, query: Select[Any]) -> Rows:
    """All rows of a query, as tuples of the driver, which SQLAlchemy's take twice the time of."""
    return list(connection.execute(query).cursor.fetchall())


def experiments(tag: str) -> Select[Any]:
    """This tool's experiments, deleted ones too, in order: location, value of a tag."""
    tagged = _tag(EXPERIMENT_TAGS, EXPERIMENTS, "experiment_id", tag)
    query = select(EXPERIMENTS.c.artifact_location, tagged).where(EXPERIMENTS.c.name.like(OURS))
    return query.order_by(EXPERIMENTS.c.experiment_id)


def revision() -> Select[Any]:
    """The revision of MLflow's schema."""
    return select(column("version_num")).select_from(table("alembic_version"))


def every_id() -> Select[Any]:
    """The ids of all runs, whosever they are and deleted ones too."""
    return select(RUNS.c.run_uuid)


def runs(kind: str | None = None, run_ids: Collection[str] | None = None) -> Select[Any]:
    """This tool's runs that are not deleted, in the columns of `read.RUN_COLUMNS`."""
    kind_of = _tag(TAGS, RUNS, "run_uuid", "kind")
    query = (
        select(
            *(RUNS.c.run_uuid, RUNS.c.name),
            *(cast(RUNS.c.experiment_id, String), EXPERIMENTS.c.name.label("experiment")),
            *(kind_of, RUNS.c.status, RUNS.c.start_time, RUNS.c.end_time),
            func.coalesce(_tag(TAGS, RUNS, "run_uuid", MEASURED_AT), ""),
            RUNS.c.artifact_uri,
        )
        .join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id)
        .where(EXPERIMENTS.c.name.like(OURS), RUNS.c.lifecycle_stage == "active")
    )
    if kind is not None:
        query = query.where(kind_of == kind)
    return query if run_ids is None else query.where(RUNS.c.run_uuid.in_(run_ids))


def members(digests: Collection[str]) -> Select[Any]:
    """The finished members with these digests: run id and key."""
    like = or_(*(TAGS.c.value.like(f"{digest}-%") for digest in digests))
    whole = and_(RUNS.c.status == "FINISHED", RUNS.c.lifecycle_stage == "active")
    query = select(RUNS.c.run_uuid, TAGS.c.value).join(TAGS, TAGS.c.run_uuid == RUNS.c.run_uuid)
    return query.where(TAGS.c.key == "key", like, whole)


def pairs(source: Any, run_ids: Sequence[str], names: Collection[str] | None = None) -> Select[Any]:
    """Run id, name and value, from PARAMS, TAGS or LATEST."""
    query = select(source.c.run_uuid, source.c.key, _value(source))
    query = query.where(source.c.run_uuid.in_(run_ids))
    return query if names is None else query.where(source.c.key.in_(names))


def points(run_ids: Sequence[str], names: Collection[str] | None = None) -> Select[Any]:
    """Run id, name, time, step and value of every value of metrics."""
    of = METRICS.c
    query = select(of.run_uuid, of.key, of.timestamp, of.step, _value(METRICS))
    query = query.where(of.run_uuid.in_(run_ids))
    # As a term, or SQLite walks through all runs' values of that name.
    return query if names is None else query.where(of.key.concat("").in_(names))


def _tag(tags: Any, source: Any, own_id: str, key: str) -> Any:
    """The value of a tag of each row of a source."""
    query = select(tags.c.value).where(tags.c[own_id] == source.c[own_id], tags.c.key == key)
    return query.scalar_subquery()


def _value(source: Any) -> Any:
    value = source.c.value
    return case((source.c.is_nan, None), else_=value) if "is_nan" in source.c else value
