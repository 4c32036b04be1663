"""A sweep in shares: which members each has, and that together they are the sweep."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.tracker.conftest import Answer, Indelible, own_copy
from tracker.base.beforehand import BLOCK
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep.memory import LARGEST_CHUNK
from tracker.sweep.plan import Plan
from tracker.sweep.settings import configure
from tracker.sweep.shards import SHARD, Shard, Share, both, partly
from unlearning.errors import UserError

SWEEP = (
    *("sweep", "--algorithm", "ga", "--algorithm", "scrub", "--chunk", "2"),
    *("--execution", "stacked", "--samples", "5"),
)


def plan_of(samples: int, algorithms: tuple[str, ...] = ("ga", "scrub", "salun")) -> Plan:
    chosen = tuple(configure(algorithms, "digits", []))
    ids = tuple(range(100, 100 + 3 * samples, 3))
    return Plan("0" * 64, "1" * 64, "small-cnn", "float32", chosen, ids, 0, "s")


def shares(plan: Plan, count: int, chunk: int | None) -> list[Share]:
    return [Share.of(plan, Shard(k + 1, count), chunk) for k in range(count)]


@pytest.mark.parametrize("samples", [1, 7, 64, 200])
@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("chunk", [None, 1, 5, 1000])
def test_every_member_is_in_one_share(samples: int, count: int, chunk: int | None) -> None:
    plan = plan_of(samples)
    dealt = shares(plan, count, chunk)
    found = Counter(key for share in dealt for key in share.keys)
    assert set(found) == plan.keys()
    assert set(found.values()) == {1}
    assert sum(share.size for share in dealt) == plan.size
    for share in dealt:
        keys = [key for of in share.planned().values() for key in of]
        assert sorted(keys) == sorted(share.keys)


def test_the_chunks_of_all_shares_are_those_of_the_sweep() -> None:
    plan = plan_of(23)
    dealt = [[(a.name, ids) for a, ids in share.blocks] for share in shares(plan, 4, 5)]
    expected = []
    for algorithm in plan.algorithms:  # as a sweep that begins goes through its members
        ids = list(plan.sample_ids)
        while ids:
            expected.append((algorithm.name, ids[:5]))
            ids = ids[5:]
    assert [dealt[n % 4][n // 4] for n in range(len(expected))] == expected


@pytest.mark.parametrize(("samples", "count"), [(1000, 16), (100, 16), (30, 4), (4000, 2)])
def test_without_a_size_every_share_gets_four_chunks(samples: int, count: int) -> None:
    for share in shares(plan_of(samples), count, None):
        assert len(share.blocks) >= 4
        assert all(len(ids) <= LARGEST_CHUNK for _, ids in share.blocks)


def test_pre_factors_are_computed_in_the_blocks_of_the_sweep() -> None:
    plan = plan_of(3 * BLOCK + 10, ("ga",))
    share = Share.of(plan, Shard(2, 40), 5)
    ids = list(plan.sample_ids)
    blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
    needed = {sample for _, some in share.blocks for sample in some}
    expected = [sample for block in blocks if needed & {*block} for sample in block]
    assert share.pre_samples == expected
    assert len(expected) < len(ids)
    values = {"f": torch.tensor(expected, dtype=torch.float64)}
    spread = share.in_the_plan(values)["f"].tolist()
    for sample, value in zip(ids, spread, strict=True):
        assert value == sample if sample in expected else value != value


def test_tags_and_descriptions_of_several_shares() -> None:
    assert both("", "1/4") == "1/4"
    assert both("2/4 3/4", "1/4") == "1/4 2/4 3/4"
    assert both("1/4", "1/4") == "1/4"
    assert "2 of its 3" in partly("1/4", {"a", "b", "c"}, {"a", "b", "elsewhere"})
    assert partly("1/4", {"a"}, {"a"}) == partly("", {"a"}, set()) == ""


@pytest.mark.parametrize(
    "text", ["17/16", "0/4", "1/0", "3", "a/b", "", "1/2/3", "-1/4", "1.5/4", "1 /4", "²/4", "1/4x"]
)
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UserError, match="--shard is") as error:
        Shard.parse(text)
    assert "K/N" in str(error.value)


def status(folder: Path) -> tuple[str, str | None, dict[str, str], dict[str, float]]:
    store = open_store(folder)
    (run,) = store.runs([e.experiment_id for e in store.experiments()], "tags.kind = 'sweep'")
    tags, metrics = run.data.tags, run.data.metrics
    return str(run.info.status), tags.get(SHARD), tags, metrics


def members(folder: Path) -> dict[str, str]:
    """Keys, and when each ended."""
    runs = open_store(folder).finished_runs(Kind.MEMBER)
    return {run.data.tags["key"]: run.info.end_time for run in runs}


def test_shares_and_then_the_rest(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    own_copy(trained, tmp_path)

    def sweep(*more: str) -> Answer:
        answer = indelible(tmp_path, *SWEEP, *more)
        assert answer.code == 0, answer.err
        return answer

    first = sweep("--shard", "2/3")  # of the chunks ga 2 2 1, scrub 2 2 1 the second and fifth
    assert "share 2/3: 4 of 10 attempts, 2 of 6 chunks" in first.err
    assert "4 of the sweep's 10 attempts are here" in first.err
    assert len(members(tmp_path)) == 4
    state, tag, tags, metrics = status(tmp_path)
    assert (state, tag) == ("FINISHED", "2/3")
    assert tags["mlflow.note.content"].startswith("**Share 2/3 of a sweep: 4 of its 10")
    assert sum(metrics[f"{n}/{s}"] for n in ("ga", "scrub") for s in STATUSES) == 4
    before = members(tmp_path)
    again = sweep("--shard", "2/3")
    assert again.id == first.id
    assert "found" in again.err
    assert members(tmp_path) == before
    lost, store = min(before), open_store(tmp_path)
    store.discard([next(r for r in store.finished_runs(Kind.MEMBER) if key(r) == lost).info.run_id])
    sweep("--shard", "2/3")  # does what it lacks, and no more
    after = members(tmp_path)
    assert {k: end for k, end in after.items() if k != lost} == {
        k: end for k, end in before.items() if k != lost
    }
    assert len(after) == 4
    sweep("--shard", "1/3")
    state, tag, _, _ = status(tmp_path)
    assert (state, tag, len(members(tmp_path))) == ("FINISHED", "1/3 2/3", 8)
    rest = sweep()
    assert rest.id == first.id
    state, tag, tags, metrics = status(tmp_path)
    assert (state, tag, len(members(tmp_path))) == ("FINISHED", None, 10)
    assert tags["mlflow.note.content"].startswith("### ")
    assert sum(metrics[f"{n}/{s}"] for n in ("ga", "scrub") for s in STATUSES) == 10
    assert "found" in sweep("--shard", "3/3").err


STATUSES = ("flipped", "rewound", "max_steps", "unchanged", "non_finite", "already_wrong")


def key(run: object) -> str:
    return str(run.data.tags["key"])  # type: ignore[attr-defined]


def test_an_empty_share_is_one_line(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    own_copy(trained, tmp_path)
    answer = indelible(tmp_path, *SWEEP, "--shard", "9/9")
    assert answer.code == 0
    (line,) = (line for line in answer.err.splitlines() if "is empty" in line)
    assert line.startswith("share 9/9 is empty: the sweep has 6 chunks")
    assert members(tmp_path) == {}
    assert status(tmp_path)[:2] == ("FINISHED", "9/9")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shard", "17/16"), "from 1/N to N/N"),
        (("--shard", "a/b"), "K/N"),
        (("--shard", "1/2", "--again"), "exclude each other"),
    ],
)
def test_one_line_says_what_is_wrong(
    tmp_path: Path, indelible: Indelible, options: tuple[str, ...], said: str
) -> None:
    answer = indelible(tmp_path / "none", *SWEEP, *options)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert said in line
    assert not (tmp_path / "none").exists()
