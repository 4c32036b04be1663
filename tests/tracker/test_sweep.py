"""How a sweep is run: workers, chunks, executions, memory, and which checkpoints are kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tracker.conftest import Indelible, opened, own_copy
from tracker.base import base_models
from tracker.base.workers import Clock, Threads
from tracker.store.bulk import SqlStore
from tracker.store.records import Finished, Kind
from tracker.store.write import Store
from tracker.sweep import parent as beginning, chunks, sweep
from tracker.sweep.choosing import draw_samples
from tracker.sweep.summary import aggregates
from tracker.sweep.notes import sweep_note
from tracker.sweep.options import Options
from tracker.sweep.plan import Plan, as_file, read_plan
from tracker.sweep.retention import Retention
from tracker.sweep.settings import configure
from unlearning.engine import unlearn
from unlearning.errors import Failure, Raised, UserError
from unlearning.execution import Execution
from unlearning.outcome import Status

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
        run.info.run_name: (
            {k: v for k, v in run.data.metrics.items() if k != "cost/elapsed_s"},
            run.data.tags.get("checkpoint"),
        )
        for run in store.finished_runs(Kind.MEMBER)
    }


@pytest.mark.slow
def test_workers_and_their_number_change_no_bit(tmp_path: Path, indelible: Indelible) -> None:
    found = []
    for workers in (1, 2, 3):
        folder = tmp_path / str(workers)
        assert indelible(folder, "train", "--epochs", 8).code == 0
        store = opened(SqlStore, folder)
        base, plan = planned(store, 12)
        threads = torch.get_num_threads()
        how = Options(chunk=5, execution=Execution.STACKED, engine=Threads(workers))
        sweep.run(store, base, plan, how)
        assert torch.get_num_threads() == threads
        found.append(results(store))
    assert len(found[0]) == 24
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_one_by_one_does_not_depend_on_the_chunk_at_all(
    tmp_path: Path, indelible: Indelible
) -> None:
    found = []
    for chunk in (1, 4, 12):
        assert indelible(tmp_path / str(chunk), "train", "--epochs", 8).code == 0
        store = opened(SqlStore, tmp_path / str(chunk))
        base, plan = planned(store, 12)
        sweep.run(store, base, plan, Options(chunk=chunk, execution=Execution.SEQUENTIAL))
        found.append(results(store))
    assert found[0] == found[1] == found[2]


def test_the_execution_is_measured_once_logged_and_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(base: Any, algorithm: Any, *_: Any) -> Execution:
        asked.append(algorithm.name)
        return Execution.SEQUENTIAL if algorithm.name == "ga" else Execution.STACKED

    monkeypatch.setattr(beginning, "faster_execution", measured)
    base, plan = planned(store, 3)
    sweep_id = sweep.run(store, base, plan, Options())
    said = store.run(sweep_id).data.tags[chunks.EXECUTION]
    assert said == '{"ga": "sequential", "scrub": "stacked"}'
    store.discard([next(iter(store.finished_runs(Kind.MEMBER))).info.run_id])
    sweep.run(store, base, plan, Options())
    assert asked == list(NAMES)


def test_measuring_comes_to_an_execution_for_each_algorithm(store: SqlStore) -> None:
    base, plan = planned(store, 8)
    sweep_id = sweep.run(store, base, plan, Options())
    chosen = json.loads(store.run(sweep_id).data.tags[chunks.EXECUTION])
    assert set(chosen) == set(NAMES)
    assert set(chosen.values()) <= set(Execution)


@pytest.mark.parametrize("is_a_plug_in", [False, True])
def test_where_memory_runs_out_chunks_are_halved(
    is_a_plug_in: bool, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def limited(base: Any, algorithm: Any, positions: Any, *rest: Any) -> Any:
        sizes.append(len(positions))
        if len(positions) > 3:
            error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            if is_a_plug_in:
                raise Raised("algorithm", algorithm.name, "", "") from error
            raise error
        return unlearn(base, algorithm, positions, *rest)

    monkeypatch.setattr(chunks, "unlearn", limited)
    base, plan = planned(store, 10)
    sweep.run(store, base, plan, Options(chunk=10, engine=Threads(1)))
    assert len(results(store)) == 20
    assert max(sizes) == 10
    assert {5, 2, 3} <= set(sizes)


def test_a_member_that_does_not_fit_alone_is_a_failure(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(chunks, "unlearn", never)
    base, plan = planned(store, 2)
    with pytest.raises(Failure, match="alone does not fit"):
        sweep.run(store, base, plan, Options())


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
    assert run.info.status == "KILLED"


def kept(store: Store) -> set[str]:
    """Members with a checkpoint, in the tags and on the disk alike."""
    runs = list(store.finished_runs(Kind.MEMBER))
    tagged = {run.info.run_name for run in runs if "checkpoint" in run.data.tags}
    there = {
        run.info.run_name
        for run in runs
        if list(Path(run.info.artifact_uri.removeprefix("file://")).glob("checkpoint-*"))
    }
    assert tagged == there
    return tagged


def by_gt(store: Store, name: str) -> list[str]:
    runs = store.finished_runs(Kind.MEMBER, f"params.algorithm = '{name}'")
    gts = [(r.data.metrics["gt"], r.info.run_name) for r in runs if "gt" in r.data.metrics]
    return [name for _, name in sorted(gts)]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["all", "none", "flipped", "hardest:3", "easiest:2"])
def test_checkpoints_are_kept_for_each_algorithm(store: SqlStore, policy: str) -> None:
    base, plan = planned(store, 14)
    sweep.run(store, base, plan, Options(chunk=4, retention=Retention.parse(policy)))
    runs = list(store.finished_runs(Kind.MEMBER))
    expected = {
        "all": {r.info.run_name for r in runs if r.data.tags["status"] != "already_wrong"},
        "none": set(),
        "flipped": {r.info.run_name for r in runs if r.data.tags["status"] == "flipped"},
        "hardest:3": {member for name in NAMES for member in by_gt(store, name)[:3]},
        "easiest:2": {member for name in NAMES for member in by_gt(store, name)[-2:]},
    }
    assert kept(store) == expected[policy]
    if policy == "hardest:3":
        assert len(kept(store)) == 6


def test_checkpoints_that_an_earlier_sweep_did_not_keep_are_made(store: SqlStore) -> None:
    base, first = planned(store, 6)
    sweep.run(store, base, first, Options(retention=Retention("none")))
    before = results(store)
    assert kept(store) == set()
    _, second = planned(store, 6, name="other")
    sweep.run(store, base, second, Options(retention=Retention("hardest", 2)))
    assert kept(store) == {member for name in NAMES for member in by_gt(store, name)[:2]}
    for name, (metrics, _) in results(store).items():
        assert metrics.keys() == before[name][0].keys()
        assert metrics.get("gt", 0) == pytest.approx(before[name][0].get("gt", 0), rel=1e-3)
    again = store.finished_members(second.digests)
    assert len(again) == 12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("execution", Execution)
def test_a_gpu_logs_what_a_cpu_logs(trained: Path, tmp_path: Path, execution: Execution) -> None:
    """In float64, so that no rounding is seen."""
    found = []
    for device in ("cpu", "cuda"):
        own_copy(trained, tmp_path / device)
        own = opened(SqlStore, tmp_path / device)
        base = base_models.load(own, "latest", torch.device(device), precision="float64")
        ids = draw_samples(base.model.dataset.train.ids.tolist(), 6, 0)
        plan = Plan.on(base, configure(NAMES, "digits", []), ids, 0, "s")
        sweep.run(own, base, plan, Options(chunk=3, execution=execution))
        found.append({name: metrics for name, (metrics, _) in results(own).items()})
    assert len(found[0]) == len(found[1]) == 12
    for name, metrics in found[0].items():
        assert found[1][name] == pytest.approx(metrics, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("text", ["some", "hardest", "hardest:0", "hardest:x", "all:3", ""])
def test_unknown_policies_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="hardest:K"):
        Retention.parse(text)


def ended(**statuses: str) -> dict[str, Finished]:
    """Members by key, as a sweep knows them."""
    return {key: Finished("", "", status, {"gt": 0.1}, True) for key, status in statuses.items()}


def test_a_checkpoint_that_did_not_flip_is_not_kept_as_one_that_did() -> None:
    members = ended(
        a="flipped",
        b="rewound",
        c="max_steps",
        d="non_finite",
        e="already_wrong",
        f="unchanged",
    )
    assert {m.status for m in members.values()} == set(Status)
    assert Retention("flipped").kept(members) == {"a"}
    assert Retention("all").kept(members) == {"a", "b", "c", "d", "f"}


def test_a_sweeps_aggregates_count_every_end_and_only_kept_flips_as_flips() -> None:
    (algorithm,) = configure(["scrub_r"], "digits", [])
    plan = Plan("w", "f", "a", "float32", (algorithm,), tuple(range(8)), seed=0, name="s")
    ends = ["flipped", "rewound", "rewound", "max_steps", "unchanged", "non_finite", "non_finite"]
    done = {
        plan.key(algorithm, sample): Finished("", "", status, {}, False)
        for sample, status in enumerate([*ends, "already_wrong"])
    }
    outcome = aggregates(plan.planned(), done, 0.98)
    counts = {status: outcome[f"scrub_r/{status}"] for status in Status}
    assert counts == {"flipped": 1, "rewound": 2, "max_steps": 1, "non_finite": 2} | {
        "already_wrong": 1,
        "unchanged": 1,
    }
    assert outcome["scrub_r/flip_rate"] == pytest.approx(1 / 7)
    kept = read_plan(as_file(plan.as_json()), "s", plan.sweep_key)
    params = {"dataset": "d", "arch": "a", "seed": "0"}
    run: Any = SimpleNamespace(
        info=SimpleNamespace(run_name="n", run_id="r"), data=SimpleNamespace(params=params)
    )
    note = sweep_note(run, run, 0.98, kept, outcome, children="", done={})
    heads, _, row = (line.strip("| ").split(" | ") for line in note.splitlines() if "|" in line)
    table = dict(zip(heads, row, strict=True))
    assert (table["rewound"], table["non-finite"], table["already wrong"]) == ("2", "2", "1")
    assert table["unchanged"] == "1"
    assert table["flip rate"] == "0.143"
    assert "unlearning gap" not in table  # nothing was trained for it
    damaged = outcome | {"scrub_r/damaged": 1437.0}
    many = sweep_note(run, run, 0.98, kept, damaged, children="", done={})
    assert "| 1437 |" in many


def test_a_sweeps_aggregates_tell_damage_and_attempts_that_changed_nothing() -> None:
    (algorithm,) = configure(["ga"], "digits", [])
    plan = Plan("w", "f", "a", "float32", (algorithm,), tuple(range(6)), seed=0, name="s")
    after = [("flipped", 0.93), ("flipped", 0.48), ("max_steps", 0.08), ("already_wrong", 0.0)]
    diffs = {"performance/forget_prob_diff": 0.0, "performance/test_prob_diff": 0.0}
    ends = [(status, {"performance/test_accuracy": accuracy}) for status, accuracy in after]
    ends += [(s, {"performance/test_accuracy": 0.98, **diffs}) for s in ("max_steps", "non_finite")]
    done = {
        plan.key(algorithm, sample): Finished("", "", status, metrics, False)
        for sample, (status, metrics) in enumerate(ends)
    }
    outcome = aggregates(plan.planned(), done, 0.98)
    assert outcome["ga/damaged"] == 1  # what lost 5 points to the digit is not damaged
    assert outcome["ga/same_outputs"] == 1
    assert outcome["ga/worst_points_lost"] == pytest.approx(90)
    assert outcome["ga/mean_points_lost"] == pytest.approx((5 + 50 + 90 + 0 + 0) / 5)


def test_what_is_kept_of_all_is_kept_of_every_part() -> None:
    members = {
        f"{n:02d}": Finished("", "", "flipped", {"gt": float(n % 7)} if n % 5 else {}, True)
        for n in range(40)
    }
    for policy in ("all", "none", "flipped", "hardest:4", "easiest:9"):
        retention = Retention.parse(policy)
        whole = retention.kept(members)
        for start in range(0, 40, 8):
            part = {k: m for k, m in members.items() if start <= int(k) < start + 16}
            assert whole & part.keys() <= retention.kept(part)


def test_the_shares_of_time_add_up() -> None:
    clock = Clock()
    clock.add("compute", 3.0)
    clock.add("store", 1.0)
    with clock.of("compute"):
        pass
    shares = clock.shares()
    assert list(shares) == ["compute", "store"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["store"] == pytest.approx(0.25, abs=0.01)


def test_a_sweep_says_where_its_time_went(tmp_path: Path, indelible: Indelible) -> None:
    indelible(tmp_path, "train", "--epochs", 1)
    said = indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 3).err
    line = next(line for line in said.splitlines() if line.startswith("time of all threads"))
    for part in ("compute", "evaluate", "factors", "store", "start-up", "checkpoints"):
        assert part in line
