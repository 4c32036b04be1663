"""A sweep in shares: which members each has, and that together they are the sweep."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.tracker.conftest import Answer, Indelible, own_copy
from tracker.base.beforehand import BLOCK
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep.choosing import configure
from tracker.sweep.memory import LARGEST_CHUNK
from tracker.sweep.plan import Plan
from tracker.sweep.shards import SHARD, Shard, Share
from unlearning.errors import UserError
from unlearning.outcome import Status

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


@pytest.mark.parametrize(
    ("samples", "count", "chunk"), [(23, 4, 5), (7, 16, 1), (64, 1, 5), (200, 3, 1000)]
)
def test_the_chunks_of_all_shares_are_those_of_the_sweep(
    samples: int, count: int, chunk: int
) -> None:
    plan = plan_of(samples)
    dealt = shares(plan, count, chunk)
    expected = []
    for algorithm in plan.algorithms:  # as a sweep that begins goes through its members
        ids = list(plan.sample_ids)
        while ids:
            expected.append((algorithm, ids[:chunk]))
            ids = ids[chunk:]
    assert [dealt[n % count].blocks[n // count] for n in range(len(expected))] == expected
    found = Counter(key for share in dealt for keys in share.planned().values() for key in keys)
    assert found == Counter(plan.keys()) == Counter(key for share in dealt for key in share.keys)
    assert sum(share.size for share in dealt) == plan.size
    large = plan_of(1000)
    dealt = shares(large, 16, None)  # without a size every share gets four chunks
    assert Counter(key for share in dealt for key in share.keys) == Counter(large.keys())
    for share in dealt:
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


@pytest.mark.parametrize(
    "text", ["17/16", "0/4", "1/0", "3", "a/b", "", "1/2/3", "-1/4", "1 /4", "²/4", "1/4x"]
)
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard is .* K/N"):
        Shard.parse(text)


def status(folder: Path) -> tuple[str, str | None, str, int]:
    """Of the sweep: its status, the shares that are here, its description and its attempts."""
    store = open_store(folder)
    (run,) = store.runs([e.experiment_id for e in store.experiments()], "tags.kind = 'sweep'")
    tags, counts = run.tags, run.metrics
    attempts = sum(counts.get(f"{name}/{end}", 0) for name in ("ga", "scrub") for end in Status)
    return str(run.status), tags.get(SHARD), tags["mlflow.note.content"], int(attempts)


def members(folder: Path) -> dict[str, int | None]:
    """Keys, and when each ended."""
    runs = open_store(folder).finished_runs(Kind.MEMBER)
    return {run.tags["key"]: run.ended_ms for run in runs}


def test_shares_and_then_the_rest(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    own_copy(trained, tmp_path)

    def sweep(*more: str) -> Answer:
        answer = indelible(tmp_path, *SWEEP, *more)
        assert answer.code == 0, answer.err
        return answer

    first = sweep("--shard", "2/3")  # of the chunks ga 2 2 1, scrub 2 2 1 the second and fifth
    assert "share 2/3: 4 of 10 attempts\n" in first.err
    (line,) = (line for line in first.err.splitlines() if line.startswith("time of all threads"))
    for part in ("compute", "evaluate", "factors", "store", "start-up", "checkpoints"):
        assert part in line
    before = members(tmp_path)
    state, tag, note, attempts = status(tmp_path)
    assert (state, tag, attempts, len(before)) == ("FINISHED", "2/3", 4, 4)
    assert note.startswith("**Share 2/3 of a sweep: 4 of its 10 attempts are here.**")
    again = sweep("--shard", "2/3")
    assert (again.id, "found" in again.err, members(tmp_path)) == (first.id, True, before)
    lost, store = min(before), open_store(tmp_path)
    (run,) = store.finished_runs(Kind.MEMBER, f"tags.key = '{lost}'")
    store.discard([run.run_id])
    sweep("--shard", "2/3")  # does what it lacks, and no more
    after = members(tmp_path)
    assert {key for key in after if after[key] != before.get(key)} == {lost}
    sweep("--shard", "1/3")
    assert (status(tmp_path)[1], len(members(tmp_path))) == ("1/3 2/3", 8)
    assert sweep().id == first.id
    state, tag, note, attempts = status(tmp_path)
    assert (state, tag, attempts, len(members(tmp_path))) == ("FINISHED", None, 10, 10)
    assert note.startswith("### ")
    assert "found" in sweep("--shard", "3/3").err
