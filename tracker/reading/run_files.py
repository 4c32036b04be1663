"""The files of a run that its tags tell of, each compared with what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from tracker.base import parts
from tracker.store.files import Artifacts, Damaged
from tracker.store.records import Kind, Run
from tracker.store.weights import file_name, read_checkpoint, weights_and_file
from tracker.studies import RECORD, REQUESTS, SAMPLES, audited, predicted
from tracker.studies import request_table as asked
from tracker.sweep.plan import PLAN, read_plan


class RunFile(NamedTuple):
    """A file of a run.

    Attributes:
        read: its content. Raises Damaged if that is lost, or is not what was written.
        tag: that tells of it, where the run is whole without it.
    """

    name: str
    read: Callable[[], bytes]
    tag: str = ""


def files_of(artifacts: Artifacts, run: Run) -> Iterator[RunFile]:
    """The files of a run."""
    uri, run_id, tags = run.artifact_uri, run.run_id, run.tags

    def there(name: str) -> bytes:
        content = artifacts.read(uri, name)
        if content is None:
            raise Damaged(f"{name} is missing")
        return content

    def plan() -> bytes:
        read_plan(content := artifacts.read(uri, PLAN), run_id, tags.get("key"))
        return content or b""

    def table() -> bytes:
        asked.read_rows(artifacts, uri, run_id, tags)
        return there(asked.TABLE)

    if run.kind == Kind.BASE_MODEL:
        name = file_name("weights", tags.get("weights_sha256", ""))
        yield RunFile(name, lambda: weights_and_file(artifacts, uri, tags)[1])
        for kind in parts.ALL:
            for part in kind.names(tags):
                content = partial(kind.content, artifacts, uri, run_id, part)
                yield RunFile(kind.file(part), content, kind.tag(part))
    elif run.kind == Kind.PREDICTION:
        name = predicted.file_name(tags.get(predicted.TAG, ""))
        yield RunFile(name, partial(predicted.predicted_file, artifacts, uri, tags))
    elif run.kind == Kind.SWEEP:
        yield RunFile(PLAN, plan)
    elif run.kind == Kind.TUNING:
        yield RunFile(SAMPLES, partial(there, SAMPLES))
    elif run.kind == Kind.AUDIT and run.status == "FINISHED":
        name = audited.file_name(tags.get(audited.TAG, ""))
        yield RunFile(name, partial(audited.audited_file, artifacts, uri, tags))
    elif run.kind == Kind.UNLEARNING:
        yield RunFile(REQUESTS, partial(there, REQUESTS))
        if run.status == "FINISHED":
            yield RunFile(asked.TABLE, table)
            yield RunFile(RECORD, partial(there, RECORD))
    if "checkpoint" in tags:
        name = file_name("checkpoint", tags["checkpoint"])
        yield RunFile(name, lambda: read_checkpoint(artifacts, uri, tags) or b"")


def contents(artifacts: Artifacts, run: Run) -> dict[str, bytes]:
    """The files of a run, by name. Raises Damaged."""
    return {file.name: file.read() for file in files_of(artifacts, run)}
