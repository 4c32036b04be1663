"""What a run looks like in MLflow: experiments, names, tags, metrics and artifacts.

The only module that writes to MLflow. Base models, sweeps (parent runs) and members (child runs)
are told apart by the tag `kind`; all belong to one experiment a data set and architecture.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from indelible.errors import Failure, UserError
from indelible.tracker import views
from indelible.tracker.records import (
    CHECKPOINT,
    Finished,
    Kind,
    Record,
    its_process_is_gone,
    this_process,
)

PREFIX = "indelible/"
PAGE = 1000  # runs a search answers with
BATCH = 800  # metrics in a call; MLflow takes 1,000 values in all
IN_FLIGHT = 8  # runs that are written at a time
PROCESS = "process"  # the tag of a sweep that says who is at it
PROVENANCE = {"mlflow.source.name": "indelible", "mlflow.source.type": "LOCAL"}
SQL_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is data

# Their remarks on every new table, and tracebacks of errors that are raised to us as well.
for _name, _level in (
    ("mlflow", logging.WARNING),
    ("alembic", logging.WARNING),
    ("mlflow.store.db.utils", logging.CRITICAL),
):
    logging.getLogger(_name).setLevel(_level)


@dataclass(frozen=True)
class Data:
    """A data set as MLflow's inputs know it."""

    name: str
    fingerprint: str
    profile: Mapping[str, int]


class Store:
    """An MLflow store with the artifacts of what this tool logs into it.

    Args:
        folder: where the embedded store lives, and the artifacts of any SQL store.
        tracking_uri: of the MLflow store; a SQLite file in the folder if not given.

    Raises UserError if the folder cannot be written, Failure if a server does not answer.
    """

    def __init__(self, folder: Path, tracking_uri: str | None = None) -> None:
        self.folder = folder.absolute()
        _check_writable(self.folder)
        self.uri = tracking_uri or f"sqlite:///{self.folder / 'mlflow.db'}"
        if tracking_uri is None:
            _write_ahead(self.folder / "mlflow.db")
        elif self.uri.startswith("http"):
            _check_answers(self.uri)
        self.client = MlflowClient(tracking_uri=self.uri)

    # Experiments

    def experiments(self) -> list[Experiment]:
        """The experiments of this tool."""
        found = self.client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'")
        return sorted(found, key=lambda experiment: experiment.name)

    def experiment_id(self, dataset: str, arch: str) -> str:
        """The experiment of a data set and an architecture, made with its note if it is new."""
        name = f"{PREFIX}{dataset}-{arch}"
        for experiment in self.experiments():
            if experiment.name == name:
                return str(experiment.experiment_id)
        location = None
        if is_database(self.uri):
            location = (self.folder / "artifacts" / f"{dataset}-{arch}").as_uri()
        tags = {
            "mlflow.note.content": EXPERIMENT_NOTE.format(dataset=dataset, arch=arch),
            "mlflow.experimentKind": "custom_model_development",
        }
        return str(self.client.create_experiment(name, location, tags))

    # Writing

    def log_base_model(self, experiment_id: str, record: Record, data: Data) -> str:
        """Write the run of a base model; its run id."""
        run_id = self._begin(experiment_id, Kind.BASE_MODEL, record)
        self._log_input(run_id, data)
        self.client.set_terminated(run_id, "FINISHED", record.ended_ms)
        return run_id

    def attach(self, run_id: str, name: str, content: bytes, tag: tuple[str, str]) -> None:
        """Add a file to a finished run, or replace it, and set a tag that tells of it."""
        self._log_artifacts(self.run(run_id).info.artifact_uri, {name: content})
        self.client.set_tag(run_id, *tag)

    def write_members(
        self, experiment_id: str, sweep_id: str, members: Sequence[Record]
    ) -> list[str]:
        """Write a chunk of members as child runs of a sweep; their run ids.

        A run is FINISHED only when all of it is there, its artifacts too.
        """

        def write(member: Record) -> str:
            run_id = self._begin(experiment_id, Kind.MEMBER, member, parent=sweep_id)
            self.client.set_terminated(run_id, "FINISHED", member.ended_ms)
            return run_id

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(write, members))

    def find_sweep(self, experiment_id: str, key: str) -> Run | None:
        """The parent run of the sweep with this key, if it was ever begun."""
        same = f"tags.kind = '{Kind.SWEEP}' and tags.key = '{key}'"
        return next(self.runs([experiment_id], same), None)

    def begin_sweep(self, experiment_id: str, record: Record, data: Data) -> str:
        """A new parent run; its id."""
        sweep_id = self._begin(experiment_id, Kind.SWEEP, record)
        self._log_input(sweep_id, data)
        return sweep_id

    def resume_sweep(self, experiment_id: str, sweep: Run) -> str:
        """Go on with a parent run; its id.

        Child runs that an earlier call left RUNNING are closed as KILLED: they are half written.
        """
        sweep_id = self._reopen(sweep)
        half = f"tags.`mlflow.parentRunId` = '{sweep_id}' and attributes.status = 'RUNNING'"
        for run in list(self.runs([experiment_id], half)):
            self.client.set_terminated(run.info.run_id, "KILLED")
        return sweep_id

    def _reopen(self, sweep: Run) -> str:
        self.client.update_run(sweep.info.run_id, status="RUNNING")
        self.client.set_tag(sweep.info.run_id, PROCESS, this_process())
        return str(sweep.info.run_id)

    def close_sweep(self, sweep_id: str, metrics: Mapping[str, float], note: str) -> None:
        """Aggregates and description of a sweep that is through, and its status."""
        now = time.time_ns() // 1_000_000
        self.client.log_batch(
            sweep_id,
            [Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[RunTag("mlflow.note.content", note)],
        )
        self.client.set_terminated(sweep_id, "FINISHED")

    def close_stale_sweeps(self) -> None:
        """Mark sweeps as KILLED that are RUNNING but whose process on this machine is gone."""
        ids = [experiment.experiment_id for experiment in self.experiments()]
        running = f"tags.kind = '{Kind.SWEEP}' and attributes.status = 'RUNNING'"
        for run in list(self.runs(ids, running)):
            if its_process_is_gone(run.data.tags.get(PROCESS, "")):
                self.interrupt(run.info.run_id)

    def add_view(self, experiment_id: str, sweep_id: str) -> None:
        """Let the UI have a table of a sweep's child runs; a reader of it writes nothing."""
        name, view = views.tag(sweep_id)
        if self.client.get_experiment(experiment_id).tags.get(name) != view:
            self.client.set_experiment_tag(experiment_id, name, view)

    def interrupt(self, sweep_id: str) -> None:
        """Mark a sweep that was stopped before its end, if the store still takes it.

        Where it does not, as on a full disk, what stopped the sweep is what there is to say; the
        next sweep closes it.
        """
        with suppress(MlflowException):
            self.client.set_terminated(sweep_id, "KILLED")

    def discard(self, run_ids: Iterable[str]) -> None:
        """Delete runs, so that others can take their place."""
        for run_id in run_ids:
            self.client.delete_run(run_id)

    def drop_checkpoint(self, run_id: str) -> None:
        """Delete the checkpoint of a member that stays."""
        run = self.run(run_id)
        self._repository(run.info.artifact_uri).delete_artifacts(CHECKPOINT)
        if "checkpoint" in run.data.tags:
            self.client.delete_tag(run_id, "checkpoint")

    def _begin(
        self, experiment_id: str, kind: Kind, record: Record, parent: str | None = None
    ) -> str:
        """A run with all of its record, still RUNNING; its run id."""
        tags = all_tags(kind, record, parent)
        first = {name: tags.pop(name) for name in list(tags) if name.startswith("mlflow.")}
        run = self.client.create_run(experiment_id, record.started_ms, first, record.name)
        run_id = str(run.info.run_id)
        metrics = all_metrics(record)
        self.client.log_batch(
            run_id,
            metrics[:BATCH],
            [Param(name, str(value)) for name, value in record.params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )
        for start in range(BATCH, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics[start : start + BATCH])
        self._log_artifacts(run.info.artifact_uri, record.artifacts)
        return run_id

    def _repository(self, uri: str) -> ArtifactRepository:
        """Where a run has its artifacts, perhaps behind the tracking server."""
        return get_artifact_repository(uri, tracking_uri=self.uri)

    def _log_artifacts(self, uri: str, artifacts: Mapping[str, bytes]) -> None:
        """Write files where a run has its artifacts, wherever that is."""
        for name, content in artifacts.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                path.write_bytes(content)
                self._repository(uri).log_artifact(str(path))

    def _log_input(self, run_id: str, data: Data) -> None:
        dataset = Dataset(
            name=data.name,
            digest=data.fingerprint[:32],
            source_type="indelible",
            source=json.dumps({"name": data.name, "sha256": data.fingerprint}),
            profile=json.dumps(dict(data.profile)),
        )
        tag = InputTag(key="mlflow.data.context", value="training")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [tag])])

    # Reading

    def runs(
        self, experiment_ids: list[str], filter_string: str = "", deleted_too: bool = False
    ) -> Iterator[Run]:
        """All runs that match a filter, newest first; those that are not deleted, if not asked."""
        token: str | None = None
        while experiment_ids:
            page = self.client.search_runs(
                experiment_ids,
                filter_string,
                ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY,
                PAGE,
                ["attributes.start_time DESC"],
                token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def finished_runs(self, kind: Kind, condition: str = "") -> Iterator[Run]:
        """Finished runs of a kind in all experiments, newest first."""
        ids = [experiment.experiment_id for experiment in self.experiments()]
        both = f"tags.kind = '{kind}' and attributes.status = 'FINISHED'"
        return self.runs(ids, f"{both} and {condition}" if condition else both)

    def finished_members(self, digests: Iterable[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        done = {}
        for digest in digests:
            for run in self.finished_runs(Kind.MEMBER, f"tags.key LIKE '{digest}-%'"):
                tags = run.data.tags
                done[tags["key"]] = Finished(
                    run.info.run_id, tags["status"], run.data.metrics, "checkpoint" in tags
                )
        return done

    def run(self, run_id: str) -> Run:
        """The run of that id. Raises UserError where there is none."""
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UserError(f"there is no run '{run_id}' in {self.uri}") from None

    @contextmanager
    def artifact(self, run: Run, name: str) -> Iterator[Path]:
        """One file of a run's artifacts, for as long as the context lasts."""
        repository = self._repository(run.info.artifact_uri)
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = repository.download_artifacts(name, folder)
            except (MlflowException, OSError) as error:
                raise UserError(
                    f"run {run.info.run_id} ({run.info.run_name}) has no artifact '{name}'"
                ) from error
            yield Path(path)


def is_database(uri: str) -> bool:
    """Whether a tracking URI names a database, not a server or a folder."""
    return uri.partition(":")[0].partition("+")[0] in SQL_SCHEMES


EXPERIMENT_NOTE = """\
Which training samples of **{dataset}** are hard to unlearn from a **{arch}**, and why?

- *Base models* (`tags.kind = 'base_model'`): trained on the whole training split.
- *Sweeps* (`tags.kind = 'sweep'`): parent runs, each with a description of what was done.
- *Members* (`tags.kind = 'member'`): child runs, one training sample unlearned with one \
algorithm; sort by the metric `gt` (small = hard to unlearn), filter by `params.algorithm`.

Type one of these conditions into the search field of the runs table to see only such runs.
"""


def all_tags(kind: Kind, record: Record, parent: str | None = None) -> dict[str, str]:
    """The tags of a run: the record's, and what every run of this tool has."""
    tags = {"kind": str(kind), **PROVENANCE, "mlflow.user": _user(), **record.tags}
    return tags if parent is None else {**tags, "mlflow.parentRunId": parent}


def all_metrics(record: Record) -> list[Metric]:
    """The metrics of a run: single values at step 0, and histories."""
    now = record.ended_ms
    return [Metric(name, value, now, 0) for name, value in record.metrics.items()] + [
        Metric(name, value, now, step)
        for name, values in record.histories.items()
        for step, value in enumerate(values)
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the store '{folder}' cannot be written ({error.strerror}): "
            "name a folder that can with --store DIR"
        ) from error


def _write_ahead(database: Path) -> None:
    """Let readers and a writer of the embedded store not wait for each other."""
    if not database.exists():
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()


def _check_answers(uri: str) -> None:
    # MLflow's own client tries for minutes before it says so.
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):  # noqa: S310 - http
            pass
    except urllib.error.HTTPError:
        pass  # somebody answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"the MLflow server at {uri} does not answer: {reason}") from error
