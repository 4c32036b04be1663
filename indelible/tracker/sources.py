"""Where the warehouse's rows come from: a database read directly, or any store through its client.

A database is read through ADBC, straight into Arrow and without importing MLflow.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from indelible.analysis.warehouse import STAGING

if TYPE_CHECKING:
    from indelible.tracker.store import Store

FEW = 500  # runs up to which rows are asked for one by one, not by reading whole tables

# The runs of this tool, and where each kind of their rows is in MLflow's schema.
OURS = """
    from runs as r join experiments as e on e.experiment_id = r.experiment_id
    where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
"""
RUNS = f"""
    select r.run_uuid as run_id, r.name, e.name as experiment,
        (select t.value from tags as t where t.key = 'kind' and t.run_uuid = r.run_uuid) as kind,
        r.status, r.start_time, r.end_time, r.artifact_uri
    {OURS}
"""  # noqa: S608 - no value is pasted in
ROWS = {
    "params": "select run_uuid as run_id, key, value from params",
    "tags": "select run_uuid as run_id, key, value from tags",
    "metrics": """
        select run_uuid as run_id, key, case when is_nan then null else value end as value
        from latest_metrics
    """,
}


class Source(Protocol):
    """A store to load from. Tables have the columns of the warehouse's STAGING."""

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""

    def artifact(self, uri: str, name: str) -> bytes | None:
        """A file of the artifacts that a run has at a URI; None if it is not there."""


class DatabaseSource:
    """MLflow's database, read directly."""

    def __init__(self, uri: str) -> None:
        self.uri, self.dialect = uri, _dialect(uri)
        rest = uri.partition("://")[2]
        is_file = self.dialect == "sqlite"
        self.address = rest.removeprefix("/") if is_file else f"{self.dialect}://{rest}"
        self.driver = importlib.import_module(f"{driver_for(uri)}.dbapi")

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return self._read("runs", RUNS)

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        if len(run_ids) > FEW:
            wanted = pa.array(run_ids)
            whole = {
                name: self._read(name, f"{query} where run_uuid in (select r.run_uuid {OURS})")
                for name, query in ROWS.items()
            }
            return {
                name: table.filter(pc.is_in(table["run_id"], value_set=wanted))
                for name, table in whole.items()
            }
        marks = [("?" if self.dialect == "sqlite" else f"${n + 1}") for n in range(len(run_ids))]
        asked = f" where run_uuid in ({', '.join(marks) or 'null'})"
        return {name: self._read(name, query + asked, run_ids) for name, query in ROWS.items()}

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        return set(self._fetch("select run_uuid from runs")["run_uuid"].to_pylist())

    def artifact(self, uri: str, name: str) -> bytes | None:
        """A file of the artifacts that a run has at a URI; None if it is not there."""
        return _local_artifact(uri, name)

    def _read(self, name: str, query: str, values: Sequence[str] = ()) -> pa.Table:
        return self._fetch(query, values).cast(STAGING[name])

    def _fetch(self, query: str, values: Sequence[str] = ()) -> pa.Table:
        if self.dialect == "sqlite":
            _close_mlflows_connections(self.uri)
        connect = self.driver.connect
        with closing(connect(self.address)) as connection, connection.cursor() as cursor:
            cursor.execute(query, tuple(values) or None)
            return cursor.fetch_arrow_table()


def _close_mlflows_connections(uri: str) -> None:
    """Close what MLflow keeps open of a SQLite file in this process; it opens it anew when needed.

    The driver brings a SQLite library of its own, and where one of two in a process closes a file,
    the system drops the locks of both ("How To Corrupt An SQLite Database File", 2.2.1).
    """
    if "mlflow.store.tracking.sqlalchemy_store" in sys.modules:
        from mlflow import MlflowClient

        MlflowClient(uri)._tracking_client.store.engine.dispose()


class ClientSource:
    """Any MLflow store, through its client: every run is read each time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = {e.experiment_id: e.name for e in store.experiments()}
        self.found = {run.info.run_id: run for run in store.runs(list(self.names))}

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        rows = [
            {
                "run_id": run_id,
                "name": run.info.run_name,
                "experiment": self.names[run.info.experiment_id],
                "kind": run.data.tags.get("kind"),
                "status": run.info.status,
                "start_time": run.info.start_time,
                "end_time": run.info.end_time,
                "artifact_uri": run.info.artifact_uri,
            }
            for run_id, run in self.found.items()
        ]
        return pa.Table.from_pylist(rows, schema=STAGING["runs"])

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        data = {run_id: self.found[run_id].data for run_id in run_ids}
        values = {"params": "params", "tags": "tags", "metrics": "metrics"}
        return {
            name: _pairs(name, {run_id: getattr(d, part) for run_id, d in data.items()})
            for name, part in values.items()
        }

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        return {run.info.run_id for run in self.store.runs(list(self.names), deleted_too=True)}

    def artifact(self, uri: str, name: str) -> bytes | None:
        """A file of the artifacts that a run has at a URI; None if it is not there."""
        return _remote_artifact(uri, name, self.store.uri)


def _pairs(name: str, values: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    rows = [
        {"run_id": run_id, "key": key, "value": value}
        for run_id, pairs in values.items()
        for key, value in pairs.items()
    ]
    return pa.Table.from_pylist(rows, schema=STAGING[name])


def driver_for(uri: str) -> str | None:
    """The module of the ADBC driver that reads a tracking URI's database, if it is installed."""
    module = f"adbc_driver_{_dialect(uri)}"
    return module if importlib.util.find_spec(module) else None


def _dialect(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0]


def _local_artifact(uri: str, name: str) -> bytes | None:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return _remote_artifact(uri, name, None)
    path = Path(unquote(parts.path)) / name
    return path.read_bytes() if path.exists() else None


def _remote_artifact(uri: str, name: str, tracking_uri: str | None) -> bytes | None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            path = download_artifacts(f"{uri}/{name}", dst_path=folder, tracking_uri=tracking_uri)
        except (MlflowException, OSError):
            return None
        return Path(path).read_bytes()
