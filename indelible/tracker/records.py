"""What is logged, as plain values: a base model, a sweep and a member, before MLflow sees them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path

import indelible
from indelible.processes import process_is_gone

CHECKPOINT = "checkpoint.safetensors"  # the artifact of a member

# Metrics of members whose means are their sweep's, under these names.
AVERAGED = {
    "gt": "gt",
    "steps": "cost/steps",
    "test_accuracy": "performance/test_accuracy",
    "elapsed_s": "cost/elapsed_s",
}


class Kind(StrEnum):
    """The tag `kind` of a run."""

    BASE_MODEL = "base_model"
    SWEEP = "sweep"
    MEMBER = "member"


@dataclass(frozen=True)
class Record:
    """One run: everything that is known of it when it is over.

    Attributes:
        histories: metrics with one value a step, from step 0; the last value is the metric's.
        artifacts: file names and contents.
        started_ms, ended_ms: milliseconds since 1970.
    """

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started_ms: int
    ended_ms: int
    histories: Mapping[str, list[float]] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What a member or a sweep is known by for ever."""
        return self.tags["key"]

    def without_checkpoint(self) -> Record:
        """The same member, its weights let go."""
        tags = {name: value for name, value in self.tags.items() if name != "checkpoint"}
        return replace(self, tags=tags, artifacts={})


@dataclass(frozen=True)
class Finished:
    """What a sweep needs to know of a member that is in the store."""

    run_id: str
    status: str
    metrics: Mapping[str, float]
    has_checkpoint: bool


def this_process() -> str:
    """This process and its machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


def its_process_is_gone(process: str) -> bool:
    """Whether a process of this machine has ended; one elsewhere counts as alive."""
    host, _, pid = process.rpartition(":")
    return host == socket.gethostname() and pid.isdecimal() and process_is_gone(int(pid))


@cache
def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout of its own."""
    folder = Path(indelible.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments, "--", "."]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        except OSError:
            return ""
        return answer.stdout.strip() if answer.returncode == 0 else ""

    commit = git("log", "-1", "--format=%h")
    if not commit:
        return indelible.__version__
    changed = ".changed" if git("status", "--porcelain") else ""
    return f"{indelible.__version__}+{commit}{changed}"
