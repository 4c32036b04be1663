"""How runs are written through MLflow's client.

Base models, sweeps (parent runs), members (child runs), predictions, tunings (parent runs) and
trials (their child runs) are told apart by the tag `kind`. There is one experiment for each data
set and architecture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException

from analysis.drafts import make_folder
from tracker.store import identity
from tracker.store.artifacts import FOLDER
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
    all_metrics,
    all_tags,
    milliseconds,
    this_process,
)
from tracker.store.runs import PREFIX, Runs
from tracker.store.weights import file_name
from unlearning.errors import Failure, UserError

BATCH = 800  # metrics in a call; MLflow takes 1,000 values in all
IN_FLIGHT = 8  # runs that are written at a time
PROCESS = "process"  # the tag of a sweep that says who is at it
# Tags that a run has from the moment in which it is there: other processes at the same sweep ask
# for them at once.
IDENTITY = ("kind", "key", "execution")
NOTHING: Mapping[str, Finished] = {}

Item = TypeVar("Item")
Result = TypeVar("Result")


class Store(Runs):
    """An MLflow store into which base models, sweeps and their members are written."""

    def experiment_id(self, dataset: str, arch: str) -> str:
        """The experiment of a data set and an architecture, made with its note if it is new."""
        name = f"{PREFIX}{dataset}-{arch}"
        return self._known(name) or self._made(name, dataset, arch)

    def _known(self, name: str) -> str | None:
        """The id of the experiment of that name, if there is one; it gets the store's id."""
        for experiment in self.experiments():
            if experiment.name == name:
                self.claim([experiment])
                return str(experiment.experiment_id)
        return None

    def _made(self, name: str, dataset: str, arch: str) -> str:
        self.store_id = identity.claim(self.address.folder, self.store_id)
        location = None
        if not self.address.is_server:
            artifacts = self.address.folder / FOLDER
            make_folder(artifacts)
            location = (artifacts / f"{dataset}-{arch}").as_uri()
        tags = {
            NOTE: EXPERIMENT_NOTE.format(dataset=dataset, arch=arch),
            "mlflow.experimentKind": "custom_model_development",
            identity.TAG: self.store_id,
        }
        try:
            return str(self.client.create_experiment(name, location, tags))
        except MlflowException as error:
            if existing := self._known(name):  # made by another process meanwhile
                return existing
            deleted = self.client.get_experiment_by_name(name)
            if deleted is None:
                raise
            raise UserError(
                f"the experiment {name} was deleted in MLflow: bring it back with 'mlflow "
                f"experiments restore --experiment-id {deleted.experiment_id}', or let go of it "
                "with 'mlflow gc'"
            ) from error

    def claim(self, experiments: Iterable[Experiment]) -> None:
        """Write the store's id into its folder and into the tags of these experiments."""
        for experiment in experiments:
            tagged = experiment.tags.get(identity.TAG)
            self.store_id = identity.claim(self.address.folder, self.store_id or tagged)
            if tagged is None:
                experiment_id = experiment.experiment_id
                self.client.set_experiment_tag(experiment_id, identity.TAG, self.store_id)

    # Writing

    def log_base_model(self, experiment_id: str, record: Record, data: Data, note: str) -> str:
        """Write the run of a base model, unless another process just did; its run id.

        Args:
            note: in which the run id takes its place.
        """
        run_id = self._begin(experiment_id, Kind.BASE_MODEL, record)
        self.client.set_tag(run_id, NOTE, note.replace("{run_id}", run_id))
        self._log_input(run_id, data)
        sha256 = record.tags["weights_sha256"]
        same = f"tags.key = '{record.key}' and tags.weights_sha256 = '{sha256}'"
        for other in self.finished_runs(Kind.BASE_MODEL, same):
            self.client.delete_run(run_id)
            return str(other.info.run_id)
        self.client.set_terminated(run_id, "FINISHED", record.ended_ms)
        return run_id

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
            ended_ms: when one ended that another store has had since then.
            parent: the id of the run whose child it is, if it is one.
        """
        same = f"tags.kind = '{kind}' and tags.key = '{record.key}'"
        finished = f"{same} and attributes.status = 'FINISHED'"
        for run in self.runs([experiment_id], finished):
            return str(run.info.run_id)
        run_id = self._begin(experiment_id, kind, record, parent)
        self._log_input(run_id, data)
        self.client.set_terminated(run_id, "FINISHED", ended_ms)
        return run_id

    def attach(self, run_id: str, name: str, content: bytes, tag: tuple[str, str]) -> None:
        """Add a file to a finished run, or replace it, and set a tag that tells of it."""
        self.artifacts.write(self.run(run_id).info.artifact_uri, {name: content})
        self.client.set_tag(run_id, *tag)

    def note_metrics(self, run_id: str, metrics: Mapping[str, float]) -> bool:
        """Log metrics of a finished run that are not there yet, or were others; whether any was."""
        known, now = self.run(run_id).data.metrics, milliseconds()
        new = [Metric(n, value, now, 0) for n, value in metrics.items() if known.get(n) != value]
        if new:
            self.client.log_batch(run_id, new)
        return bool(new)

    def write_members(
        self,
        experiment_id: str,
        sweep_id: str,
        members: Sequence[Record],
        instead_of: Mapping[str, Finished] = NOTHING,
    ) -> list[Finished]:
        """Write a chunk of members as child runs of a sweep; what the store has of each now.

        A run is FINISHED only when all of it is there, its artifacts too.

        Args:
            instead_of: runs, by key, whose place those members take that have the same key. They
                stay children of the sweep that they are children of.
        """

        def write(member: Record) -> Finished:
            before = instead_of.get(member.key)
            parent = before.sweep_id if before else sweep_id
            run_id = self._begin(experiment_id, Kind.MEMBER, member, parent)
            self.client.set_terminated(run_id, "FINISHED", member.ended_ms)
            if before:
                self.client.delete_run(before.run_id)
            return Finished.of(run_id, parent, member)

        return self._at_once(write, members)

    def add_factors(self, members: Sequence[Measured]) -> int:
        """Write factors onto members that are in the store, all of the same factors; of how many.

        A member that was replaced meanwhile is left out.
        """
        now = milliseconds()

        def write(member: Measured) -> bool:
            run = self.run(member.run_id)
            if run.data.tags.get("checkpoint") != member.checkpoint:
                return False
            known = run.data.metrics
            points = [
                Metric(name, value, now, 0)
                for name, value in member.metrics.items()
                if not (value != value and name not in known) and known.get(name) != value
            ]
            versions = member.tag(run.data.tags.get(VERSIONS, ""))
            tags = {VERSIONS: versions, MEASURED_AT: str(now)}
            for start in range(0, max(1, len(points)), BATCH):
                some, is_last = points[start : start + BATCH], start + BATCH >= len(points)
                said = [RunTag(*tag) for tag in tags.items()] if is_last else []
                self.client.log_batch(member.run_id, some, tags=said)
            return True

        return sum(self._at_once(write, members))

    def _at_once(self, write: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Write several things at a time, and wait for all."""
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            try:
                return list(pool.map(write, items))
            except BaseException:
                self.patience.give_up()  # the pool waits for all that are in flight
                raise

    def find_sweep(self, experiment_id: str, key: str, kind: Kind = Kind.SWEEP) -> Run | None:
        """The parent run of the sweep with this key, if it was ever begun.

        Args:
            kind: also of a tuning, or an unlearning.
        """
        same = f"tags.kind = '{kind}' and tags.key = '{key}'"
        return next(self.runs([experiment_id], same), None)

    def begin_sweep(
        self, experiment_id: str, record: Record, data: Data, kind: Kind = Kind.SWEEP
    ) -> str:
        """A new parent run, or the one that another process has just begun; its id.

        Args:
            kind: also of a tuning, or an unlearning.
        """
        if known := self.find_sweep(experiment_id, record.key, kind):
            return str(known.info.run_id)
        sweep_id = self._begin(experiment_id, kind, record)
        same = f"tags.kind = '{kind}' and tags.key = '{record.key}'"
        first = min(
            self.runs([experiment_id], same), key=lambda run: (run.info.start_time, run.info.run_id)
        )
        if first.info.run_id != sweep_id:
            self.client.delete_run(sweep_id)
            return str(first.info.run_id)
        self._log_input(sweep_id, data)
        return sweep_id

    def resume_sweep(self, sweep_id: str) -> None:
        """Have a parent run show that this process is at it."""
        self.client.update_run(sweep_id, status="RUNNING")
        self.client.set_tag(sweep_id, PROCESS, this_process())

    def discard_half_written(self, sweep_id: str) -> None:
        """Delete child runs that processes left behind when they died.

        It is called when all members are there: what is still half written has been done again.
        """
        half = f"tags.`{PARENT}` = '{sweep_id}' and attributes.status != 'FINISHED'"
        found = list(self.runs([self.run(sweep_id).info.experiment_id], half))
        self.discard(run.info.run_id for run in found)

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
        self.client.log_batch(
            sweep_id,
            [Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[RunTag(NOTE, note)],
        )
        self.client.set_terminated(sweep_id, "FINISHED", ended_ms)

    def retag(self, sweep_id: str, name: str, values: Mapping[str, str]) -> None:
        """Give child runs of a sweep a tag, by their ids, and take it from all others."""
        experiment_id = self.run(sweep_id).info.experiment_id
        tagged = f"tags.`{PARENT}` = '{sweep_id}' and tags.`{name}` LIKE '%'"
        before = {r.info.run_id: r.data.tags[name] for r in self.runs([experiment_id], tagged)}

        def write(run_id: str) -> None:
            if run_id not in values:
                self.untag(run_id, name)
            elif values[run_id] != before.get(run_id):
                self.client.set_tag(run_id, name, values[run_id])

        self._at_once(write, [*values, *(before.keys() - values.keys())])

    def untag(self, run_id: str, name: str) -> None:
        """Delete a tag of a run; another process may do so at the same moment, or before."""
        if name in self.run(run_id).data.tags:
            try:
                self.client.delete_tag(run_id, name)
            except MlflowException:
                if name in self.run(run_id).data.tags:
                    raise

    def interrupt(self, sweep_id: str, ended_ms: int | None = None) -> None:
        """Mark a sweep that was stopped before its end, if the store still takes it.

        Where it does not, as on a full disk, the error that stopped the sweep is the one to
        report; the next sweep marks this one.

        Args:
            ended_ms: when it was stopped; now if None.
        """
        with suppress(MlflowException, Failure):
            self.client.set_terminated(sweep_id, "KILLED", ended_ms)

    def discard(self, run_ids: Iterable[str]) -> None:
        """Delete runs, so that others can take their place."""
        for run_id in run_ids:
            self.client.delete_run(run_id)

    def drop_checkpoint(self, run_id: str) -> None:
        """Delete the checkpoint of a member that stays."""
        run = self.run(run_id)
        sha256 = run.data.tags.get("checkpoint")
        if sha256 is not None:  # first the record: a file without one is only a stray
            self.untag(run_id, "checkpoint")
            if "checkpoint" in self.run(run_id).data.tags:  # a sweep has just put it there again
                return
            self.artifacts.delete(run.info.artifact_uri, file_name("checkpoint", sha256))

    def _begin(
        self, experiment_id: str, kind: Kind, record: Record, parent: str | None = None
    ) -> str:
        """A run with all of its record, still RUNNING; its run id."""
        tags = all_tags(kind, record, parent)
        first = {n: tags.pop(n) for n in list(tags) if n.startswith("mlflow.") or n in IDENTITY}
        run = self.client.create_run(experiment_id, record.started_ms, first, record.name)
        run_id = str(run.info.run_id)
        metrics = [Metric(*point) for point in all_metrics(record)]
        self.client.log_batch(
            run_id,
            metrics[:BATCH],
            [Param(name, str(value)) for name, value in record.params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )
        for start in range(BATCH, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics[start : start + BATCH])
        self.artifacts.write(run.info.artifact_uri, record.artifacts)
        return run_id

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
