"""Unlearnings with their steps, and tunings with their trials, brought into another store.

The parent run is there first, and is finished when all that was there is here: one whose merging
was stopped is one that was stopped, with which merging goes on as well as the command itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mlflow.entities import Metric, Run, RunTag

from tracker.access.artifacts import Artifacts, Damaged
from tracker.base.base_models import as_name
from tracker.reading.bringing import Ids, data_of, with_ids
from tracker.record.driver import driving
from tracker.record.records import (
    MEASURED_AT,
    PARENT,
    Data,
    Kind,
    Record,
    milliseconds,
    this_process,
)
from tracker.record.registry import REGISTERED
from tracker.record.store import PROCESS, Store
from tracker.record.weights import file_name, read_checkpoint
from tracker.record.whole import Whole
from tracker.sweeping.asked import TABLE, read_rows
from tracker.sweeping.requests import REQUESTS, read_order
from tracker.sweeping.trials import SAMPLES

CHILDREN = {Kind.UNLEARNING: Kind.STEP, Kind.TUNING: Kind.TRIAL}  # the kind of the child runs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Family:
    """An unlearning or a tuning in a store that is merged.

    Attributes:
        base: the id of its base model there. children: the run ids of its finished child runs,
            filled as they are checked.
    """

    run: Whole
    base: str
    children: list[str] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """Of the parent run."""
        return Kind(self.run.kind)

    @property
    def is_whole(self) -> bool:
        """Whether it was finished there."""
        return self.run.status == "FINISHED"

    @property
    def named(self) -> str:
        """What a message calls it."""
        return f"{self.kind} {self.run.name} ({self.run.run_id})"


def files_of_parent(artifacts: Artifacts, run: Whole) -> dict[str, bytes]:
    """The files of an unlearning or a tuning, by name. Raises Damaged."""
    if run.kind == Kind.TUNING:
        return {SAMPLES: _samples(artifacts, run)}
    files = {REQUESTS: _requests(artifacts, run)}
    if run.status == "FINISHED":
        rows = read_rows(artifacts, run.artifact_uri, run.run_id, run.tags)
        read_order(files[REQUESTS], run.run_id, [row.sample_id for row in rows])
        table = artifacts.read(run.artifact_uri, TABLE)
        assert table is not None  # it was just read
        files[TABLE] = table
    return files | checkpoint_of(artifacts, run)


def checkpoint_of(artifacts: Artifacts, run: Whole) -> dict[str, bytes]:
    """The file with the checkpoint of an unlearning or a step, if it has one. Raises Damaged."""
    try:
        content = read_checkpoint(artifacts, run.artifact_uri, run.tags)
    except Damaged as damage:
        raise Damaged(f"of {run.name} ({run.run_id}), {damage}") from damage
    return {} if content is None else {file_name("checkpoint", run.tags["checkpoint"]): content}


def _samples(artifacts: Artifacts, run: Whole) -> bytes:
    content = artifacts.read(run.artifact_uri, SAMPLES)
    if content is None or str(len(content.split())) != run.params.get("samples"):
        raise Damaged(f"{SAMPLES} of tuning {run.run_id} is lost or damaged")
    return content


def _requests(artifacts: Artifacts, run: Whole) -> bytes:
    content = artifacts.read(run.artifact_uri, REQUESTS)
    try:
        ids = json.loads(content or b"")["sample_ids"]
        read_order(content, run.run_id, ids)
    except (ValueError, TypeError, KeyError):
        ids = []
    if content is None or str(len(ids)) != run.params.get("samples"):
        raise Damaged(f"{REQUESTS} of unlearning {run.run_id} is lost or damaged")
    return content


@dataclass
class Bringing:
    """A family that is being merged.

    Attributes:
        artifacts: of the store that it is in. base: its base model there. ids: of runs here, by
            those that they have there.
    """

    store: Store
    artifacts: Artifacts
    family: Family
    base: Whole
    ids: Ids
    say: Say

    def __post_init__(self) -> None:
        run = self.family.run
        params = (run.params["dataset"], as_name(run.params["arch"]))
        self.experiment_id = self.store.experiment_id(*params)
        self.data: Data = data_of(self.base)
        kind = self.family.kind
        self.known = self.store.find_sweep(self.experiment_id, run.tags["key"], kind)

    def go(self, children: list[Whole]) -> bool:
        """Write what is not here; whether anything was."""
        if self.known is not None and self.known.info.status == "FINISHED":
            return self._add_metrics(self.known)
        run_id = self._begin() if self.known is None else str(self.known.info.run_id)
        with driving(self.store, run_id, self.family.named, say=self.say):
            return self._add(run_id, children)

    def _add(self, run_id: str, children: list[Whole]) -> bool:
        """Write what is not here; whether anything was."""
        if self.known is None:
            return self._go_on(run_id, children)
        here = self._here(run_id)
        if self._differs(here, children):
            self.say(
                f"{self.family.named}: it was begun here too and came to other weights; what was "
                "here is kept, and is gone on with by the same command"
            )
            return False
        new = [child for child in children if child.tags["key"] not in here]
        if not (self.family.is_whole or new):
            return False
        self.store.resume_sweep(run_id)
        return self._go_on(run_id, new)

    def _record(self) -> Record:
        """The parent run as it is written here."""
        record = with_ids(self.family.run.record(self._files()), self.ids)
        tags = {name: said for name, said in record.tags.items() if name != REGISTERED}
        return replace(record, tags={**tags, PROCESS: this_process()})

    def _files(self) -> dict[str, bytes]:
        return files_of_parent(self.artifacts, self.family.run)

    def _begin(self) -> str:
        kind = self.family.kind
        return self.store.begin_sweep(self.experiment_id, self._record(), self.data, kind)

    def _go_on(self, run_id: str, children: list[Whole]) -> bool:
        """Write child runs, and then end the parent run as it ended there."""
        ended = self.family.run.ended_ms
        try:
            for child in children:
                self._write(run_id, child)
            if self.family.is_whole:
                self._close(run_id)
                self.store.client.set_terminated(run_id, "FINISHED", ended)
        except BaseException:
            self.store.interrupt(run_id)
            raise
        if not self.family.is_whole:
            self.store.interrupt(run_id, ended)
        return True

    def _write(self, run_id: str, child: Whole) -> None:
        """Write a child run, unless another parent run has one that is the same."""
        record = with_ids(child.record(checkpoint_of(self.artifacts, child)), self.ids)
        kind = CHILDREN[self.family.kind]
        tags = {**record.tags, PARENT: run_id}
        self.store.log_once(
            kind,
            self.experiment_id,
            replace(record, tags=tags),
            self.data,
            record.ended_ms,
            parent=run_id,
        )

    def _close(self, run_id: str) -> None:
        """Have the parent run tell all that it told there, if it was begun here."""
        if self.known is None:
            return
        record, run = self._record(), self.store.run(run_id)
        self.store.artifacts.write(run.info.artifact_uri, record.artifacts)
        tags = [RunTag(*pair) for pair in record.tags.items() if pair[0] != PROCESS]
        known = run.data.metrics
        points = [Metric(*p) for p in record.points if known.get(p.key) != p.value]
        self.store.client.log_batch(run_id, points, tags=tags)
        for step in self._here(run_id).values():
            self.store.drop_checkpoint(step.info.run_id)  # the parent run has the weights now
        self.store.discard_half_written(run_id)

    def _here(self, run_id: str) -> dict[str, Run]:
        """The finished child runs that are here, by key."""
        own = f"tags.`{PARENT}` = '{run_id}'"
        found = self.store.finished_runs(CHILDREN[self.family.kind], own)
        return {run.data.tags["key"]: run for run in found}

    def _differs(self, here: Mapping[str, Run], children: list[Whole]) -> bool:
        """Whether an unlearning took another way here: trials do not depend on each other."""
        if self.family.kind is not Kind.UNLEARNING:
            return False
        there = {child.tags["key"]: child for child in children}
        if self.family.is_whole and here.keys() - there.keys():
            return True
        return any(
            (run.data.tags.get("weights_sha256"), run.data.metrics.get("steps"))
            != (there[key].tags.get("weights_sha256"), there[key].metrics.get("steps"))
            for key, run in here.items()
            if key in there
        )

    def _add_metrics(self, here: Run) -> bool:
        """Add numbers that were measured there later; whether there are any."""
        run, tags = self.family.run, here.data.tags
        if self.family.kind is not Kind.UNLEARNING or not self.family.is_whole:
            return False
        if tags.get("weights_sha256") != run.tags.get("weights_sha256"):
            self.say(
                f"{self.family.named}: it was done here too and came to other weights; what was "
                "here is kept"
            )
            return False
        new = {n: v for n, v in run.metrics.items() if n not in here.data.metrics}
        if not self.store.note_metrics(here.info.run_id, new):
            return False
        self.store.client.set_tag(here.info.run_id, MEASURED_AT, str(milliseconds()))
        return True
