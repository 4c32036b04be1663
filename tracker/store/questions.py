"""What is asked of the tables of an MLflow store that is a database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import nan
from typing import Any

from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.blocks import in_blocks
from tracker.store.records import (
    AVERAGED,
    HISTORIES,
    PARENT,
    READ,
    VERSIONS,
    Finished,
    Logged,
    Measured,
)

AT_A_TIME = 500  # runs that are asked for in one query


def finished(session: Session, condition: Any) -> dict[str, Finished]:
    """The finished members, by key, whose row in the table of tags meets the condition."""
    runs: Any = (
        select(SqlRun.run_uuid, SqlTag.value)
        .join(SqlTag, SqlTag.run_uuid == SqlRun.run_uuid)
        .where(SqlTag.key == "key", condition)
        .where(SqlRun.status == "FINISHED", SqlRun.lifecycle_stage == "active")
    )
    keys = {row.run_uuid: row.value for row in session.execute(runs)}
    tags = values_of(session, SqlTag, keys, ("status", "checkpoint", VERSIONS, PARENT, HISTORIES))
    metrics = values_of(session, SqlLatestMetric, keys, [*AVERAGED.values(), *READ.values()])
    return {
        key: Finished.told(run_id, tags[run_id], metrics.get(run_id, {}))
        for run_id, key in keys.items()
        if run_id in tags
    }


def unchanged(session: Session, members: Sequence[Measured]) -> set[str]:
    """Those of these members, by run id, that have the weights which were measured. Locks them."""
    run_ids = [member.run_id for member in members]
    whole: Any = (
        select(SqlRun.run_uuid)
        .where(SqlRun.run_uuid.in_(run_ids))
        .where(SqlRun.status == "FINISHED", SqlRun.lifecycle_stage == "active")
        .with_for_update()
    )
    there = set(session.scalars(whole))
    tags = values_of(session, SqlTag, run_ids, ("checkpoint",))
    return {
        member.run_id
        for member in members
        if member.run_id in there
        and tags.get(member.run_id, {}).get("checkpoint") == member.checkpoint
    }


def logged(session: Session, run_ids: Sequence[str], histories: Collection[str]) -> list[Logged]:
    """All that is logged of these members, in order, with the histories of those names."""
    infos: dict[str, tuple[int, str]] = {}
    for some in in_blocks(run_ids, AT_A_TIME):
        query: Any = select(SqlRun.run_uuid, SqlRun.start_time, SqlRun.artifact_uri)
        rows = session.execute(query.where(SqlRun.run_uuid.in_(some)))
        infos |= {run_id: (started_ms, uri) for run_id, started_ms, uri in rows}
    tags, metrics = (values_of(session, model, run_ids) for model in (SqlTag, SqlLatestMetric))
    kept = [run_id for run_id in run_ids if HISTORIES not in tags.get(run_id, {})]
    curves = histories_of(session, kept, histories)
    return [
        Logged(i, *infos[i], tags.get(i, {}), metrics.get(i, {}), curves.get(i, {})).to_last_step()
        for i in run_ids
        if i in infos
    ]


def histories_of(
    session: Session, run_ids: Sequence[str], names: Collection[str]
) -> dict[str, dict[str, list[float]]]:
    """The values of metrics with one a step, in order, by run and name."""
    found: dict[str, dict[str, list[float]]] = {}
    for some in in_blocks(run_ids, AT_A_TIME):
        query: Any = (
            select(SqlMetric.run_uuid, SqlMetric.key, SqlMetric.value, SqlMetric.is_nan)
            .where(SqlMetric.run_uuid.in_(some), SqlMetric.key.in_(names))
            .order_by(SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step)
        )
        for run_id, key, value, is_nan in session.execute(query):
            found.setdefault(run_id, {}).setdefault(key, []).append(nan if is_nan else value)
    return found


def values_of(
    session: Session, model: Any, run_ids: Collection[str], names: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Values by run, of these names or of all."""
    by_run: dict[str, dict[str, Any]] = {}
    for some in in_blocks(list(run_ids), AT_A_TIME):
        query = select(model.run_uuid, model.key, model.value).where(model.run_uuid.in_(some))
        for run_id, key, value in session.execute(
            query if names is None else query.where(model.key.in_(names))
        ):
            by_run.setdefault(run_id, {})[key] = value
    return by_run
