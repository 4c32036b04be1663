"""What several sweeps and processes want of one store: each gets it, and nobody loses anything."""

from __future__ import annotations

import importlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from tests.tracker.conftest import Indelible, opened, own_copy
from tests.tracker.test_bulk import filled, member
from tests.tracker.test_sweep import by_gt, kept
from tracker.base import base_models
from tracker.base.base_models import BaseRun
from tracker.base.workers import Threads
from tracker.cli import run
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_reader
from tracker.store.records import Kind
from tracker.store.weights import file_name
from tracker.store.write import Store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure, draw_samples
from tracker.sweep.options import Options
from tracker.sweep.parent import parent_record
from tracker.sweep.plan import Plan
from tracker.sweep.retention import Retention
from unlearning.execution import Execution

SWEEPS = ("sweep", "--algorithm", "ga", "--algorithm", "scrub", "--execution", "stacked")


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> SqlStore:
    """A store with a base model."""
    own_copy(trained, tmp_path)
    return opened(SqlStore, tmp_path)


@pytest.fixture
def folder(store: SqlStore) -> Path:
    return store.address.folder


def base_of(store: Store) -> BaseRun:
    return base_models.load(store, "latest", torch.device("cpu"))


def planned(base: BaseRun, samples: int, name: str = "s", seed: int = 0) -> Plan:
    ids = draw_samples(base.model.dataset.train.ids.tolist(), samples, 0)
    return Plan.on(base, configure(("ga", "scrub"), "digits", []), ids, seed, name)


def is_sound(folder: Path, indelible: Indelible) -> bool:
    return all(indelible(folder, *c).code == 0 for c in (("load", "--deep"), ("check",)))


# Checkpoints that several sweeps want


def test_calls_of_one_sweep_add_up(store: SqlStore, folder: Path, indelible: Indelible) -> None:
    sizes, policies = [], ("hardest:2", "easiest:3")
    for policy in policies:
        answer = indelible(folder, *SWEEPS, "--samples", 9, "--checkpoints", policy)
        sizes.append(len(kept(store)))
    assert sizes == [4, 10]
    tags = store.run(answer.id).tags
    assert {tags[tag] for tag in tags if tag.startswith("keeps/")} == {*policies}


@pytest.mark.parametrize("is_wanted", [True, False])
def test_what_loses_its_rank_stays_only_where_another_sweep_wants_it(
    store: SqlStore, is_wanted: bool
) -> None:
    """Chunks of one, in order: whoever is the hardest so far has a checkpoint."""
    base = base_of(store)
    plan, other = planned(base, 12), planned(base, 12, "other")
    if is_wanted:
        executions = {a.name: Execution.STACKED for a in other.algorithms}
        record = parent_record(base, other, executions, Options())
        store.begin_sweep(store.experiment_id(base.dataset, base.arch), record, base.data)
    options = Options(chunk=1, engine=Threads(1), retention=Retention("hardest", 1))
    sweep.run(store, base, plan, options)
    gts = {run.name: run.metrics.get("gt") for run in store.finished_runs(Kind.MEMBER)}
    records, last = set(), set()
    for name in ("ga", "scrub"):
        hardest, where = float("inf"), ""
        for sample in plan.sample_ids:
            gt = gts[f"{name}-{sample:05d}"]
            if gt is not None and gt < hardest:
                hardest, where = gt, f"{name}-{sample:05d}"
                records.add(where)
        last.add(where)
    assert len(records) > 2
    assert kept(store) == (records if is_wanted else last)


@pytest.mark.slow
def test_prune_lets_go_of_what_no_sweep_wants(
    store: SqlStore, folder: Path, indelible: Indelible
) -> None:
    first = indelible(folder, *SWEEPS, "--samples", 6)
    second = indelible(folder, *SWEEPS, "--samples", 8, "--checkpoints", "hardest:2")
    before = kept(store)
    assert indelible(folder, "prune").code == 0
    less = ("prune", "--sweep", first.id, "--checkpoints", "none")
    listed = indelible(folder, *less, "--format", "json")
    assert (listed.code, "--yes" in listed.err, kept(store)) == (1, True, before)
    hardest = {member for name in ("ga", "scrub") for member in by_gt(store, name)[:2]}
    assert {row["name"] for row in json.loads(listed.out)} == before - hardest
    assert all(row["bytes"] > 1000 for row in json.loads(listed.out))
    assert indelible(folder, *less, "--yes").code == 0
    assert kept(store) == hardest
    assert is_sound(folder, indelible)
    again = indelible(folder, *SWEEPS, "--samples", 6, "--checkpoints", "none")
    assert "found" in again.err
    store.discard([second.id])
    assert indelible(folder, "prune", "--yes").code == 0
    assert kept(store) == set()


def test_prune_looks_again_after_the_answer(
    store: SqlStore, folder: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = indelible(folder, *SWEEPS, "--samples", 6)
    before = kept(store)

    def another_sweep_meanwhile(*_: object) -> None:
        other = ("--name", "thesis", "--checkpoints", "all")
        assert run(["--store", str(folder), *SWEEPS, "--samples", "3", *other]) == 0

    module = importlib.import_module("tracker.cli.keep")
    monkeypatch.setattr(module, "confirm", another_sweep_meanwhile)
    assert indelible(folder, "prune", "--sweep", first.id, "--checkpoints", "none").code == 0
    samples = planned(base_of(store), 3).sample_ids
    thesis = {f"{name}-{s:05d}" for name in ("ga", "scrub") for s in samples}
    assert kept(store) == before & thesis
    assert 0 < len(kept(store)) < len(before)


@pytest.mark.parametrize("alike", [True, False])
def test_a_checkpoint_is_added_where_the_weights_are_the_same(
    store: SqlStore, folder: Path, indelible: Indelible, alike: bool
) -> None:
    """And what people added to a run stays."""
    assert indelible(folder, *SWEEPS, "--samples", 3, "--checkpoints", "none").code == 0
    runs = list(store.finished_runs(Kind.MEMBER))
    one = next(r for r in runs if r.tags["status"] == "flipped")
    run_id, own = one.run_id, {"reviewed": "by Ann", "mlflow.note.content": "odd"}
    for name, value in own.items():
        store.client.set_tag(run_id, name, value)
    if not alike:
        store.client.set_tag(run_id, "weights_sha256", "0" * 64)  # of other threads
    options = ("--samples", 3, "--name", "other", "--checkpoints", "all")
    answer = indelible(folder, *SWEEPS, *options)
    assert ("1 members come to other weights here" in answer.err) == (not alike)
    found = store.run(run_id)
    assert own.items() <= found.tags.items()
    assert found.metrics == one.metrics
    assert ("checkpoint" in found.tags) == alike
    assert len(kept(store)) == sum(r.tags["status"] != "already_wrong" for r in runs) - (not alike)
    if alike:
        assert indelible(folder, "restore", run_id, "--output", folder / "x").code == 0
        assert is_sound(folder, indelible)


# Two at the same moment


def checkpointed(number: int) -> Any:
    """A member with a checkpoint of its own."""
    content, one = os.urandom(300), member(number)
    digest = sha256(content).hexdigest()
    tags, metrics = {**one.tags, "checkpoint": digest}, {"gt": number + content[0] / 1000}
    artifacts = {file_name("checkpoint", digest): content}
    return replace(one, tags=tags, metrics=metrics, artifacts=artifacts)


def test_many_writers_of_the_same_members_at_once(tmp_path: Path) -> None:
    """The row decides about the file."""
    store, sweep_id = filled(opened(SqlStore, tmp_path), [])
    experiment = store.experiment_id("digits", "small-cnn")
    started = threading.Barrier(6)

    def write(writer: int) -> list[Any]:
        mine = opened(SqlStore, tmp_path)
        started.wait()
        found = []
        for start in range(0, 24, 3 + writer % 3):
            records = [checkpointed(n) for n in range(start, start + 4)]
            found += mine.write_members(experiment, sweep_id, records)
        return found

    with ThreadPoolExecutor(6) as pool:
        told = [found for each in pool.map(write, range(6)) for found in each]
    done = store.finished_members([member(1).key.partition("-")[0]])
    by_id = {found.run_id: found for found in done.values()}
    assert [found for found in told if found != by_id[found.run_id]] == []
    for run_id in by_id:
        run = store.run(run_id)
        name = file_name("checkpoint", tag := run.tags["checkpoint"])
        assert [file.path for file in store.client.list_artifacts(run_id)] == [name]
        content = store.artifacts.read(run.artifact_uri, name)
        assert sha256(content or b"").hexdigest() == tag


def test_members_that_mlflow_deleted_are_done_again(
    store: SqlStore, folder: Path, indelible: Indelible
) -> None:
    assert indelible(folder, *SWEEPS, "--samples", 3).code == 0
    gone = next(iter(store.finished_runs(Kind.MEMBER)))
    MlflowClient(store.address.uri).delete_run(gone.run_id)
    assert indelible(folder, *SWEEPS, "--samples", 3).code == 0
    assert len(list(store.finished_runs(Kind.MEMBER))) == 6
    assert open_reader(folder).run(gone.run_id).status == "FINISHED"
