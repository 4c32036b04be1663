"""More than one machine: 12,000 members of another store merged into a new one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks import stores
from tests.benchmarks.demo import run
from tests.benchmarks.scale import ALGORITHMS
from tracker.base import base_models
from tracker.base.base_models import BaseRun
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_store
from tracker.store.records import Record
from tracker.sweep.chunks import Checkpoint
from tracker.sweep.plan import PLAN, as_file, member_key, sweep_key

SAMPLES = 3000  # of each of four algorithms
WRITTEN = 500  # members at a time
SMALLEST = {"SAMPLES": 2, "WRITTEN": 2}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        merge(Path(name))


def merge(folder: Path) -> None:
    """Seconds and memory of merging a sweep whose numbers are made up, as our writer writes it."""
    for what, checkpoints in (("without checkpoints", False), ("with checkpoints", True)):
        source, target = folder / f"source {what}", folder / f"target {what}"
        run(source, "train", "--epochs", "1")
        size = filled(source, checkpoints)
        for state in ("new store", "all there"):
            seconds, memory = run(target, "merge", str(source))
            print(
                f"merge of {size} members {what}, {state}: {seconds:.1f} s, "
                f"{size / seconds:.0f} members/s, {memory:.0f} MB at its peak",
                flush=True,
            )


def filled(folder: Path, checkpoints: bool) -> int:
    """Add a finished sweep to a store that has a base model; how many members it has."""
    store = open_store(folder)
    assert isinstance(store, SqlStore)
    base = base_models.load(store, "latest", torch.device("cpu"))
    digests = {name: f"{number:016x}" for number, name in enumerate(ALGORITHMS)}
    experiment = store.experiment_id(base.dataset, base.arch)
    sweep_id = store.begin_sweep(experiment, parent(base, digests), base.data)
    checkpoint = changed(base) if checkpoints else None
    for digest in digests.values():
        for start in range(0, SAMPLES, WRITTEN):
            some = [member(digest, n, checkpoint) for n in range(start, start + WRITTEN)]
            store.write_members(experiment, sweep_id, some)
    store.close_sweep(sweep_id, {}, "A sweep whose numbers are made up.")
    return SAMPLES * len(digests)


def parent(base: BaseRun, digests: dict[str, str]) -> Record:
    ids = list(range(SAMPLES))
    plan = {
        "name": "made up",
        "algorithms": {name: {"digest": digest} for name, digest in digests.items()},
        "sample_ids": ids,
        "factors": [],
    }
    params = {"dataset": base.dataset, "arch": base.arch, "base_run_id": base.run_id, "seed": 0}
    key = sweep_key([*digests.values()], ids, "made up")
    return Record("made up", params, {"key": key}, {}, 0, 0, artifacts={PLAN: as_file(plan)})


def changed(base: BaseRun) -> Checkpoint:
    """A checkpoint of the size that an attempt's has: every weight is another one."""
    result = {
        name: t * (1 + 1e-3 * torch.rand(t.shape)) if t.is_floating_point() else t
        for name, t in base.weights.items()
    }
    return Checkpoint.of(base.weights, result, base.weights_sha256)


def member(digest: str, number: int, checkpoint: Checkpoint | None) -> Record:
    """A member of the size that a trial had: see `stores`."""
    record = stores.record(number, digest)
    tags = {**record.tags, "key": member_key(digest, number), "status": "flipped"}
    record = replace(record, tags=tags, metrics={**record.metrics, "gt": 0.1 * number})
    if checkpoint is None:
        return record
    return replace(record, tags=tags | checkpoint.tags, artifacts=checkpoint.file)
