"""Stores that are merged: what comes is what was there, and what is damaged is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import one_line
from tracker.cli import run
from tracker.store.driver import LOCKS

NAMES = ("ga", "neggrad")
SAMPLES, SHARES = 4, 2
SWEEP = ["sweep", *(word for name in NAMES for word in ("--algorithm", name))]
SWEEP = [*SWEEP, "--samples", str(SAMPLES), "--chunk", "2", "--execution", "stacked"]
PREDICT = ["predict", "--algorithm", "ga", "--samples", str(SAMPLES)]


def call(folder: Path, *arguments: object) -> None:
    assert run(["--store", str(folder), *map(str, arguments)]) == 0


def rows(folder: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        return db.execute(query, values).fetchall()


@dataclass(frozen=True)
class Made:
    """A base model that was exported, one sweep of it, and the same in shares: a store each."""

    exported: Path
    one: Path
    shards: tuple[Path, ...]


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    exported, one = root / "exported", root / "one"
    call(trained, "models", "--export", exported)
    shards = tuple(root / f"shard-{k + 1}" for k in range(SHARES))
    for folder in (one, *shards):
        shutil.copytree(exported, folder)
    call(one, *SWEEP)
    call(shards[0], *PREDICT)
    for k, folder in enumerate(shards):
        call(folder, *SWEEP, "--shard", f"{k + 1}/{SHARES}")
    return Made(exported, one, shards)


@pytest.fixture(scope="module")
def merged(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All shares, merged into one store, which no test changes."""
    folder = tmp_path_factory.mktemp("merged") / "store"
    call(folder, "merge", *made.shards)
    return folder


@pytest.fixture
def shard(made: Made, tmp_path: Path) -> Path:
    """A share's store as a copy of one's own."""
    return Path(shutil.copytree(made.shards[0], tmp_path / "a shard"))


def everything(folder: Path) -> dict[str, Any]:
    """Every row of every table, and every file but those of locks."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        tables = [t for (t,) in db.execute("select name from sqlite_master where type = 'table'")]
        found: dict[str, Any] = {
            t: sorted(db.execute(f'select * from "{t}"'), key=repr) for t in tables
        }
    for path in folder.rglob("*"):
        own = path.name.startswith("mlflow.db") or path.parent.name == LOCKS
        if path.is_file() and not own:
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def assert_same(one: Path, other: Path) -> None:
    """That base models, members and aggregates are the same, but for clocks and processes."""
    kinds = ("('base_model', 'member')", "('sweep')")
    ours, sweeps = (
        f"run_uuid in (select run_uuid from tags where key = 'kind' and value in {kind})"
        for kind in kinds
    )
    timed = "key not like '%elapsed_s'"
    parts = "key not like 'pre_factors/%' and key not like 'forecasts/%' and key != 'measured_at'"
    for query in (
        f"select run_uuid, name, status, lifecycle_stage from runs where {ours} or {sweeps}",
        f"select run_uuid, key, value from params where {ours} or {sweeps}",
        f"select run_uuid, key, value from tags where {parts} and {ours}",
        f"select run_uuid, key, step, value, is_nan from metrics where {timed} and {ours}",
        f"select run_uuid, key, value from latest_metrics where {timed} and {sweeps}",
    ):
        assert {*rows(one, query)} == {*rows(other, query)}, query


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.glob(f"artifacts/*/*/artifacts/{pattern}")
    }


def test_shares_merged_are_the_sweep(made: Made, merged: Path, indelible: Indelible) -> None:
    assert_same(merged, made.one)
    assert len(files(made.one, "checkpoint-*")) >= 4
    for pattern in ("checkpoint-*", "plan.json", "weights-*", "learning-*", "images/*"):
        assert files(merged, pattern) == files(made.one, pattern), pattern
    ends = "select max(end_time) from runs where run_uuid = (select run_uuid from tags where "
    ends += "key = 'kind' and value = 'sweep')"
    assert rows(merged, ends) == [max(rows(each, ends)[0] for each in made.shards)]
    assert indelible(merged, "load").code == 0
    assert indelible(merged, "check").code == 0
    graded = indelible(merged, "predict", "--score", "latest", "--format", "json")
    assert {row["algorithm"] for row in json.loads(graded.out)} == {"ga"}


def test_merging_again_changes_nothing(
    made: Made, merged: Path, shard: Path, indelible: Indelible
) -> None:
    """Numbers of the same key that another machine came to are told."""
    another("gt", "member")(shard)
    before = everything(merged)
    answer = indelible(merged, "merge", shard, *made.shards[1:], "--format", "json")
    found = json.loads(answer.out)
    assert [row["new"] for row in found] == [0] * SHARES
    assert sum(row["already_here"] for row in found) == SAMPLES * len(NAMES)
    (line,) = (line for line in answer.err.splitlines() if "other numbers" in line)
    assert "gt is 0.5543 there" in line
    assert everything(merged) == before


# What is damaged, or differs

Damage = Callable[[Path], None]


def flipped(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        path = min(folder.glob(f"artifacts/*/*/artifacts/{pattern}"))
        found = bytearray(path.read_bytes())
        found[len(found) - 20] ^= 4
        path.write_bytes(found)

    return damage


def a_bit_of_an_index(folder: Path) -> None:
    """A key in the index of the params, of which only a comparison with their table tells."""
    found = (folder / "mlflow.db").read_bytes()
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        name = "sqlite_autoindex_params_1"
        (root,) = db.execute("select rootpage from sqlite_master where name = ?", [name]).fetchone()
    at = found.index(b"base_run_id", (root - 1) * 4096)
    (folder / "mlflow.db").write_bytes(found[:at] + b"c" + found[at + 1 :])
    assert rows(folder, "pragma quick_check") == [("ok",)]


def another(metric: str, kind: str) -> Damage:
    def damage(folder: Path) -> None:
        runs = "select run_uuid from tags where key = 'kind' and value = ?"
        query = f"value = 0.5543 where key = '{metric}' and run_uuid in ({runs})"
        for table in ("metrics", "latest_metrics"):
            rows(folder, f"update {table} set {query}", kind)

    return damage


FAULTS: dict[str, tuple[Damage, int, str]] = {
    "checkpoint": (flipped("checkpoint-*"), 2, "Copy that store again"),
    "index": (a_bit_of_an_index, 1, "is damaged"),
    "base model": (another("test_accuracy", "base_model"), 1, "test_accuracy is 0.5543 there"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_not_be_merged_changes_nothing(
    made: Made, shard: Path, merged: Path, indelible: Indelible, name: str
) -> None:
    damage, code, said = FAULTS[name]
    damage(shard)
    before = everything(merged)
    one_line(indelible(merged, "merge", made.shards[1], shard), said, code=code)
    assert everything(merged) == before


def test_what_is_no_store_to_merge(shard: Path, tmp_path: Path, indelible: Indelible) -> None:
    (tmp_path / "link").symlink_to(shard)
    (tmp_path / "empty").mkdir()
    for given, said in (
        (tmp_path / "link", "is the store that is merged into"),
        (tmp_path / "empty", "is no store"),
        ("postgresql+psycopg://ada:secret@127.0.0.1/x", "is no store"),
    ):
        answer = indelible(shard, "merge", given)
        one_line(answer, said)
        assert "secret" not in answer.err


@pytest.mark.slow
def test_into_a_server(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    folder = tmp_path / "mine"
    with servers.mlflow_server(tmp_path) as address:
        to = ("--tracking-uri", address)
        answer = indelible(folder, *to, "merge", *made.shards)
        assert answer.code == 0, answer.err
        served = list((tmp_path / "served").rglob("checkpoint-*"))
        assert len(served) == len(files(made.one, "checkpoint-*"))
        again = indelible(folder, *to, "merge", *made.shards, "--format", "json")
        assert [row["new"] for row in json.loads(again.out)] == [0] * SHARES
        assert "found" in indelible(folder, *to, *SWEEP).err
        assert indelible(folder, *to, "models", "--export", tmp_path / "out").code == 0
        assert files(tmp_path / "out", "weights-*").keys() != set()


# Exports


def test_an_export_is_the_base_model_and_all_beside_it(
    trained: Path, made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    folder = tmp_path / "new" / "exported"
    answer = indelible(trained, "models", "--export", folder, "--format", "json")
    (row,) = json.loads(answer.out)
    assert row["store"] == str(folder)
    assert files(folder, "*.safetensors") == files(trained, "*.safetensors")
    query = "select key, value from tags where run_uuid = ? order by key"
    assert rows(folder, query, row["run_id"]) == rows(trained, query, row["run_id"])
    assert (indelible(folder, "load").code, indelible(folder, "check").code) == (0, 0)
    assert indelible(made.one, "models", "--export", folder).code == 0  # which is the same
    assert len(rows(folder, "select * from runs")) == 1  # the sweep is not in it
    one_line(indelible(trained, "models", "--model", "latest"), "without --export")
    flipped("weights-*")(folder)
    one_line(indelible(folder, "models", "--export", tmp_path / "x"), "damaged")
    assert not (tmp_path / "x").exists()
