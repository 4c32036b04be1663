"""How many members are computed at a time follows from what they take."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import peak_memory as measuring
from tests.tracker.conftest import Indelible, opened
from tracker.base import base_models
from tracker.base.workers import Stop, Threads
from tracker.store.bulk import SqlStore
from tracker.store.records import Kind
from tracker.sweep import chunks, sweep
from tracker.sweep.choosing import configure
from tracker.sweep.memory import evaluation, workers_within
from tracker.sweep.options import Options
from tracker.sweep.plan import Plan
from unlearning import algorithms, engine
from unlearning import memory as machine
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.hyperparameters import Setting
from unlearning.memory import activations

STACKED, SEQUENTIAL = Execution.STACKED, Execution.SEQUENTIAL


def made(name: str, **settings: Setting) -> Algorithm:
    return algorithms.get(name).from_text(settings)


def has_free(monkeypatch: pytest.MonkeyPatch, room: float) -> None:
    """Let a machine have so much memory free that its share for chunks is `room` bytes."""
    monkeypatch.setattr(machine, "free_memory", lambda: room / machine.CPU_SHARE)


def test_stacked_members_are_all_at_work_at_once(base: BaseModel) -> None:
    for name in algorithms.names():
        stacked, alone = (made(name).memory(base, execution) for execution in Execution)
        assert stacked.once == 0
        assert alone.once > 0
        assert stacked.member == pytest.approx(alone.member + alone.once)


def test_activations_are_what_the_layers_keep(base: BaseModel, base64: BaseModel) -> None:
    # The image, 16 maps after a relu, 32 maps, the places of the pool's largest (int64), what is
    # left after a relu, and the hidden layer.
    places = 32 * 16 * 8
    expected = [64 * 4, 16 * 64 * 4, 32 * 64 * 4, places, 32 * 16 * 4, 64 * 4]
    found = activations(base)
    assert Counter(expected) <= Counter(found)
    assert sum(found) <= sum(expected) + 32 * 16 * 4  # where flattening them takes a copy
    assert sum(activations(base64)) - places == 2 * (sum(found) - places)


# In a sweep


def test_what_has_no_room_for_two_is_not_stacked_to_measure_it(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indelible(tmp_path, "train", "--epochs", 1).code == 0
    store, stacks = opened(SqlStore, tmp_path), []

    def watched(base: Any, algorithm: Any, positions: Any, *rest: Any) -> Any:
        stacks.append(len(positions))
        return unlearn(base, algorithm, positions, *rest)

    monkeypatch.setattr(engine, "unlearn", watched)
    base = base_models.load(store, "latest", torch.device("cpu"))
    ids = base.model.dataset.train.ids[:4].tolist()
    one = evaluation(base.model, None)
    has_free(monkeypatch, one.once + 1.9 * one.member)
    plan = Plan.on(base, configure(["ga", "ssd"], "digits", []), ids, 0, "s")
    sweep_id = sweep.run(store, base, plan, Options())
    chosen = json.loads(store.run(sweep_id).tags[chunks.EXECUTION])
    assert chosen == {"ga": "sequential", "ssd": "sequential"}
    assert max(stacks, default=1) == 1


def test_workers_are_as_many_as_have_room_for_a_member_each(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ga, ssd = made("ga"), made("ssd")

    def workers(room: float, *chosen: Algorithm) -> int:
        return workers_within(base, chosen, None, room)[0]

    memory = ga.memory(base, SEQUENTIAL)
    one = max(memory.member + memory.once, sum(astuple(evaluation(base, None))))
    assert [workers(one * n, ga) for n in (0.6, 1, 2.5, 7)] == [1, 1, 2, 7]
    assert workers(one * 2, ga, ssd) == 1  # which takes more, and has something to share
    with pytest.raises(UserError, match=r"one sample of ga takes up to .* GB of memory, 0 of them"):
        workers(one / 5, ga)
    shared = made("influence", layers="all", fisher_samples=500)
    entries = sum(p.numel() for p in base.params.values())
    assert shared.shared_memory(base) >= 500 * entries * 12
    with pytest.raises(UserError, match="one sample of influence takes up to"):
        workers(shared.shared_memory(base) / 3, shared)
    for threads, wanted in ((8, 3), (2, 2)):
        with Threads(threads).pool(base, Stop(), most=3) as pool:
            assert pool.count == wanted


def test_what_is_free_is_what_the_system_and_its_groups_leave(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 900 kB\nMemFree: 1 kB\nMemAvailable:   500 kB\n")
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    assert machine.free_memory(proc, groups) == 500 * 1024
    for name, most in (("job", "300000"), ("job/step", "max")):
        folder = groups / name
        folder.mkdir(parents=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text("250000\n")
        (folder / "memory.stat").write_text(
            "anon 1\ninactive_file 30000\nactive_file 9000\nslab_reclaimable 1000\n"
        )
    assert machine.free_memory(proc, groups) == 300000 - 250000 + 40000
    assert machine.free_memory(tmp_path / "none", groups) > 0


@pytest.mark.slow
def test_a_sweep_that_goes_on_keeps_its_chunks(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[int]] = {}

    def watched(base: Any, algorithm: Algorithm, positions: Any, *rest: Any) -> Any:
        seen.setdefault(algorithm.name, []).append(len(positions))
        return unlearn(base, algorithm, positions, *rest)

    monkeypatch.setattr(chunks, "unlearn", watched)
    assert indelible(tmp_path, "train", "--epochs", 1).code == 0
    store = opened(SqlStore, tmp_path)
    base = base_models.load(store, "latest", torch.device("cpu"))
    ids = base.model.dataset.train.ids[:40].tolist()
    plan = Plan.on(base, configure(["ga", "neggrad"], "digits", []), ids, 0, "s")
    how = Options(execution=STACKED, engine=Threads(1))
    has_free(monkeypatch, 60e6)
    sweep.run(store, base, plan, how)
    first = seen["neggrad"]
    assert sum(seen["ga"]) == sum(first) == 40
    assert 1 < max(first) < max(seen["ga"])
    runs = store.finished_runs(Kind.MEMBER, "params.algorithm = 'neggrad'")
    lost = sorted(runs, key=lambda run: int(run.tags["sample_id"]))[first[0] :]
    store.discard([run.run_id for run in lost])
    has_free(monkeypatch, 20e9)
    seen.clear()
    sweep.run(store, base, plan, how)
    assert seen == {"neggrad": first[1:]}


# Against what is really taken


CASES = [
    measuring.Case("ga", {"max_steps": 2, "lr": 1e-6}, side=64, execution="sequential"),
    measuring.Case("neggrad", {"max_steps": 2, "lr": 1e-6}, "small-cnn", side=64, members=8),
    measuring.Case("influence", {"layers": "all", "fisher_samples": 20}, side=64),
    measuring.Case("ga", {"max_steps": 2, "lr": 1e-6}, side=8, train=6000, test=3000),
]


@pytest.mark.slow
@pytest.mark.skipif(not measuring.can_measure(), reason="needs Linux's /proc")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_expected_is_what_is_taken_or_a_little_more(case: measuring.Case) -> None:
    taken, expected = measuring.measure(case)
    assert 0.85 * taken < expected < 3 * taken
