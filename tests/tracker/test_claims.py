"""What several sweeps and processes want of one store: each gets it, and nobody loses anything."""

from __future__ import annotations

import importlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from tests.tracker.conftest import Indelible, command_of, opened, own_copy
from tests.tracker.test_bulk import DATA, SWEEP, filled, member
from tests.tracker.test_sweep import by_gt, kept
from tracker.base import base_models, companions, training
from tracker.base.base_models import BaseRun
from tracker.base.parts import LEFT_OUT, Parts
from tracker.base.beforehand import pre_factors
from tracker.base.workers import Threads
from tracker.cli import run
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_reader
from tracker.store.records import Kind
from tracker.store.write import Store
from tracker.store.weights import file_name
from tracker.sweep import parent as beginning, sweep
from tracker.sweep.choosing import draw_samples
from tracker.sweep.options import Options
from tracker.sweep.plan import PLAN, Plan, read_plan
from tracker.sweep.retention import Retention
from tracker.sweep.settings import configure
from unlearning.datasets import AS_IT_IS
from unlearning.errors import UserError
from unlearning.execution import Execution

PRUNE = "tracker.cli.keep"
SWEEPS = ("sweep", "--algorithm", "ga", "--algorithm", "scrub", "--execution", "stacked")


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> SqlStore:
    """A store with a base model."""
    own_copy(trained, tmp_path)
    return opened(SqlStore, tmp_path)


class Overlaid:
    """An object with some of its methods replaced."""

    def __init__(self, real: Any, **methods: Any) -> None:
        self._real, self._methods = real, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._real, name)


def base_of(store: Store) -> BaseRun:
    return base_models.load(store, "latest", torch.device("cpu"))


def planned(base: BaseRun, samples: int, name: str = "s", seed: int = 0) -> Plan:
    ids = draw_samples(base.model.dataset.train.ids.tolist(), samples, 0)
    return Plan.on(base, configure(("ga", "scrub"), "digits", []), ids, seed, name)


# Checkpoints that earlier sweeps wanted


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["none", "hardest:2", "easiest:1", "flipped"])
def test_a_later_sweep_deletes_nothing_that_an_earlier_one_wanted(
    store: SqlStore, indelible: Indelible, policy: str
) -> None:
    folder = store.address.folder
    assert indelible(folder, *SWEEPS, "--samples", 6).code == 0
    before = kept(store)
    assert len(before) >= 8  # some are already wrong
    later = indelible(folder, *SWEEPS, "--samples", 12, "--checkpoints", policy, "--chunk", 2)
    assert later.code == 0
    assert before <= kept(store)
    assert len(kept(store) - before) <= {"none": 0, "hardest:2": 4, "easiest:1": 2}.get(policy, 12)
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 0


def test_calls_of_one_sweep_add_up(store: SqlStore, indelible: Indelible) -> None:
    folder = store.address.folder
    sizes = []
    for policy in ("hardest:2", "easiest:3", "none"):
        answer = indelible(folder, *SWEEPS, "--samples", 9, "--checkpoints", policy)
        assert answer.code == 0
        sizes.append(len(kept(store)))
    assert sizes == [4, 10, 10]
    tags = store.run(answer.id).data.tags
    said = {tags[tag] for tag in tags if tag.startswith("keeps/")}
    assert said == {"hardest:2", "easiest:3", "none"}


def test_what_loses_its_rank_stays_where_another_sweep_wants_it(
    store: SqlStore, tmp_path: Path, indelible: Indelible
) -> None:
    """Chunks of one, in order: whoever is the hardest so far has a checkpoint."""
    base = base_of(store)
    plan = planned(base, 12)
    options = Options(chunk=1, engine=Threads(1), retention=Retention("hardest", 1))
    other = planned(base, 12, "other")
    experiment = store.experiment_id(base.dataset, base.arch)
    record = beginning.parent_record(
        base, other, {a.name: Execution.STACKED for a in other.algorithms}, Options()
    )
    store.begin_sweep(experiment, record, base.data)
    sweep.run(store, base, plan, options)
    gts = {
        run.info.run_name: run.data.metrics.get("gt") for run in store.finished_runs(Kind.MEMBER)
    }
    records = set()
    for name in ("ga", "scrub"):
        hardest = float("inf")
        for sample in plan.sample_ids:
            gt = gts[f"{name}-{sample:05d}"]
            if gt is not None and gt < hardest:
                hardest = gt
                records.add(f"{name}-{sample:05d}")
    assert len(records) > 2
    assert kept(store) == records


@pytest.mark.slow
def test_prune_lets_go_of_what_no_sweep_wants(store: SqlStore, indelible: Indelible) -> None:
    folder = store.address.folder
    first = indelible(folder, *SWEEPS, "--samples", 6)
    second = indelible(folder, *SWEEPS, "--samples", 8, "--checkpoints", "hardest:2")
    before = kept(store)
    assert indelible(folder, "prune").code == 0
    assert kept(store) == before
    less = ("prune", "--sweep", first.id, "--checkpoints", "none")
    listed = indelible(folder, *less, "--format", "json")
    assert listed.code == 1
    assert "--yes" in listed.err
    assert kept(store) == before
    hardest = {member for name in ("ga", "scrub") for member in by_gt(store, name)[:2]}
    names = {row["name"] for row in json.loads(listed.out)}
    assert names == before - hardest
    assert all(row["bytes"] > 1000 for row in json.loads(listed.out))
    assert indelible(folder, *less, "--yes").code == 0
    assert kept(store) == hardest
    assert indelible(folder, "load", "--deep").code == 0
    assert indelible(folder, "check").code == 0
    again = indelible(folder, *SWEEPS, "--samples", 6, "--checkpoints", "none")
    assert "found" in again.err
    store.discard([second.id])
    assert indelible(folder, "prune", "--yes").code == 0
    assert kept(store) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sweep", "latest"), "both"),
        (("--checkpoints", "none"), "both"),
        (("--sweep", "nope", "--checkpoints", "none"), "no sweep 'nope'"),
        (("--sweep", "latest", "--checkpoints", "some"), "hardest:K"),
    ],
)
def test_prune_refuses(
    store: SqlStore, indelible: Indelible, arguments: tuple[str, ...], said: str
) -> None:
    assert indelible(store.address.folder, *SWEEPS, "--samples", 1).code == 0
    answer = indelible(store.address.folder, "prune", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_checkpoint_that_two_processes_let_go_of(
    store: SqlStore, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indelible(store.address.folder, *SWEEPS, "--samples", 1, "--only-correct").code == 0
    members = store.finished_runs(Kind.MEMBER)
    delete = store.client.delete_tag
    twice = Overlaid(store.client, delete_tag=lambda *tag: (delete(*tag), delete(*tag)))
    monkeypatch.setattr(store, "client", twice)
    for member_run in members:
        assert member_run.info.run_name in kept(store)
        store.drop_checkpoint(member_run.info.run_id)
    assert kept(store) == set()


def test_prune_looks_again_after_the_answer(
    store: SqlStore, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.address.folder
    first = indelible(folder, *SWEEPS, "--samples", 6)
    before = kept(store)

    def another_sweep_meanwhile(*_: object) -> None:
        other = ("--name", "thesis", "--checkpoints", "all")
        assert run(["--store", str(folder), *SWEEPS, "--samples", "3", *other]) == 0

    monkeypatch.setattr(importlib.import_module(PRUNE), "confirm", another_sweep_meanwhile)
    pruned = indelible(folder, "prune", "--sweep", first.id, "--checkpoints", "none")
    assert pruned.code == 0
    thesis = {
        f"{name}-{s:05d}" for name in ("ga", "scrub") for s in planned(base_of(store), 3).sample_ids
    }
    assert kept(store) == before & thesis
    assert 0 < len(kept(store)) < len(before)


def test_a_checkpoint_that_is_put_back_while_it_is_dropped_stays(
    store: SqlStore, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indelible(store.address.folder, *SWEEPS, "--samples", 3).code == 0
    one = next(m for m in store.finished_runs(Kind.MEMBER) if "checkpoint" in m.data.tags)
    real, tag = store.client.delete_tag, one.data.tags["checkpoint"]

    def and_put_back(run_id: str, key: str) -> None:
        real(run_id, key)
        store.client.set_tag(run_id, key, tag)

    monkeypatch.setattr(store, "client", Overlaid(store.client, delete_tag=and_put_back))
    store.drop_checkpoint(one.info.run_id)
    assert store.artifacts.read(one.info.artifact_uri, file_name("checkpoint", tag))


# Members that are done again


@pytest.mark.parametrize("alike", [True, False])
def test_what_people_added_to_a_member_outlives_a_checkpoint(
    store: SqlStore, indelible: Indelible, alike: bool
) -> None:
    """Whether the checkpoint is added to the run, or the run is written anew."""
    folder = store.address.folder
    assert indelible(folder, *SWEEPS, "--samples", 3, "--checkpoints", "none").code == 0
    runs = list(store.finished_runs(Kind.MEMBER))
    one = next(r for r in runs if r.data.tags["status"] == "flipped")
    run_id = one.info.run_id
    store.client.set_tag(run_id, "reviewed", "by Ann")
    store.client.set_tag(run_id, "mlflow.note.content", "odd")
    if not alike:
        store.client.set_tag(run_id, "weights_sha256", "0" * 64)  # of other threads
    store.client.log_metric(run_id, "mine", 3.0)
    options = ("--samples", 3, "--name", "other", "--checkpoints", "all")
    assert indelible(folder, *SWEEPS, *options).code == 0
    found = store.run(run_id)
    assert (found.data.tags["reviewed"], found.data.tags["mlflow.note.content"]) == (
        "by Ann",
        "odd",
    )
    assert found.data.tags["mlflow.parentRunId"] == one.data.tags["mlflow.parentRunId"]
    assert "checkpoint" in found.data.tags
    assert found.data.metrics["mine"] == 3.0
    assert found.data.metrics.keys() == one.data.metrics.keys() | {"mine"}
    assert (found.info.start_time == one.info.start_time) == alike
    assert indelible(folder, "restore", run_id, "--output", folder / "x").code == 0
    assert indelible(folder, "load", "--deep").code == 0
    assert indelible(folder, "check").code == 0


def test_again_does_it_again_in_its_place(store: SqlStore, indelible: Indelible) -> None:
    folder = store.address.folder
    first = indelible(folder, *SWEEPS, "--samples", 5)
    before = {run.info.run_name: run for run in store.finished_runs(Kind.MEMBER)}
    had = kept(store)
    one = before[min(had)]
    note = command_of(one.data.tags["mlflow.note.content"])
    assert note[0] == "indelible"
    assert note[-1] == "--again"
    answer = indelible(folder, *note[1:])
    assert answer.code == 0
    assert "1 members done again: 1 with the same status and steps" in answer.err
    after = {run.info.run_name: run for run in store.finished_runs(Kind.MEMBER)}
    assert after.keys() == before.keys()
    redone = after[one.info.run_name]
    assert redone.info.start_time > one.info.start_time
    assert redone.data.tags["mlflow.parentRunId"] == first.id
    assert redone.data.metrics["gt"] == pytest.approx(one.data.metrics["gt"], rel=1e-3)
    assert kept(store) == had
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 0


def test_again_keeps_checkpoints_that_others_wanted(store: SqlStore, indelible: Indelible) -> None:
    folder = store.address.folder
    assert indelible(folder, *SWEEPS, "--samples", 4).code == 0
    before = kept(store)
    options = ("--samples", 4, "--checkpoints", "none", "--name", "again", "--again")
    assert indelible(folder, *SWEEPS, *options).code == 0
    assert kept(store) == before
    indelible(folder, "load")
    assert indelible(folder, "check").code == 0


@pytest.mark.parametrize("kind", [Store, SqlStore])
def test_members_take_the_place_of_others(tmp_path: Path, kind: type[Store]) -> None:
    store, sweep_id = filled(opened(kind, tmp_path), [member(1), member(2)])
    experiment = store.experiment_id("digits", "small-cnn")
    digest = member(1).key.partition("-")[0]
    before = store.finished_members([digest])
    changed = member(1, metrics={"gt": 9.0})
    (now,) = store.write_members(experiment, "another sweep", [changed], before)
    assert now.sweep_id == sweep_id
    done = store.finished_members([digest])
    assert done.keys() == before.keys()
    assert done[member(1).key].metrics["gt"] == 9.0
    assert done[member(1).key].sweep_id == sweep_id
    assert done[member(2).key].run_id == before[member(2).key].run_id


# Two at the same moment


def names_of(store: Store, run_id: str) -> list[str]:
    """The names of a run's files."""
    return [file.path for file in store.client.list_artifacts(run_id)]


def checkpointed(number: int) -> Any:
    """A member with a checkpoint of its own."""
    content = os.urandom(300)
    from hashlib import sha256

    one, digest = member(number), sha256(content).hexdigest()
    return replace(
        one,
        tags={**one.tags, "checkpoint": digest},
        metrics={"gt": float(number) + content[0] / 1000},
        artifacts={file_name("checkpoint", digest): content},
    )


def test_of_two_writers_of_a_member_the_row_decides_about_the_file(tmp_path: Path) -> None:
    store, sweep_id = filled(opened(SqlStore, tmp_path), [])
    experiment = store.experiment_id("digits", "small-cnn")
    winners, losers = ([checkpointed(n) for n in (1, 2, 3)] for _ in "ab")
    first = store.write_members(experiment, sweep_id, winners)
    second = store.write_members(experiment, "another", losers)
    assert second == first  # what is there, not what was computed
    for record, found in zip(winners, first, strict=True):
        run = store.run(found.run_id)
        assert run.data.tags["checkpoint"] == record.tags["checkpoint"]
        assert names_of(store, found.run_id) == list(record.artifacts)
        for name, content in record.artifacts.items():
            assert store.artifacts.read(run.info.artifact_uri, name) == content


def test_many_writers_of_the_same_members_at_once(tmp_path: Path) -> None:
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
    for found in done.values():
        run = store.run(found.run_id)
        assert names_of(store, found.run_id) == [
            file_name("checkpoint", run.data.tags["checkpoint"])
        ]


def test_the_same_sweep_begun_by_many_at_once(tmp_path: Path) -> None:
    experiment = opened(SqlStore, tmp_path).experiment_id("digits", "small-cnn")
    for number in range(5):
        record = replace(SWEEP, tags={"key": f"{number:032d}"})
        stores, started = [opened(SqlStore, tmp_path) for _ in range(6)], threading.Barrier(6)

        def begin(
            store: SqlStore, record: Any = record, started: threading.Barrier = started
        ) -> str:
            started.wait()
            return store.begin_sweep(experiment, record, DATA)

        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(begin, stores))) == 1


def test_a_sweep_begun_by_many_at_once_keeps_its_plan(
    store: SqlStore, indelible: Indelible
) -> None:
    bases, started = [base_of(store) for _ in range(3)], threading.Barrier(3)
    plan = planned(bases[0], 2)
    options = Options(execution=Execution.SEQUENTIAL, engine=Threads(1))

    def begin(base: BaseRun) -> str | None:
        own = opened(SqlStore, store.address.folder)
        real = own.begin_sweep

        def all_at_once(*arguments: Any) -> str:
            started.wait()
            return real(*arguments)

        own.begin_sweep = all_at_once  # type: ignore[assignment, method-assign]
        try:
            return sweep.run(own, base, plan, options)
        except UserError as told:  # another one drives it
            assert "drives sweep" in str(told)  # noqa: PT017 - it may succeed as well
            return None

    with ThreadPoolExecutor(3) as pool:
        (sweep_id,) = {*pool.map(begin, bases)} - {None}
    assert sweep_id is not None
    uri = store.run(sweep_id).info.artifact_uri
    assert read_plan(store.artifacts.read(uri, PLAN), sweep_id, plan.sweep_key).name == plan.name
    assert indelible(store.address.folder, "load").code == 0
    assert indelible(store.address.folder, "check").code == 0


@pytest.mark.slow
def test_experiments_made_by_many_at_once(tmp_path: Path) -> None:
    opened(SqlStore, tmp_path)
    started = threading.Barrier(6)

    def begin(_: int) -> tuple[str, str | None]:
        store = opened(SqlStore, tmp_path)
        started.wait()
        return store.experiment_id("digits", "mlp"), store.store_id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(begin, range(6)))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_leave_one_out_models_of_two_processes_are_both_kept(store: SqlStore, again: bool) -> None:
    one, other = base_of(store), base_of(store)  # neither knows of the other's
    ids = one.model.dataset.train.ids[:5].tolist()
    for base, part in ((one, ids[:3]), (other, ids[3:])):
        companions.leave_out(store, base.run_id, base.model, part, lambda *_: None)
        if again:
            companions.leave_out(store, base.run_id, base.model, part, lambda *_: None)
    found = base_of(store).model.companions.left_out
    assert sorted(found) == sorted(ids)
    assert len(LEFT_OUT.names(store.run(one.run_id).data.tags)) == 2


@pytest.mark.slow
def test_ensembles_of_two_processes_are_one(store: SqlStore, tmp_path: Path) -> None:
    one, nothing = base_of(store), lambda *_: None
    companions.memorize(store, one.run_id, one.model, 3, nothing)
    companions.memorize(store, one.run_id, one.model, 5, nothing)
    in_parts = base_of(store).model.companions.memorization
    whole, run_id = opened(SqlStore, tmp_path / "whole"), one.run_id
    run_id, _ = training.train(
        whole,
        training.Request("digits", "small-cnn", replace(one.model.origin.recipe)),  # type: ignore[union-attr]
        AS_IT_IS,
        torch.device("cpu"),
    )
    at_once = base_models.load(whole, run_id, torch.device("cpu"))
    companions.memorize(whole, run_id, at_once.model, 5, nothing)
    expected = base_models.load(whole, run_id, torch.device("cpu")).model.companions.memorization
    assert {k: v for k, v in in_parts.items() if v == v} == {
        k: v for k, v in expected.items() if v == v
    }
    assert len(in_parts) == 1000


def test_pre_factors_of_two_processes_are_both_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(store)
    ids = base.model.dataset.train.ids[:6].tolist()
    from tracker.base import beforehand as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_tag", lambda _: {})  # as if both had begun with nothing
        parts = [pre_factors(store, base, part) for part in (ids[:4], ids[2:])]
    monkeypatch.setattr(Parts, "add", lambda *_: pytest.fail("they are there"))
    found = pre_factors(store, base, ids)
    for name, values in found.items():
        torch.testing.assert_close(values[:2], parts[0][name][:2], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(values[4:], parts[1][name][2:], rtol=0, atol=0, equal_nan=True)


def test_base_models_of_two_processes_are_one(store: SqlStore, indelible: Indelible) -> None:
    (known,) = store.finished_runs(Kind.BASE_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlStore, "finished_runs", lambda *_, **__: iter(()))  # it was not there yet
        answer = indelible(store.address.folder, "train", "--epochs", 8)
    assert answer.id == known.info.run_id
    assert len(list(store.finished_runs(Kind.BASE_MODEL))) == 1


def test_base_models_of_two_processes_are_one_through_mlflow(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = store.finished_runs(Kind.BASE_MODEL)
    monkeypatch.setattr(training, "_known", lambda *_: None)  # it was not there yet
    recipe = base_of(store).model.origin.recipe  # type: ignore[union-attr]
    request = training.Request("digits", "small-cnn", recipe)
    through_mlflow = opened(Store, store.address.folder)
    run_id, _ = training.train(through_mlflow, request, AS_IT_IS, torch.device("cpu"))
    assert run_id == known.info.run_id
    assert len(list(store.finished_runs(Kind.BASE_MODEL))) == 1


# What was lost is made again by the same command


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff\xfe{\x00", b"{}"])
def test_a_sweep_writes_its_plan_again(
    store: SqlStore, indelible: Indelible, content: bytes | None
) -> None:
    folder = store.address.folder
    answer = indelible(folder, *SWEEPS, "--samples", 2)
    assert indelible(folder, "load").code == 0
    path = Path(store.run(answer.id).info.artifact_uri.removeprefix("file://")) / "plan.json"
    whole = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    loaded = indelible(folder, "load", "--deep")
    assert loaded.code == 1
    assert "called again writes it anew" in loaded.err
    assert "Traceback" not in loaded.err
    counts = "select count(*) as n from outcomes"
    assert json.loads(indelible(folder, "sql", counts, "--format", "json").out) == [{"n": 4}]
    assert indelible(folder, "check").code == 1
    assert "found" in indelible(folder, *SWEEPS, "--samples", 2).err
    assert path.read_bytes() == whole
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 0


@pytest.mark.parametrize("damage", ["lost", "truncated", "flipped"])
def test_training_again_brings_lost_weights_back(
    store: SqlStore, indelible: Indelible, damage: str
) -> None:
    folder = store.address.folder
    (path,) = folder.glob("artifacts/*/*/artifacts/weights-*.safetensors")
    whole = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 8]) + whole[-8:]
        path.write_bytes(whole[:500] if damage == "truncated" else flipped)
    refused = indelible(folder, *SWEEPS, "--samples", 1)
    assert refused.code == 2
    assert "indelible train" in refused.err
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 1
    assert indelible(folder, "train", "--epochs", 8).code == 0
    assert path.read_bytes() == whole
    assert indelible(folder, "check").code == 0


def test_the_execution_of_a_begun_sweep_cannot_be_changed(
    store: SqlStore, indelible: Indelible
) -> None:
    folder = store.address.folder
    options = ("sweep", "--algorithm", "ga", "--samples", 2, "--execution")
    assert indelible(folder, *options, "stacked").code == 0
    refused = indelible(folder, *options, "sequential")
    assert refused.code == 2
    assert "begun otherwise (ga stacked)" in refused.err
    assert indelible(folder, *options, "stacked").code == 0
    assert indelible(folder, *options, "auto").code == 0


# MLflow's own commands


def test_members_that_mlflow_deleted_are_done_again(store: SqlStore, indelible: Indelible) -> None:
    folder = store.address.folder
    assert indelible(folder, *SWEEPS, "--samples", 3).code == 0
    client = MlflowClient(store.address.uri)
    gone = next(iter(store.finished_runs(Kind.MEMBER)))
    client.delete_run(gone.info.run_id)
    assert indelible(folder, *SWEEPS, "--samples", 3).code == 0
    assert len(list(store.finished_runs(Kind.MEMBER))) == 6
    assert open_reader(folder).run(gone.info.run_id).status == "FINISHED"
