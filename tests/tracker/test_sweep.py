"""How a sweep is run: workers, chunks, executions, memory, and which checkpoints are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tracker.conftest import opened, own_copy
from tracker.base import base_models
from tracker.base.workers import Threads
from tracker.store.bulk import SqlStore
from tracker.store.records import Finished, Kind
from tracker.store.write import Store
from tracker.sweep import chunks, parent, sweep
from tracker.sweep.choosing import configure, draw_samples
from tracker.sweep.memory import halved
from tracker.sweep.options import Options
from tracker.sweep.plan import Plan, as_file, read_plan
from tracker.sweep.retention import Retention
from tracker.sweep.summary import aggregates, sweep_note
from unlearning.errors import Failure, Raised, UserError
from unlearning.execution import Execution
from unlearning.outcome import UNTIL_REFERENCE, Status

NAMES = ("ga", "scrub")


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> SqlStore:
    own_copy(trained, tmp_path)
    return opened(SqlStore, tmp_path)


def planned(store: Store, samples: int, name: str = "s", seed: int = 0) -> Any:
    base = base_models.load(store, "latest", torch.device("cpu"))
    ids = draw_samples(base.model.dataset.train.ids.tolist(), samples, 0)
    return base, Plan.on(base, configure(NAMES, "digits", []), ids, seed, name)


def results(store: Store) -> dict[str, tuple[Any, ...]]:
    """What was logged for each member, clocks aside."""
    return {
        run.name: (
            {k: v for k, v in run.metrics.items() if k != "cost/elapsed_s"},
            run.tags.get("checkpoint"),
        )
        for run in store.finished_runs(Kind.MEMBER)
    }


@pytest.mark.slow
def test_workers_and_chunks_change_no_bit(trained: Path, tmp_path: Path) -> None:
    """One by one the chunk does not count either."""
    found: dict[Execution, list[Any]] = {how: [] for how in Execution}
    for workers, chunk in ((1, 5), (3, 5), (2, 1)):
        for how in Execution if chunk == 5 else (Execution.SEQUENTIAL,):
            store = opened(SqlStore, own_copy(trained, tmp_path / f"{how}{workers}-{chunk}"))
            base, plan = planned(store, 12)
            threads = torch.get_num_threads()
            sweep.run(store, base, plan, Options(chunk, how, Threads(workers)))
            assert torch.get_num_threads() == threads
            found[how].append(results(store))
    for each in found.values():
        assert len(each[0]) == 24
        assert all(other == each[0] for other in each)


def test_the_execution_is_measured_once_logged_and_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(base: Any, algorithm: Any, *_: Any) -> Execution:
        asked.append(algorithm.name)
        return Execution.SEQUENTIAL if algorithm.name == "ga" else Execution.STACKED

    monkeypatch.setattr(parent, "faster_execution", measured)
    base, plan = planned(store, 3)
    sweep_id = sweep.run(store, base, plan, Options())
    said = store.run(sweep_id).tags[chunks.EXECUTION]
    assert said == '{"ga": "sequential", "scrub": "stacked"}'
    store.discard([next(iter(store.finished_runs(Kind.MEMBER))).run_id])
    sweep.run(store, base, plan, Options())
    assert asked == list(NAMES)


@pytest.mark.parametrize("is_a_plug_in", [False, True])
def test_where_memory_runs_out_chunks_are_halved(is_a_plug_in: bool) -> None:
    sizes: list[int] = []

    def limited(members: list[int]) -> list[int]:
        sizes.append(len(members))
        if len(members) <= room:
            return [2 * member for member in members]
        error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        if is_a_plug_in:
            raise Raised("algorithm", "ga", "its line", "") from error
        raise error

    room = 3
    assert halved(limited, list(range(10)), "ga") == [2 * n for n in range(10)]
    assert sizes == [10, 5, 2, 3, 5, 2, 3]
    room = 0
    with pytest.raises(Failure, match="its line" if is_a_plug_in else "ga member alone does not"):
        halved(limited, [1, 2], "ga")


def test_other_errors_are_not_taken_for_memory(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def broken(*_: Any) -> Any:
        nonlocal calls
        calls += 1
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(chunks, "unlearn", broken)
    base, plan = planned(store, 4)
    with pytest.raises(RuntimeError, match="shapes"):
        sweep.run(store, base, plan, Options(engine=Threads(1)))
    assert calls <= 2
    (run,) = store.runs([store.experiment_id("digits", "small-cnn")], "tags.kind = 'sweep'")
    assert run.status == "KILLED"


def kept(store: Store) -> set[str]:
    """Members with a checkpoint, in the tags and on the disk alike."""
    runs = list(store.finished_runs(Kind.MEMBER))
    tagged = {run.name for run in runs if "checkpoint" in run.tags}
    there = {
        run.name
        for run in runs
        if list(Path(run.artifact_uri.removeprefix("file://")).glob("checkpoint-*"))
    }
    assert tagged == there
    return tagged


def by_gt(store: Store, name: str) -> list[str]:
    runs = store.finished_runs(Kind.MEMBER, f"params.algorithm = '{name}'")
    gts = [(r.metrics["gt"], r.name) for r in runs if "gt" in r.metrics]
    return [name for _, name in sorted(gts)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("execution", Execution)
def test_a_gpu_logs_what_a_cpu_logs(trained: Path, tmp_path: Path, execution: Execution) -> None:
    """In float64, so that no rounding is seen."""
    found = []
    for device in ("cpu", "cuda"):
        own = opened(SqlStore, own_copy(trained, tmp_path / device))
        base = base_models.load(own, "latest", torch.device(device), precision="float64")
        ids = draw_samples(base.model.dataset.train.ids.tolist(), 6, 0)
        plan = Plan.on(base, configure(NAMES, "digits", []), ids, 0, "s")
        sweep.run(own, base, plan, Options(chunk=3, execution=execution))
        found.append({name: metrics for name, (metrics, _) in results(own).items()})
    assert len(found[0]) == len(found[1]) == 12
    for name, metrics in found[0].items():
        assert found[1][name] == pytest.approx(metrics, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("text", ["some", "hardest", "hardest:0", "all:3"])
def test_unknown_policies_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="hardest:K"):
        Retention.parse(text)


def test_policies_keep_what_they_say_and_that_of_every_part() -> None:
    members = {
        str(status): Finished("", "", status, {} if place > 3 else {"gt": place % 3 + 0.5}, True)
        for place, status in enumerate(Status)
    }
    expected = {
        "all": {*members} - {"already_wrong"},
        "none": set(),
        "flipped": {"flipped", "at_reference"},
        "hardest:2": {"flipped", "nothing_to_forget"},
        "easiest:1": {"at_reference"},
    }
    for policy, keys in expected.items():
        retention = Retention.parse(policy)
        assert retention.kept(members) == keys
        for left_out in members:
            some = {key: member for key, member in members.items() if key != left_out}
            assert keys - {left_out} <= retention.kept(some)


def ended(name: str, ends: list[tuple[str, dict[str, float]]]) -> tuple[Plan, dict[str, Finished]]:
    """A plan whose members have ended so, with these metrics."""
    (algorithm,) = configure([name], "digits", [])
    plan = Plan("w", "f", "a", "float32", (algorithm,), tuple(range(len(ends))), seed=0, name="s")
    keys = plan.planned()[name]
    members = [Finished("", "", status, metrics, False) for status, metrics in ends]
    return plan, dict(zip(keys, members, strict=True))


def test_a_sweeps_aggregates_count_every_end_and_only_kept_flips_as_flips() -> None:
    ends = ["flipped", "rewound", "rewound", "max_steps", "unchanged", "non_finite", "non_finite"]
    plan, done = ended("scrub_r", [(status, {}) for status in (*ends, "already_wrong")])
    outcome = aggregates(plan.planned(), done, 0.98)
    counted = [outcome[f"scrub_r/{s}"] for s in Status if s not in UNTIL_REFERENCE]
    assert counted == [1, 2, 1, 1, 2, 1]
    assert outcome["scrub_r/flip_rate"] == pytest.approx(1 / 7)
    kept = read_plan(as_file(plan.as_json()), "s", plan.sweep_key)
    params = {"dataset": "d", "arch": "a", "seed": "0"}
    run: Any = SimpleNamespace(name="n", run_id="r", params=params)
    many = outcome | {"scrub_r/damaged": 1437.0}
    note = sweep_note(run, run, 0.98, kept, many, children="", done={})
    heads, _, row = (line.strip("| ").split(" | ") for line in note.splitlines() if "|" in line)
    shown = {"rewound": "2", "non-finite": "2", "already wrong": "1", "unchanged": "1"}
    shown |= {"algorithm": "scrub_r", "flip rate": "0.143", "damaged": "1437", "same outputs": "0"}
    assert dict(zip(heads, row, strict=True)) == shown  # no gap: nothing was trained for it


def test_a_sweeps_aggregates_tell_damage_and_attempts_that_changed_nothing() -> None:
    after = [("flipped", 0.93), ("flipped", 0.48), ("max_steps", 0.08), ("already_wrong", 0.0)]
    diffs = {"performance/forget_prob_diff": 0.0, "performance/test_prob_diff": 0.0}
    ends = [(status, {"performance/test_accuracy": accuracy}) for status, accuracy in after]
    ends += [(s, {"performance/test_accuracy": 0.98, **diffs}) for s in ("max_steps", "non_finite")]
    plan, done = ended("ga", ends)
    outcome = aggregates(plan.planned(), done, 0.98)
    assert outcome["ga/damaged"] == 1  # what lost 5 points to the digit is not damaged
    assert outcome["ga/same_outputs"] == 1
    assert outcome["ga/worst_points_lost"] == pytest.approx(90)
    assert outcome["ga/mean_points_lost"] == pytest.approx((5 + 50 + 90 + 0 + 0) / 5)
