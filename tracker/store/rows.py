"""A run as rows of MLflow's tables, as MLflow's own client would write them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from mlflow.entities import Param, RunTag
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_batch_log_data, _validate_metric

from tracker.store.records import (
    MEASURED_AT,
    VERSIONS,
    Kind,
    Measured,
    Point,
    Record,
    all_metrics,
    all_tags,
)

Row = dict[str, Any]  # by column
Tables = dict[Any, list[Row]]  # by MLflow's model of the table

# The schema that the writer was tested with (MLflow 3.2 to 3.17): the columns of its tables.
TESTED: dict[Any, set[str]] = {
    SqlRun: {
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id"),
        *("status", "start_time", "end_time", "deleted_time", "source_version"),
        *("lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    SqlTag: {"key", "value", "run_uuid"},
    SqlParam: {"key", "value", "run_uuid"},
    SqlMetric: {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
    SqlLatestMetric: {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
}


def run_id_of(key: str) -> str:
    """The run id of a member or sweep follows from its key: a second write meets the first.

    A member's ends with its sample's number and begins with what all members of one algorithm
    share: so MLflow's indexes hold them side by side, and a chunk touches few pages.
    """
    group, _, sample = key.partition("-")
    digest = hashlib.sha256(group.encode()).hexdigest()
    return digest[:22] + f"{int(sample):010d}" if sample else digest[:32]


def untested_schema() -> str | None:
    """What differs between MLflow's tables and those the writer was tested with, if anything."""
    for model, columns in TESTED.items():
        present = set(model.__table__.columns.keys())
        if present != columns:
            return f"table {model.__tablename__}: {', '.join(sorted(present ^ columns))}"
    return None


@dataclass(frozen=True)
class RunRow:
    """One run to write."""

    run_id: str
    kind: Kind
    record: Record
    status: str
    parent: str | None = None


def tables_of(store: SqlAlchemyStore, row: RunRow, experiment_id: str, location: str) -> Tables:
    """The rows of one run in every table, as MLflow's client would write them."""
    record, run_id = row.record, row.run_id
    _, params, tags = _validate_batch_log_data(
        [],
        [Param(name, str(value)) for name, value in record.params.items()],
        [RunTag(name, value) for name, value in all_tags(row.kind, record, row.parent).items()],
    )
    by_name = {tag.key: tag.value for tag in tags} | {"mlflow.runName": record.name}
    stored = [_metric(store, metric) for metric in all_metrics(record)]
    latest: dict[str, Row] = {}
    for metric in sorted(stored, key=lambda m: (m["step"], m["timestamp"], m["value"])):
        latest[metric["key"]] = metric
    own = {"run_uuid": run_id}
    return {
        SqlRun: [
            own
            | {
                "name": record.name,
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "source_version": "",
                "user_id": by_name["mlflow.user"],
                "status": row.status,
                "start_time": record.started_ms,
                "end_time": record.ended_ms if row.status == "FINISHED" else None,
                "deleted_time": None,
                "lifecycle_stage": "active",
                "artifact_uri": f"{location}/{run_id}/artifacts",
                "experiment_id": int(experiment_id),
            }
        ],
        SqlTag: [own | {"key": key, "value": value} for key, value in by_name.items()],
        SqlParam: [own | {"key": param.key, "value": param.value} for param in params],
        SqlMetric: [own | dict(m) for m in {tuple(sorted(m.items())): m for m in stored}.values()],
        SqlLatestMetric: [own | metric for metric in latest.values()],
    }


def added_rows(store: SqlAlchemyStore, member: Measured, before: str, now_ms: int) -> Tables:
    """The rows of factors that are added to a member, and of the tags that tell of them.

    Args:
        before: the tag of its versions until now.
    """
    own = {"run_uuid": member.run_id}
    defined = {name: value for name, value in member.metrics.items() if value == value}
    points = [own | _metric(store, Point(*pair, now_ms, 0)) for pair in defined.items()]
    tags = {VERSIONS: member.tag(before), MEASURED_AT: str(now_ms)}
    return {
        SqlMetric: points,
        SqlLatestMetric: points,
        SqlTag: [own | {"key": key, "value": value} for key, value in tags.items()],
    }


@cache
def _checked(name: str) -> str:
    """A metric's name, if MLflow takes it; raises what its client would."""
    _validate_metric(name, 0.0, 0, 0)
    return name


def _metric(store: SqlAlchemyStore, metric: Point) -> Row:
    is_nan, value = store.sanitize_metric_value(metric.value)
    return {
        "key": _checked(metric.key),
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
    }
