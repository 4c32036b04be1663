"""How runs are written: what is the same for every store, and the writing by MLflow's client.

Base models, sweeps (parent runs), members (child runs), predictions, tunings (parent runs) and
trials (their child runs) are told apart by the tag `kind`. There is one experiment for each data
set and architecture. A store that is a database writes rows in bulk instead: see `bulk`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from analysis.atomic import make_folder
from tracker.store import identity
from tracker.store.files import FOLDER
from tracker.store.read import ClientReader, Reader
from tracker.store.records import (
    MEASURED_AT,
    NOTE,
    PARENT,
    VERSIONS,
    Data,
    Finished,
    Kind,
    Measured,
    Record,
    Run,
    all_metrics,
    all_tags,
    in_blocks,
    milliseconds,
    this_process,
)
from tracker.store.runs import PREFIX, Runs
from tracker.store.weights import files_of
from unlearning.errors import Failure, UserError

BATCH = 800  # metrics in a call; MLflow takes 1,000 values in all
PROCESS = "process"  # the tag of a sweep that says who is at it
OWN_ID = "{run_id}"  # in the note of a base model, in place of its run id
# Tags that a run has from the moment in which it is there: other processes at the same sweep ask
# for them at once.
IDENTITY = ("kind", "key", "execution")
WHOLE = ("FINISHED",)  # statuses of runs that count as written
CONTEXT = InputTag(key="mlflow.data.context", value="training")  # of a data set as an input
BEGUN = ("RUNNING", "FINISHED", "KILLED", "FAILED")

Change = tuple[Mapping[str, float], Mapping[str, str]]  # metrics, NaN without a value; and tags


class Store(Runs):
    """An MLflow store into which base models, sweeps and their members are written."""

    @property
    def reader(self) -> Reader:
        """The store to read from; what was written before is seen."""
        return ClientReader(self)

    def experiment_id(self, dataset: str, arch: str) -> str:
        """The experiment of a data set and an architecture, made with its note if it is new."""
        name = f"{PREFIX}{dataset}-{arch}"
        self.claim()
        if self.client.get_experiment_by_name(name) is None:
            location = None
            if not self.address.is_server:
                make_folder(self.address.folder / FOLDER)
                location = (self.address.folder / FOLDER / f"{dataset}-{arch}").as_uri()
            tags = {
                NOTE: EXPERIMENT_NOTE.format(dataset=dataset, arch=arch),
                "mlflow.experimentKind": "custom_model_development",
                identity.TAG: self.store_id,
            }
            try:
                self.client.create_experiment(name, location, tags)
            except MlflowException as error:  # by another process meanwhile
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        known: Any = self.client.get_experiment_by_name(name)
        if known.lifecycle_stage != "active":
            raise UserError(
                f"the experiment {name} was deleted in MLflow: bring it back with 'mlflow "
                f"experiments restore --experiment-id {known.experiment_id}', or let go of it "
                "with 'mlflow gc'"
            )
        return str(known.experiment_id)

    def claim(self) -> None:
        """Write the store's id into its folder, which may be new on this machine."""
        make_folder(self.address.folder)
        self.store_id = identity.claim(self.address.folder, self.store_id)

    # Runs and members

    def log_base_model(self, experiment_id: str, record: Record, data: Data, note: str) -> str:
        """Write the run of a base model, unless one with its key and weights is there; its run id.

        Args:
            note: in which the run id takes the place of OWN_ID.
        """
        noted = replace(record, tags={**record.tags, NOTE: note})
        return self._one(experiment_id, Kind.BASE_MODEL, noted, data)

    def log_once(
        self,
        kind: Kind,
        experiment_id: str,
        record: Record,
        data: Data,
        ended_ms: int | None = None,
        parent: str | None = None,
    ) -> str:
        """Write a run of a kind, such as a prediction, unless it is there; its run id.

        It ends when all of it is there: from then on it counts as made.

        Args:
            ended_ms: when one ended that another store has had since then; now if None.
            parent: the id of the run whose child it is, if it is one.
        """
        ended = replace(record, ended_ms=milliseconds() if ended_ms is None else ended_ms)
        return self._one(experiment_id, kind, ended, data, parent=parent)

    def begin_sweep(
        self, experiment_id: str, record: Record, data: Data, kind: Kind = Kind.SWEEP
    ) -> str:
        """A new parent run, or the one that another process has just begun; its id.

        Args:
            kind: also of a tuning, or an unlearning.
        """
        return self._one(experiment_id, kind, record, data, "RUNNING")

    def write_members(
        self,
        experiment_id: str,
        sweep_id: str,
        members: Sequence[Record],
    ) -> list[Finished]:
        """Write a chunk of members as child runs of a sweep; what the store has of each now.

        A run is FINISHED only when all of it is there, its artifacts too. Members that another
        process has written meanwhile are left as they are.
        """
        records = [
            replace(member, tags=all_tags(Kind.MEMBER, member, sweep_id)) for member in members
        ]
        written = self._put(experiment_id, records)
        found = {
            record.key: Finished.told(run_id, record.tags, record.metrics)
            for record, (run_id, is_new) in zip(records, written, strict=True)
            if is_new
        }
        if theirs := {member.key for member in members} - found.keys():
            others = self.finished_members({key.partition("-")[0] for key in theirs})
            found |= {key: others[key] for key in theirs}
        return [found[member.key] for member in members]

    def write_children(
        self, kind: Kind, experiment_id: str, parent: str, records: Sequence[Record]
    ) -> None:
        """Write child runs of a parent run that are not there yet.

        Args:
            kind: of the children, such as of an audit. parent: the id of the run.
        """
        self._put(experiment_id, [replace(r, tags=all_tags(kind, r, parent)) for r in records])

    def _one(
        self,
        experiment_id: str,
        kind: Kind,
        record: Record,
        data: Data,
        status: str = "FINISHED",
        parent: str | None = None,
    ) -> str:
        """Write a run of which there is to be no other; the id of the one that is there."""
        whole = replace(record, tags=all_tags(kind, record, parent))
        ((run_id, is_new),) = self._put(experiment_id, [whole], status)
        if is_new:
            source = json.dumps({"name": data.name, "sha256": data.fingerprint})
            profile, digest = json.dumps(dict(data.profile)), data.fingerprint[:32]
            dataset = Dataset(data.name, digest, "indelible", source, profile=profile)
            self.client.log_inputs(run_id, [DatasetInput(dataset, [CONTEXT])])
        return run_id

    # The two ways in which all runs are written; a database has its own

    def _put(
        self, experiment_id: str, records: Sequence[Record], status: str = "FINISHED"
    ) -> list[tuple[str, bool]]:
        """Write runs, each whole or not at all; their ids, and whether they are new.

        Args:
            status: RUNNING for one that is only begun.
        """
        parents = {record.tags[PARENT] for record in records if PARENT in record.tags}
        found = {parent: self.client.get_run(parent).inputs for parent in parents}
        inputs = {parent: own.dataset_inputs for parent, own in found.items() if own}

        def write(record: Record) -> tuple[str, bool]:
            is_only = record.tags["kind"] != Kind.MEMBER  # these have one driver
            if is_only and (first := self._first(experiment_id, record, status)):
                return first, False
            run_id = self._begin(experiment_id, record)
            if data := inputs.get(record.tags.get(PARENT, "")):
                self.client.log_inputs(run_id, data)
            if status == "FINISHED":
                self.client.set_terminated(run_id, status, record.ended_ms)
            if is_only and (first := self._first(experiment_id, record, status)) != run_id:
                self.client.delete_run(run_id)  # of two processes at it
                return first, False
            return run_id, True

        return self.at_once(write, records)

    def _first(self, experiment_id: str, record: Record, status: str) -> str:
        """The id of the first run that is the one to write, if there is one."""
        kind, weights = record.tags["kind"], record.tags.get("weights_sha256")
        same = f"tags.kind = '{kind}' and tags.key = '{record.key}'"
        if kind == Kind.BASE_MODEL:
            same += f" and tags.weights_sha256 = '{weights}'"
        there = BEGUN if status == "RUNNING" else WHOLE
        found = [run for run in self.runs([experiment_id], same) if run.status in there]
        first = min(found, key=lambda run: (run.started_ms, run.run_id), default=None)
        return first.run_id if first else ""

    def _begin(self, experiment_id: str, record: Record) -> str:
        """A run with all of its record, still RUNNING; its run id."""
        tags = record.tags
        first = {n: tags[n] for n in tags if n.startswith("mlflow.") or n in IDENTITY}
        run = self.client.create_run(experiment_id, record.started_ms, first, record.name)
        run_id = str(run.info.run_id)
        left = [
            RunTag(*tag) for tag in own_tags(run_id, record).items() if tag not in first.items()
        ]
        params = [Param(name, str(value)) for name, value in record.params.items()]
        self._log(run_id, [Metric(*point) for point in all_metrics(record)], params, left)
        self.artifacts.write(run.info.artifact_uri, record.artifacts)
        return run_id

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Log metrics, BATCH at a time; with the last of them params and tags."""
        *before, last = list(in_blocks(metrics, BATCH)) or [[]]
        for some in before:
            self.client.log_batch(run_id, some)
        self.client.log_batch(run_id, last, params, tags)

    def _change(self, changes: Mapping[str, Change], before: Mapping[str, Run]) -> None:
        """Write metrics and tags onto runs, by their ids.

        Args:
            before: the runs that get metrics as they were.
        """
        now = milliseconds()

        def write(change: tuple[str, Change]) -> None:
            run_id, (metrics, tags) = change
            known = before[run_id].metrics if metrics else {}
            points = [
                Metric(name, value, now, 0)
                for name, value in metrics.items()
                if not (value != value and name not in known) and known.get(name) != value
            ]
            self._log(run_id, points, tags=[RunTag(*tag) for tag in tags.items()])

        self.at_once(write, changes.items())

    # What is there, and what is added to it

    def finished_members(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        return self.reader.finished(digests)

    def logged(self, run_ids: Sequence[str], histories: Sequence[str]) -> list[Run]:
        """All that is logged of these members, in order, with the histories of those names."""
        return self.reader.logged(run_ids, histories)

    def attach(self, run_id: str, name: str, content: bytes, tag: tuple[str, str]) -> None:
        """Add a file to a finished run, or replace it, and set a tag that tells of it."""
        self.artifacts.write(self.run(run_id).artifact_uri, {name: content})
        self.client.set_tag(run_id, *tag)

    def note_metrics(self, run_id: str, metrics: Mapping[str, float]) -> bool:
        """Log metrics of a finished run that are not there yet, or were others; whether any was."""
        known, now = self.run(run_id).metrics, milliseconds()
        new = [Metric(n, value, now, 0) for n, value in metrics.items() if known.get(n) != value]
        if new:
            self.client.log_batch(run_id, new)
        return bool(new)

    def add_factors(self, members: Sequence[Measured]) -> int:
        """Write factors onto members that are in the store, all of the same factors; of how many.

        A member that was replaced meanwhile is left out.
        """
        here = {run.run_id: run for run in self.reader.logged([m.run_id for m in members])}
        now = str(milliseconds())
        changes: dict[str, Change] = {
            m.run_id: (
                m.metrics,
                {VERSIONS: m.tag(here[m.run_id].tags.get(VERSIONS, "")), MEASURED_AT: now},
            )
            for m in members
            if m.run_id in here and here[m.run_id].tags.get("checkpoint") == m.checkpoint
        }
        self._change(changes, here)
        return len(changes)

    def retag(self, sweep_id: str, name: str, values: Mapping[str, str]) -> None:
        """Give child runs of a sweep a tag, by their ids, and take it from all others."""
        experiment_id = self.run(sweep_id).experiment_id
        tagged = f"tags.`{PARENT}` = '{sweep_id}' and tags.`{name}` LIKE '%'"
        before = {r.run_id: r.tags[name] for r in self.runs([experiment_id], tagged)}
        self._change({i: ({}, {name: v}) for i, v in values.items() if before.get(i) != v}, {})
        self.at_once(lambda run_id: self.untag(run_id, name), before.keys() - values.keys())

    def untag(self, run_id: str, name: str) -> None:
        """Delete a tag of a run; another process may do so at the same moment, or before."""
        try:
            self.client.delete_tag(run_id, name)
        except MlflowException:
            if name in self.run(run_id).tags:
                raise

    def discard(self, run_ids: Iterable[str]) -> None:
        """Delete runs, so that others can take their place."""
        for run_id in run_ids:
            self.client.delete_run(run_id)

    def drop_checkpoint(self, run_id: str) -> None:
        """Delete the checkpoint of a member that stays."""
        run = self.run(run_id)
        self.untag(run_id, "checkpoint")  # first the record: a file without one is only a stray
        for name in files_of({"checkpoint": run.tags.get("checkpoint", "")}):
            self.artifacts.delete(run.artifact_uri, name)

    # Parent runs

    def find_sweep(self, experiment_id: str, key: str, kind: Kind = Kind.SWEEP) -> Run | None:
        """The parent run of the sweep with this key, if it was ever begun.

        Args:
            kind: also of a tuning, or an unlearning.
        """
        same = f"tags.kind = '{kind}' and tags.key = '{key}'"
        return next(self.runs([experiment_id], same), None)

    def resume_sweep(self, sweep_id: str) -> None:
        """Have a parent run show that this process is at it."""
        self.client.update_run(sweep_id, status="RUNNING")
        self.client.set_tag(sweep_id, PROCESS, this_process())

    def discard_half_written(self, sweep_id: str) -> None:
        """Delete child runs that processes left half written; all members are there by now."""
        half = f"tags.`{PARENT}` = '{sweep_id}' and attributes.status != 'FINISHED'"
        found = list(self.runs([self.run(sweep_id).experiment_id], half))
        self.discard(run.run_id for run in found)

    def close_sweep(
        self,
        sweep_id: str,
        metrics: Mapping[str, float],
        note: str,
        ended_ms: int | None = None,
    ) -> None:
        """Write the aggregates and the description of a sweep, and mark it as finished.

        Args:
            ended_ms: when it ended; now if None.
        """
        now = milliseconds()
        points = [Metric(name, value, now, 0) for name, value in metrics.items()]
        self.client.log_batch(sweep_id, points, tags=[RunTag(NOTE, note)])
        self.client.set_terminated(sweep_id, "FINISHED", ended_ms)

    def interrupt(self, sweep_id: str, ended_ms: int | None = None) -> None:
        """Mark a sweep that was stopped before its end, if the store still takes it.

        Args:
            ended_ms: when it was stopped; now if None.
        """
        with suppress(MlflowException, Failure):
            self.client.set_terminated(sweep_id, "KILLED", ended_ms)


def own_tags(run_id: str, record: Record) -> dict[str, str]:
    """The tags of a run under that id, which the note of a base model names."""
    tags = dict(record.tags)
    if tags["kind"] == Kind.BASE_MODEL and NOTE in tags:
        tags[NOTE] = tags[NOTE].replace(OWN_ID, run_id)
    return tags


EXPERIMENT_NOTE = """\
Which training samples of **{dataset}** are hard to unlearn from a **{arch}**, and why?

- *Base models* (`tags.kind = 'base_model'`): trained on the whole training split.
- *Sweeps* (`tags.kind = 'sweep'`): parent runs, each with a description of what was done.
- *Members* (`tags.kind = 'member'`): child runs, one training sample unlearned with one \
algorithm; sort by the metric `gt` (small = hard to unlearn), filter by `params.algorithm`.
- *Predictions* (`tags.kind = 'prediction'`): what sweeps will come to, written before they ran.
- *Tunings* (`tags.kind = 'tuning'`): parent runs, settings that were looked for; their child runs \
are trials (`tags.kind = 'trial'`), one setting on a few samples.
- *Unlearnings* (`tags.kind = 'unlearning'`): parent runs of one model each that has forgotten \
several samples, with a child run a step.

Type one of these conditions into the search field of the runs table to see only such runs.
"""
