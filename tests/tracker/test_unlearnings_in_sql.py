"""Unlearnings and tunings in SQL, and of stores that are merged: every value is MLflow's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_damage import one_line
from tests.tracker.test_merge import everything, files, rows
from tests.tracker.unlearnings import (
    Client,
    PowerCut,
    Values,
    assert_all_is_said,
    indelibly,
    relations,
    stop_after_a_step,
    unlearn,
)
from tracker.base import base_models
from tracker.reading import loading
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_reader, open_store
from tracker.store.read import ClientReader
from tracker.store.records import Record
from tracker.store.write import Store
from tracker.studies.request_table import TAG, Row, as_csv, read_rows

TUNE = ("tune", "--algorithm", "ga", "--samples", 3, "--trials", 3)
BOTH = (*TUNE, "--algorithm", "ft", "--set", "ft.max_steps=2")
FILES = ("requests.csv", "requests.json", "record.json", "samples.txt", "checkpoint-*")


@pytest.fixture(scope="module")
def ids(trained: Path) -> list[int]:
    """Samples that the base model gets right, and, the last one, wrong."""
    base = base_models.load(open_store(trained), "latest", torch.device("cpu")).model
    is_right = base.train_logits.argmax(1) == base.train_labels
    right, wrong = (base.dataset.train.ids[some].tolist() for some in (is_right, ~is_right))
    return [right[40], right[3], right[17], wrong[0]]


@pytest.fixture(scope="module")
def filled(trained: Path, tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> Path:
    """Two tunings of which one took over a trial, and three unlearnings, one of them stopped."""
    root = tmp_path_factory.mktemp("filled")
    folder = own_copy(trained, root / "store")
    assert indelibly(folder, *TUNE, "--output", root / "one.toml") == 0
    assert indelibly(folder, *BOTH, "--output", root / "both.toml") == 0
    assert indelibly(folder, *unlearn(ids, root / "a"), "--register", "ours") in (0, 1)
    together = (*unlearn(ids[:2], root / "b", "neggrad"), "--order", "together", "--seed", 7)
    assert indelibly(folder, *together, "--register", "theirs, too") == 0
    assert indelibly(folder, *together, "--register", "ours") == 0
    stop_after_a_step(folder, *unlearn(ids[:2], root / "c"), "--set", "ga.lr=0.0002")
    assert indelibly(folder, "load") == 0
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    return own_copy(filled, tmp_path / "store")


def test_every_value_is_what_the_client_says(filled: Path, ids: list[int], tmp_path: Path) -> None:
    found = assert_all_is_said(filled)
    stopped, *done = sorted(found["unlearnings"], key=lambda row: row["unlearning_status"][::-1])
    statuses = [row["unlearning_status"] for row in (stopped, *done)]
    assert sorted(statuses) == ["FINISHED", "FINISHED", "KILLED"]
    names = {row["registered_as"] for row in found["unlearnings"]}
    assert names == {None, "ours", "ours, theirs, too"}
    assert [row["sample_id"] for row in found["unlearning_requests"]].count(ids[0]) == 2
    assert {row["step_requests"] for row in found["unlearning_steps"]} == {1, 2}
    assert "already_wrong" in {row["step_status"] for row in found["unlearning_steps"]}
    assert any(row["tried_by"] != row["tuning_id"] for row in found["trials"])  # it took that over
    loading.load(ClientReader(open_store(filled)), tmp_path / "client.duckdb")
    assert relations(tmp_path / "client.duckdb") == found


def load(folder: Path) -> tuple[int, int]:
    found = loading.load(open_reader(folder), folder / "analysis.duckdb").changes
    return len(found.read), len(found.forget)


def test_a_load_reads_what_changed_and_says_what_is_damaged(
    store: Path, ids: list[int], tmp_path: Path, indelible: Indelible
) -> None:
    load(store)  # a copy has its own place
    assert load(store) == (0, 0)
    again = (*unlearn(ids[:2], tmp_path / "c"), "--set", "ga.lr=0.0002")
    assert indelible(store, *again).code == 0  # the rest of what was stopped
    more = (*unlearn(ids, tmp_path / "a"), "--register", "mine")
    assert indelible(store, *more).code in (0, 1)
    client = Client(store)
    for run in (client.of("trial")[0], client.of("tuning")[0]):
        client.client.delete_run(run.info.run_id)
    read, forgotten = load(store)
    assert 3 <= read <= 4  # both unlearnings, and the steps that are new
    assert forgotten == 4  # and the two that are deleted
    found = assert_all_is_said(store)
    assert [row["unlearning_status"] for row in found["unlearnings"]] == ["FINISHED"] * 3
    assert "mine, ours" in {row["registered_as"] for row in found["unlearnings"]}
    assert {row["tuning_id"] for row in found["trials"]} == {client.of("tuning")[1].info.run_id}
    assert load(store) == (0, 0)
    run = next(r for r in client.of("unlearning") if r.info.status == "FINISHED")
    table = Path(run.info.artifact_uri.removeprefix("file://"), "requests.csv")
    own = table.read_bytes()
    table.write_bytes(b"changed")
    answer = indelible(store, "load", "--deep")
    assert answer.code == 1
    assert run.info.run_id in answer.err
    left = relations(store / "analysis.duckdb")["unlearning_requests"]
    assert run.info.run_id not in {row["unlearning_id"] for row in left}
    table.write_bytes(own)
    load(store)
    assert relations(store / "analysis.duckdb") == found


def test_paths_come_back_as_they_were(tmp_path: Path) -> None:
    paths = ['a,"b"\nü.png', "z'", None, " lead "]
    for some in (paths, paths[:1], paths[3:]):
        found = tuple(
            Row(n, 1, "forgotten", True, 1, 2, None if n else 0.1 + 0.2, 1e-300, path)
            for n, path in enumerate(some)
        )
        content = as_csv(found)
        (tmp_path / "requests.csv").write_bytes(content)
        tags = {TAG: hashlib.sha256(content).hexdigest()}
        assert read_rows(open_store(tmp_path).artifacts, tmp_path.as_uri(), "r", tags) == found


# Merged


@pytest.fixture
def merged(filled: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "merged"
    assert indelibly(folder, "merge", filled) == 0
    return folder


def stay_behind(table: list[Values]) -> list[Values]:
    """Rows without what is another store's."""
    own = ("registered_as", "experiment_id")
    return [{name: value for name, value in row.items() if name not in own} for row in table]


def assert_same(one: Path, other: Path) -> None:
    """That two stores have the same unlearnings and tunings, each value and each file of them."""
    for folder in (one, other):
        assert indelibly(folder, "load") == 0
    here, there = (relations(folder / "analysis.duckdb") for folder in (one, other))
    for name, table in there.items():
        assert stay_behind(here[name]) == stay_behind(table), name
    for pattern in FILES:
        assert files(one, pattern) == files(other, pattern), pattern
    kinds = "('unlearning', 'unlearning_step', 'tuning', 'trial')"
    of = f"run_uuid in (select run_uuid from tags where key = 'kind' and value in {kinds})"
    for query in (
        f"select run_uuid, name, status, user_id, start_time, end_time from runs where {of}",
        f"select run_uuid, key, value from params where {of}",
        f"select run_uuid, key, value, timestamp, step from metrics where {of}",
        f"select run_uuid, key, value from tags where {of} and key not in "
        "('process', 'registered_models', 'measured_at')",
    ):
        assert {*rows(one, query)} == {*rows(other, query)}, query


def steps(folder: Path, parent: str) -> list[tuple[Any, ...]]:
    query = "select r.run_uuid, r.start_time from runs as r join tags as t using (run_uuid) "
    query += "where t.key = 'mlflow.parentRunId' and t.value = ? and lifecycle_stage = 'active'"
    return rows(folder, query, parent)


def dying(kind: type[Store], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have writing, in the way of that store, stop after so many child runs as the list says."""
    left, real = [10**6], kind.write_members

    def write_members(self: Store, experiment: str, parent: str, group: list[Record]) -> Any:
        some, left[0] = group[: left[0]], left[0] - len(group)
        written = real(self, experiment, parent, some)
        if left[0] < 0:
            raise PowerCut
        return written

    monkeypatch.setattr(SqlStore, "write_members", write_members)
    return left


def test_merging_goes_on_where_it_stopped_and_what_was_merged_too(
    filled: Path,
    ids: list[int],
    tmp_path: Path,
    indelible: Indelible,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, left = tmp_path / "merged", dying(SqlStore, monkeypatch)
    left[0] = 8
    with pytest.raises(PowerCut):
        indelible(folder, "merge", filled)
    left[0] = 10**6
    assert indelible(folder, "merge", filled).code == 0
    assert indelible(folder, "load").code == 0
    found, there = assert_all_is_said(folder), relations(filled / "analysis.duckdb")
    for name, table in found.items():
        assert len(table) == len(there[name])
    # The weights of the one step of the unlearning that was stopped are there.
    (stopped,) = [r for r in found["unlearnings"] if r["unlearning_status"] == "KILLED"]
    (before,) = steps(folder, stopped["unlearning_id"])
    words = (*unlearn(ids[:2], tmp_path / "c"), "--set", "ga.lr=0.0002")
    assert indelible(folder, *words).code == 0
    after = steps(folder, stopped["unlearning_id"])
    assert len(after) > 1
    assert before in after
    assert "it was done before" in indelible(folder, *unlearn(ids, tmp_path / "a")).err


def test_all_of_it_comes_and_what_was_begun_here_is_finished_by_what_comes(
    merged: Path, store: Path, ids: list[int], tmp_path: Path, indelible: Indelible
) -> None:
    assert_same(merged, store)
    assert not list(merged.rglob("unlearned.safetensors"))  # which is the registry's
    indelible(merged, "models")  # which tells the copy where it is
    before = everything(merged)
    assert indelible(merged, "merge", store).code == 0  # again changes nothing
    assert everything(merged) == before
    words = (*unlearn(ids[:2], tmp_path / "c"), "--set", "ga.lr=0.0002")
    assert indelible(store, *words).code == 0
    assert indelible(merged, "merge", store).code == 0
    assert_same(merged, store)
    assert_all_is_said(merged)
    answer = indelible(merged, "check")
    assert answer.code == 0, answer.out


@pytest.mark.parametrize(
    ("pattern", "content"), [("requests.csv", None), ("samples.txt", None), ("checkpoint-*", b"{}")]
)
def test_damaged_stores_are_refused(
    store: Path, tmp_path: Path, pattern: str, content: bytes | None, indelible: Indelible
) -> None:
    path = next(store.glob(f"artifacts/*/*/artifacts/{pattern}"))
    path.unlink() if content is None else path.write_bytes(content)
    one_line(indelible(tmp_path / "merged", "merge", store), "nothing was merged", str(store))
    assert not (tmp_path / "merged" / "mlflow.db").exists()
    if pattern != "samples.txt":
        answer = indelible(store, "check", "--format", "json")
        assert (answer.code, path.parent.parent.name in answer.out) == (1, True)
