"""What is logged of base models, sweeps and members, as plain values that MLflow is then given."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tracker

RUN_ID = re.compile("[0-9a-f]{32}")  # MLflow's; what is named otherwise is nobody's run
NOTE = "mlflow.note.content"  # the tag with the description of a run or an experiment
COMMAND = "command"  # the tag of a member with what does it again
PARENT = "mlflow.parentRunId"  # the tag of a member with its sweep's run id
VERSIONS = "factor_versions"  # the tag of a member with the versions of its factors
HISTORIES = "histories"  # the tag of a member whose histories are not kept
KEPT_STEP = "kept_step"  # the tag of a member with the step whose weights are kept, not the last
FLIPPED_TO = "flipped_to"  # the tag of a member whose sample is taken for this class now
PATH = "sample_path"  # the tag of a member with the path of its sample's file, where it has one
MEASURED_AT = "measured_at"  # the tag of a run that factors were added to later, with the time
PROVENANCE = {"mlflow.source.name": "indelible", "mlflow.source.type": "LOCAL"}

# Metrics of members whose means are their sweep's, under these names.
AVERAGED = {
    "gt": "gt",
    "steps": "cost/steps",
    "test_accuracy": "performance/test_accuracy",
    "elapsed_s": "cost/elapsed_s",
}

POINTS_LOST = "points_lost"  # a metric of members: percentage points of test accuracy

# Other metrics of members that a sweep is summed up by.
READ = {
    "forget_prob_diff": "performance/forget_prob_diff",
    "test_prob_diff": "performance/test_prob_diff",
    "unlearning_gap": "reference/unlearning_gap",
    "z": "forgetting/z",
    "forgotten": "forgetting/forgotten",
}


Item = TypeVar("Item")


class Kind(StrEnum):
    """The tag `kind` of a run."""

    BASE_MODEL = "base_model"
    SWEEP = "sweep"
    MEMBER = "member"
    PREDICTION = "prediction"
    TUNING = "tuning"
    TRIAL = "trial"  # of a tuning, whose child it is
    UNLEARNING = "unlearning"  # of several samples from one model: a parent run
    STEP = "unlearning_step"  # one of its steps, a child run
    AUDIT = "audit"  # of a sweep, with reference models: a parent run
    AUDITED = "audited"  # of an audit one algorithm and sample, a child run


class Histories(StrEnum):
    """Where the histories of members are kept."""

    RUNS = "runs"  # metrics of the members' own runs, one value a step
    NONE = "none"  # nowhere


@dataclass(frozen=True)
class Record:
    """One run: everything that is known of it when it is over.

    Attributes:
        histories: metrics with one value a step, from step 0; `final` are the metrics' own.
        artifacts: file names and contents.
        started_ms, ended_ms: milliseconds since 1970.
        points: more values of metrics, each with a time and a step of its own.
    """

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started_ms: int
    ended_ms: int
    histories: Mapping[str, list[float]] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    points: Sequence[Point] = ()

    @property
    def key(self) -> str:
        """What identifies a member or a sweep: equal keys mean the same work."""
        return self.tags["key"]

    @property
    def final(self) -> list[Point]:
        """Each history's value under the weights that are kept, at its last step, or after that."""
        kept, behind = int(self.tags.get(KEPT_STEP, -1)), KEPT_STEP not in self.tags
        return [
            Point(name, values[kept], self.ended_ms, len(values) - behind)
            for name, values in self.histories.items()
        ]

    def without_checkpoint(self) -> Record:
        """The same member without its weights."""
        tags = {name: value for name, value in self.tags.items() if name != "checkpoint"}
        return replace(self, tags=tags, artifacts={})

    def without_histories(self) -> Record:
        """The same member with only the final value of each history."""
        tags = {**self.tags, HISTORIES: str(Histories.NONE)}
        return replace(self, tags=tags, histories={}, points=(*self.points, *self.final))


@dataclass(frozen=True)
class Finished:
    """What a sweep needs to know of a member that is in the store.

    Attributes:
        sweep_id: of the sweep whose child it is. versions: of its factors, as the tag says.
        has_histories: whether they are kept.
    """

    run_id: str
    sweep_id: str
    status: str
    metrics: Mapping[str, float]
    has_checkpoint: bool
    versions: str = ""
    has_histories: bool = True

    @classmethod
    def told(cls, run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Finished:
        """A member as the tags and metrics of its run tell of it."""
        sweep_id, status = tags.get(PARENT, ""), tags.get("status", "")
        versions, kept = tags.get(VERSIONS, ""), HISTORIES not in tags
        return cls(run_id, sweep_id, status, metrics, "checkpoint" in tags, versions, kept)


@dataclass(frozen=True)
class Run:
    """A run as it is read.

    Attributes:
        artifact_uri: where its files are.
        started_ms, ended_ms: milliseconds since 1970; it has no end while it runs.
        metrics: the latest value of each; NaN where that was logged.
        histories: the values of metrics with one a step, from step 0, by name; and
        points: all values of all metrics. Both are there where they were asked for.
    """

    run_id: str
    name: str
    kind: str
    status: str
    experiment_id: str
    started_ms: int
    ended_ms: int | None
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    histories: Mapping[str, list[float]] = field(default_factory=dict)
    points: tuple[Point, ...] = ()

    @property
    def seconds(self) -> float:
        """That it took; 0 while it runs."""
        return 0.0 if self.ended_ms is None else (self.ended_ms - self.started_ms) / 1000

    def record(self, artifacts: Mapping[str, bytes]) -> Record:
        """The run as it is written again, with these files and its own times."""
        ended_ms = self.started_ms if self.ended_ms is None else self.ended_ms
        times = (self.started_ms, ended_ms)
        return Record(self.name, self.params, self.tags, {}, *times, {}, artifacts, self.points)


@dataclass(frozen=True)
class Measured:
    """Factors that were measured of a member after it was written.

    Attributes:
        metrics: NaN where a factor is undefined.
        versions: of these factors, by the keys of their families; others that the member has stay.
        checkpoint: the tag of the weights that they were measured of, None if it has none: a
            member that has others by now is left as it is.
    """

    run_id: str
    metrics: Mapping[str, float]
    versions: Mapping[str, str]
    checkpoint: str | None

    def tag(self, before: str) -> str:
        """The tag of the versions of all its factors, which was this one until now."""
        return as_tag({**read_tag(before), **self.versions})


@dataclass(frozen=True)
class Data:
    """A data set as MLflow's inputs know it."""

    name: str
    fingerprint: str
    profile: Mapping[str, int]


class Point(NamedTuple):
    """One value of a metric, as MLflow has it."""

    key: str
    value: float
    timestamp: int
    step: int


def all_tags(kind: Kind, record: Record, parent: str | None = None) -> dict[str, str]:
    """The tags of a run: the record's, and what every run of this tool has."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = "unknown"
    tags = {"kind": str(kind), **PROVENANCE, "mlflow.user": user, **record.tags}
    return tags if parent is None else {**tags, PARENT: parent}


def all_metrics(record: Record) -> list[Point]:
    """The metrics of a run: single values at step 0, histories, and what has its own time.

    MLflow shows the value of the highest step: where an earlier one is kept, its value comes again.
    """
    now = record.ended_ms
    return [
        *(Point(name, value, now, 0) for name, value in record.metrics.items()),
        *(
            Point(name, value, now, step)
            for name, values in record.histories.items()
            for step, value in enumerate(values)
        ),
        *(record.final if KEPT_STEP in record.tags else ()),
        *record.points,
    ]


def in_blocks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of that size, the last of which may be shorter."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def milliseconds() -> int:
    """Now, in milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


def this_process() -> str:
    """This process and its machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


def on_this_machine(process: str) -> bool:
    """Whether a process is, or was, one of this machine."""
    return process.rpartition(":")[0] == socket.gethostname()


def its_process_is_gone(process: str) -> bool:
    """Whether a process of this machine has ended; one elsewhere counts as alive."""
    pid = process.rpartition(":")[2]
    if on_this_machine(process) and pid.isdecimal():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it is there, and somebody else's
            pass
    return False


def as_tag(values: Mapping[str, str]) -> str:
    """A mapping as the value of a tag."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def read_tag(value: str) -> dict[str, str]:
    """The mapping that a tag has for its value; an empty one where it has another value."""
    with suppress(ValueError):
        said = json.loads(value)
        if isinstance(said, dict):
            return {str(name): str(text) for name, text in said.items()}
    return {}


def sha256_of(*parts: Any) -> str:
    """The fingerprint of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout of its own."""
    folder = Path(tracker.__file__).parent.parent
    own = ("indelible.py", "unlearning", "factors", "tracker", "analysis")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments, "--", *own]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        except OSError:
            return ""
        return answer.stdout.strip() if answer.returncode == 0 else ""

    commit = git("log", "-1", "--format=%h")
    if not commit:
        return tracker.__version__
    changed = ".changed" if git("status", "--porcelain") else ""
    return f"{tracker.__version__}+{commit}{changed}"
