"""Stores that are merged: what comes is what was there, and what is damaged is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.mounts import mounted
from tests.tracker import dying
from tests.tracker.conftest import ALGORITHMS, Answer, Indelible, opened
from tracker.cli import run
from tracker.reading.merging import Source, merge, open_sources
from tracker.store.addresses import Address
from tracker.store.bulk import SqlStore
from tracker.store.driver import LOCKS, driving
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.store.write import Store
from unlearning.errors import UserError

NAMES = ("ga", "neggrad")
SAMPLES, SHARES = 6, 4
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
def merged_once(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "store"
    call(folder, "merge", *made.shards)
    return folder


@pytest.fixture
def merged(merged_once: Path, tmp_path: Path) -> Path:
    """All shares, merged into one store, as a copy of one's own."""
    return Path(shutil.copytree(merged_once, tmp_path / "merged"))


@pytest.fixture
def shard(made: Made, tmp_path: Path) -> Path:
    """A share's store as a copy of one's own."""
    return Path(shutil.copytree(made.shards[0], tmp_path / "a shard"))


def one_line(answer: Answer, *said: str, code: int = 2) -> None:
    assert (answer.code, answer.out) == (code, ""), answer
    *_, last = answer.err.splitlines()
    assert last.startswith("indelible: "), answer.err
    assert "Traceback" not in answer.err
    for word in said:
        assert word in last, last


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


TIMED = ("cost/elapsed_s", "mean_elapsed_s")
OF_ITS_OWN = ("process", "measured_at", "first_began")  # tags: who wrote it, and when
PARTS = ("pre_factors/", "forecasts/")  # tags of files that hold clocks, or what a prediction asked
RUN_COLUMNS = "r.run_uuid, r.name"


def content(folder: Path) -> dict[str, set[tuple[Any, ...]]]:
    """All runs but predictions, clocks, and what names a process."""
    by = "join runs as r on r.run_uuid = t.run_uuid"
    queries = {
        "runs": "select run_uuid, name, status, lifecycle_stage, user_id, source_type from runs",
        "params": f"select {RUN_COLUMNS}, t.key, t.value from params as t {by}",
        "tags": f"select {RUN_COLUMNS}, t.key, t.value from tags as t {by}",
        "metrics": f"select {RUN_COLUMNS}, t.key, t.step, t.value, t.is_nan from metrics as t {by}",
        "latest": f"select {RUN_COLUMNS}, t.key, t.step, t.value from latest_metrics as t {by}",
    }
    found = {}
    left_out = "select run_uuid from runs where name like 'pred%'"
    others = {i for (i,) in rows(folder, left_out)}
    sweeps = {i for (i,) in rows(folder, "select run_uuid from tags where value = 'sweep'")}
    for name, query in queries.items():
        found[name] = {
            row
            for row in rows(folder, query)
            if row[0] not in others
            and not (name == "metrics" and row[0] in sweeps)  # of what was aggregated before, too
            and not (name != "runs" and str(row[2]).endswith(TIMED))
            and not (name == "tags" and (row[2] in OF_ITS_OWN or row[2].startswith(PARTS)))
            and not (name == "tags" and row[0] in sweeps and row[2] == "mlflow.note.content")
        }
    return found


def assert_same(one: Path, other: Path) -> None:
    """That the runs of two stores are the same, as `content` has them."""
    for (name, some), others in zip(content(one).items(), content(other).values(), strict=True):
        assert some ^ others == set(), name


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.glob(f"artifacts/*/*/artifacts/{pattern}")
    }


def note(folder: Path) -> str:
    query = "select t.value from tags as t join tags as k on k.run_uuid = t.run_uuid "
    query += "where t.key = 'mlflow.note.content' and k.key = 'kind' and k.value = 'sweep'"
    ((text,),) = rows(folder, query)
    return str(text)


def without_seconds(text: str) -> list[str]:
    """The lines of a description, the table without the column that is never the same."""
    lines = [line.split(" | ") for line in text.splitlines()]
    (head,) = (line for line in lines if "seconds" in line)
    place = head.index("seconds")
    return [" | ".join(c for n, c in enumerate(x) if len(x) < 5 or n != place) for x in lines]


@pytest.mark.slow
def test_shares_merged_are_the_sweep(made: Made, merged: Path) -> None:
    assert_same(merged, made.one)
    assert len(files(made.one, "checkpoint-*")) >= 8
    for pattern in ("checkpoint-*", "plan.json", "weights-*", "learning-*", "images/*"):
        assert files(merged, pattern) == files(made.one, pattern), pattern
    assert without_seconds(note(merged)) == without_seconds(note(made.one))


def test_the_analysis_of_both_is_the_same(
    made: Made, merged: Path, tmp_path: Path, indelible: Indelible
) -> None:
    one, answers = Path(shutil.copytree(made.one, tmp_path / "one")), []
    for folder in (one, merged):
        for table in ("metrics", "latest_metrics"):
            rows(folder, f"update {table} set value = 1 where key = 'cost/elapsed_s'")
        assert indelible(folder, "load").code == 0
        answer = indelible(folder, "correlate", "--format", "json")
        assert answer.code == 0, answer.err
        answers.append(answer.out)
        assert indelible(folder, "check").code == 0
    assert answers[0] == answers[1]
    assert len(json.loads(answers[0])) > 10


def test_times_users_and_notes_are_kept(
    shard: Path, made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    (member, *_) = (r for (r,) in rows(shard, "select run_uuid from runs where name like 'ga-0%'"))
    for key, value in {"mlflow.note.content": "mine", "mlflow.user": "ada", "mine": "1"}.items():
        rows(shard, "delete from tags where run_uuid = ? and key = ?", member, key)
        rows(shard, "insert into tags (run_uuid, key, value) values (?, ?, ?)", member, key, value)
    rows(shard, "update runs set user_id = 'ada' where run_uuid = ?", member)
    for table in ("metrics", "latest_metrics"):  # a value of the user's
        query = f"insert into {table} (key, value, timestamp, step, is_nan, run_uuid) values "
        rows(shard, f"{query} ('mine', 0.5, 77, 3, 0, ?)", member)
    rows(shard, "update tags set value = '12' where key = 'measured_at'")
    folder = tmp_path / "merged"
    assert indelible(folder, "merge", shard, *made.shards[1:]).code == 0
    of = "run_uuid, name, user_id, start_time, end_time, status"
    for query in (
        f"select {of} from runs where name like 'ga-0%' or name like 'base-%' or name like 'pred%'",
        "select key, value from tags where run_uuid = (select run_uuid from tags where "
        "key = 'mine') and key != 'mlflow.parentRunId'",
        "select * from metrics where run_uuid = (select run_uuid from tags where key = 'mine')",
        "select * from latest_metrics where run_uuid in (select run_uuid from tags where key = "
        "'mine' or value = 'base_model')",
        "select key, value from tags where run_uuid in (select run_uuid from runs where "
        "name like 'pred%')",
    ):
        there, here = sorted(rows(shard, query)), sorted(rows(folder, query))
        assert len(there) > 1
        assert {*there} <= {*here}, query
    ends = "select max(end_time) from runs where run_uuid = (select run_uuid from tags where "
    ends += "key = 'kind' and value = 'sweep')"
    assert rows(folder, ends) == [max(rows(each, ends)[0] for each in made.shards)]


def test_merging_again_changes_nothing(made: Made, merged: Path, indelible: Indelible) -> None:
    call(merged, "models")  # which tells the copy where it is
    before = everything(merged)
    answer = indelible(merged, "merge", *made.shards, "--format", "json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert [row["new"] for row in found] == [0] * SHARES
    assert sum(row["doubled"] for row in found) == SAMPLES * len(NAMES)
    assert [row["differing"] for row in found] == [0] * SHARES
    assert everything(merged) == before


def test_some_shares_and_then_the_sweep(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    folder = tmp_path / "merged"
    answer = indelible(folder, "merge", made.shards[2], made.shards[0], "--format", "json")
    assert answer.code == 0
    finished = json.loads(answer.out)[-1]["finished"]
    assert 0 < finished < SAMPLES * len(NAMES)
    assert f"{finished} of 12 child runs are here" in answer.err.splitlines()[-1]
    assert note(folder).startswith(f"**Share 1/4 3/4 of a sweep: {finished} of its 12")
    before = everything(folder)
    assert indelible(folder, "merge", made.shards[0], made.shards[2]).code == 0
    assert everything(folder) == before
    assert indelible(folder, *SWEEP).code == 0
    assert_same(folder, made.one)
    before = everything(folder)
    assert indelible(folder, "merge", *made.shards[1::2]).code == 0
    added = {name: value for name, value in everything(folder).items() if before.get(name) != value}
    assert {name.rpartition("/")[2].partition("-")[0] for name in added} == {"tags", "pre_factors"}


def test_predictions_still_count(made: Made, merged: Path, indelible: Indelible) -> None:
    assert indelible(merged, "load").code == 0
    graded = indelible(merged, "predict", "--score", "latest", "--format", "json")
    assert graded.code == 0, graded.err
    found = json.loads(graded.out)
    assert {row["algorithm"] for row in found} == {"ga"}
    assert all(row["members"] > 0 for row in found)


# What is damaged

Damage = Callable[[Path], None]


def flipped(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        path = min(folder.glob(f"artifacts/*/*/artifacts/{pattern}"))
        found = bytearray(path.read_bytes())
        found[len(found) - 20] ^= 4
        path.write_bytes(found)

    return damage


def lost(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        min(folder.glob(f"artifacts/*/*/artifacts/{pattern}")).unlink()

    return damage


def a_row(query: str) -> Damage:
    def damage(folder: Path) -> None:
        rows(folder, query)

    return damage


def a_page(folder: Path) -> None:
    found = bytearray((folder / "mlflow.db").read_bytes())
    page = len(found) // 4096 // 2 * 4096
    found[page : page + 4096] = b"\xff" * 4096
    (folder / "mlflow.db").write_bytes(found)


def a_bit_of_an_index(folder: Path) -> None:
    """A key in the index of the params, of which only a comparison with their table tells."""
    found = (folder / "mlflow.db").read_bytes()
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        name = "sqlite_autoindex_params_1"
        (root,) = db.execute("select rootpage from sqlite_master where name = ?", [name]).fetchone()
    at = found.index(b"base_run_id", (root - 1) * 4096)
    (folder / "mlflow.db").write_bytes(found[:at] + b"c" + found[at + 1 :])
    assert rows(folder, "pragma quick_check") == [("ok",)]


OF_GA = "run_uuid = (select min(run_uuid) from runs where name like 'ga-0%')"
DAMAGES: dict[str, tuple[Damage, int]] = {
    "checkpoint": (flipped("checkpoint-*"), 2),
    "no checkpoint": (lost("checkpoint-*"), 2),
    "weights": (flipped("weights-*"), 2),
    "learning events": (flipped("learning-*"), 2),
    "prediction": (flipped("predictions-*"), 2),
    "plan": (lost("plan.json"), 2),
    "key": (a_row(f"update tags set value = 'x-00001' where key = 'key' and {OF_GA}"), 2),
    "page": (a_page, 1),
    "index": (a_bit_of_an_index, 1),
}


# Of which one each is tried every time.
FEW = ("checkpoint", "weights", "page", "index")


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in DAMAGES]
)
def test_a_damaged_store_is_refused(
    made: Made, shard: Path, merged: Path, tmp_path: Path, indelible: Indelible, name: str
) -> None:
    damage, code = DAMAGES[name]
    damage(shard)
    answer = indelible(tmp_path / "new", "merge", made.shards[1], shard)
    one_line(answer, str(shard), "damaged", code=code)
    assert not (tmp_path / "new").exists()


def test_a_refused_store_leaves_the_other_as_it_is(
    made: Made, shard: Path, merged: Path, indelible: Indelible
) -> None:
    call(merged, "models")
    before = everything(merged)
    flipped("checkpoint-*")(shard)
    one_line(indelible(merged, "merge", made.shards[1], shard), "Copy that store again")
    assert everything(merged) == before


# What is in both


def test_doubled_members_that_differ_are_told_of(
    made: Made, merged: Path, tmp_path: Path, indelible: Indelible
) -> None:
    one = Path(shutil.copytree(made.one, tmp_path / "one"))
    query = "update latest_metrics set value = value * 1.001 where key = 'gt' and run_uuid in "
    rows(one, f"{query} (select run_uuid from runs where name like 'ga-%')")
    rows(one, "update latest_metrics set value = value * 2 where key = 'cost/elapsed_s'")
    call(merged, "models")
    before = everything(merged)
    answer = indelible(merged, "merge", one, "--format", "json")
    assert answer.code == 0
    (row,) = json.loads(answer.out)
    with_gt = rows(
        one,
        "select count(*) from latest_metrics as m join runs as r on r.run_uuid = "
        "m.run_uuid where m.key = 'gt' and r.name like 'ga-0%'",
    )
    assert (row["new"], row["doubled"], row["differing"]) == (0, 12, with_gt[0][0])
    (line,) = (line for line in answer.err.splitlines() if "other numbers" in line)
    assert f"{with_gt[0][0]} of 12 " in line
    after = everything(merged)
    differing = {name for name in after if after[name] != before.get(name)}
    assert all("pre_factors" in name or name == "tags" for name in differing)


def test_a_prediction_between_the_attempts_of_two_stores_is_late(
    made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    """Those of the other store were first, also where it has done them again since."""
    folder, other = tmp_path / "store", Path(shutil.copytree(made.one, tmp_path / "other"))
    shutil.copytree(made.exported, folder)
    call(folder, *PREDICT)
    call(folder, *SWEEP)
    call(other, *SWEEP, "--again")
    call(folder, "merge", other)
    call(folder, "load")
    line = indelible(folder, "predict", "--score", "latest").err.splitlines()[-1]
    assert "attempts had begun before it was made (the first at" in line
    before = everything(folder)
    call(folder, "merge", other)
    assert everything(folder) == before


def a_metric_of(kind: str, name: str, value: float) -> Damage:
    """Another value of a metric of all runs of a kind."""

    def damage(folder: Path) -> None:
        runs = "select run_uuid from tags where key = 'kind' and value = ?"
        for table in ("metrics", "latest_metrics"):
            query = f"update {table} set value = ? where key = ? and run_uuid in ({runs})"
            rows(folder, query, value, name, kind)

    return damage


def aggregates(folder: Path) -> list[tuple[Any, ...]]:
    query = "select key, value from metrics where key like '%points_lost' or key like '%damaged'"
    return sorted(rows(folder, query))


def test_a_base_model_with_other_metrics_is_refused(
    made: Made, shard: Path, merged: Path, tmp_path: Path, indelible: Indelible
) -> None:
    call(merged, "models")
    a_metric_of("base_model", "test_accuracy", 0.5543)(shard)
    before = everything(merged)
    one_line(indelible(merged, "merge", made.one, shard), "test_accuracy 0.5543 there", code=1)
    assert everything(merged) == before
    answer = indelible(tmp_path / "new", "merge", made.shards[1], shard)
    one_line(answer, "test_accuracy 0.5543 there", code=1)


def test_aggregates_are_made_of_the_members_and_the_base_model_here(
    made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    other, folder = Path(shutil.copytree(made.one, tmp_path / "other")), tmp_path / "store"
    a_metric_of("sweep", "ga/mean_points_lost", -37.7)(other)
    accuracy = rows(other, "select max(value) from metrics where key = 'test_accuracy'")[0][0]
    a_metric_of("base_model", "test_accuracy", accuracy * 0.999)(other)  # unseen, and not taken
    shutil.copytree(made.exported, folder)
    call(folder, "merge", other)
    assert aggregates(folder) == aggregates(made.one)
    assert without_seconds(note(folder)) == without_seconds(note(made.one))


@pytest.mark.slow
def test_checkpoints_that_are_wanted_are_given(
    made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    folder = Path(shutil.copytree(made.shards[1], tmp_path / "some"))
    store = open_store(folder)
    for member in store.finished_runs(Kind.MEMBER):
        store.drop_checkpoint(member.info.run_id)
    answer = indelible(folder, "merge", made.one)
    assert answer.code == 0
    assert_same(folder, made.one)
    assert files(folder, "checkpoint-*") == files(made.one, "checkpoint-*")


@pytest.mark.slow
def test_two_base_models_and_their_sweeps(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    """Whole stores, not shares: each sweep comes as it was, with its description and end."""
    folder = tmp_path / "other"
    call(folder, "train", "--epochs", "1", "--seed", "5")
    call(folder, "sweep", "--algorithm", "ga", "--samples", "1")
    answer = indelible(folder, "merge", made.one, "--format", "json")
    (row,) = json.loads(answer.out)
    assert (row["new"], row["finished"], row["planned"]) == (12, 12, 12)
    for query in (
        "select run_uuid, name, status, start_time, end_time, user_id from runs",
        "select run_uuid, key, value from tags where key != 'process'",
        "select run_uuid, key, value, step, is_nan from metrics",
    ):
        assert {*rows(made.one, query)} <= {*rows(folder, query)}
    assert len(json.loads(indelible(folder, "models", "--format", "json").out)) == 2


# Others at the same


KINDS = pytest.mark.parametrize("kind", [SqlStore, Store])


def checked(folder: Path) -> Source:
    (source,) = open_sources([str(folder)], Address.of(folder / "new"), print)
    source.check(print, lambda count, what: None)
    return source


def merge_into(store: Store, source: Source) -> dict[str, Any]:
    """What came of the only sweep of a source."""
    (row,) = merge(store, [source], print, lambda count, what: None)
    return row


def keys(folder: Path, kind: Kind) -> list[str]:
    query = "select t.value from tags as t join tags as k on k.run_uuid = t.run_uuid join runs as r"
    query += " on r.run_uuid = t.run_uuid where r.lifecycle_stage = 'active' and t.key = 'key'"
    return [key for (key,) in rows(folder, f"{query} and k.key = 'kind' and k.value = ?", kind)]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    open_store(folder)
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """Of a store in which there is nothing."""
    return Path(shutil.copytree(begun, tmp_path / "store"))


def test_one_process_merges_at_a_time(made: Made, folder: Path) -> None:
    first, other = (opened(SqlStore, folder) for _ in range(2))
    writing, told = threading.Event(), threading.Event()
    real = first.write_members

    def slowly(*given: Any) -> Any:
        writing.set()
        assert told.wait(60)
        return real(*given)

    first.write_members = slowly  # type: ignore[assignment, method-assign]
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(merge_into, first, checked(made.shards[0]))
        assert writing.wait(60)
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* drives a merge into"):
            merge_into(other, checked(made.shards[0]))
        told.set()
        before = one.result()
    after = merge_into(other, checked(made.shards[0]))
    assert 0 < before["new"] == after["doubled"] == before["finished"] == after["finished"]
    assert after["new"] == 0
    for what in (Kind.MEMBER, Kind.BASE_MODEL, Kind.PREDICTION, Kind.SWEEP):
        assert len({*keys(folder, what)}) == len(keys(folder, what)) > 0, what


def test_a_sweep_that_is_driven_is_not_merged(made: Made, folder: Path) -> None:
    store = opened(SqlStore, folder)
    first = merge_into(store, checked(made.shards[0]))
    with (
        driving(opened(SqlStore, folder), first["run_id"], "it"),
        pytest.raises(UserError, match=r"drives sweep .*: wait until it has ended"),
    ):
        merge_into(store, checked(made.shards[1]))
    assert len(keys(folder, Kind.MEMBER)) == first["new"]
    assert merge_into(store, checked(made.shards[1]))["new"] > 0


def test_a_merge_that_was_stopped_goes_on(made: Made, folder: Path) -> None:
    store = opened(SqlStore, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "close_sweep", stop)
        with pytest.raises(KeyboardInterrupt):
            merge_into(store, checked(made.one))
    brought = merge_into(store, checked(made.one))
    assert brought["finished"] == brought["planned"]
    assert store.run(brought["run_id"]).info.status == "FINISHED"


def stop(*_: object) -> None:
    raise KeyboardInterrupt


# What is no store to merge


def test_what_cannot_be_merged(
    made: Made, shard: Path, tmp_path: Path, indelible: Indelible
) -> None:
    link, empty, other = tmp_path / "link", tmp_path / "empty", tmp_path / "other"
    link.symlink_to(shard)
    empty.mkdir()
    other.mkdir()
    (other / "mlflow.db").touch()
    cases: dict[tuple[object, ...], str] = {
        (shard,): "is the store that is merged into",
        (link,): "is the store that is merged into",
        (f"{shard}/../{shard.name}",): "is the store that is merged into",
        (tmp_path / "absent",): "is no store",
        (empty,): "is no store",
        (shard / "mlflow.db",): "is no store",
        (other,): "is no store yet",
        ("http://127.0.0.1:1",): "is an address",
        ("postgresql+psycopg://ada:secret@127.0.0.1/x",): "is an address",
    }
    call(shard, "models")
    before = everything(shard)
    for given, said in cases.items():
        answer = indelible(shard, "merge", *given)
        one_line(answer, said)
        assert "secret" not in answer.err
    assert everything(shard) == before
    assert indelible(shard, "merge").code == 2


def test_a_store_that_may_not_be_merged_now(
    shard: Path, tmp_path: Path, indelible: Indelible
) -> None:
    here, new = socket.gethostname(), tmp_path / "new"
    rows(
        shard,
        "update runs set status = 'RUNNING' where run_uuid = (select run_uuid from tags "
        "where key = 'kind' and value = 'sweep')",
    )
    process = "update tags set value = ? where key = 'process'"
    rows(shard, process, f"{here}:{os.getpid()}")
    one_line(indelible(new, "merge", shard), f"process {os.getpid()}", "still at it")
    assert not new.exists()


@pytest.mark.slow
def test_a_share_that_was_killed_elsewhere_is_merged(
    shard: Path, made: Made, tmp_path: Path, indelible: Indelible
) -> None:
    rows(
        shard,
        "update runs set status = 'RUNNING', end_time = null where run_uuid = (select "
        "run_uuid from tags where key = 'kind' and value = 'sweep')",
    )
    rows(shard, "update tags set value = 'node17:1234' where key = 'process'")
    folder = tmp_path / "new"
    answer = indelible(folder, "merge", shard)
    assert answer.code == 0
    assert indelible(folder, "merge", *made.shards[1:]).code == 0
    assert_same(folder, made.one)


@pytest.mark.slow
def test_a_store_that_can_only_be_read(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    with mounted(tmp_path / "disk", "size=64m") as disk:
        source = Path(shutil.copytree(made.shards[0], disk / "shard"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        answer = indelible(tmp_path / "new", "merge", source)
        assert answer.code == 0, answer.err


@pytest.mark.slow
def test_reading_a_store_writes_nothing_into_it(
    shard: Path, tmp_path: Path, indelible: Indelible
) -> None:
    """Although it was moved: its database still names the folder of before."""
    before = everything(shard), (shard / "mlflow.db").read_bytes()
    assert indelible(tmp_path / "new", "merge", shard).code == 0
    assert (everything(shard), (shard / "mlflow.db").read_bytes()) == before


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
    assert len(rows(folder, "select * from runs")) == 1
    assert (indelible(folder, "load").code, indelible(folder, "check").code) == (0, 0)
    assert not list(tmp_path.rglob("*.draft"))
    one_line(indelible(trained, "models", "--export", folder), "not an empty folder")
    one_line(indelible(trained, "models", "--export", tmp_path / "x", "--model", "no"), "'no'")
    one_line(indelible(trained, "models", "--model", "latest"), "without --export")
    assert not (tmp_path / "x").exists()
    (empty := tmp_path / "empty").mkdir()
    assert indelible(made.one, "models", "--export", empty).code == 0
    call(empty, "models")
    assert len(rows(empty, "select * from runs")) == 1  # the sweep is not in it


def test_a_folder_that_no_database_is_found_in(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    answers = (
        indelible(trained, "models", "--export", tmp_path / "why?"),
        indelible(trained, "models", "--export", tmp_path / "why?" / "x"),
        indelible(tmp_path / "why?", "models"),
        indelible(tmp_path / "new", "merge", tmp_path / "why?"),
    )
    for answer in answers:
        one_line(answer, "question mark")
    assert list(tmp_path.glob("*why*")) == []


@pytest.mark.slow
def test_an_export_that_fails_leaves_nothing(
    shard: Path, tmp_path: Path, indelible: Indelible
) -> None:
    flipped("weights-*")(shard)
    one_line(indelible(shard, "models", "--export", tmp_path / "out" / "x"), "damaged")
    assert not (tmp_path / "out").exists()


# Heavier


@pytest.mark.faults
def test_a_merge_that_is_killed_goes_on(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    folder, kills = tmp_path / "merged", 0
    merge = ["merge", *map(str, made.shards)]
    moments = [("commit", 1), ("artifact", 1), ("transaction", 4), ("commit", 3), ("draft", 5)]
    moments += [("disk", n) for n in (2, 4, 7, 10)]
    for moment, chance in moments:
        code, _ = dying.started(folder, moment, chance, merge).ended()
        kills += code == -signal.SIGKILL
        kinds = rows(
            folder,
            "select t.value, r.status from runs as r join tags as t on "
            "t.run_uuid = r.run_uuid and t.key = 'kind'",
        )
        assert all(s == "FINISHED" for kind, s in kinds if kind != "sweep")
    assert kills >= 7
    assert indelible(folder, *merge).code == 0
    assert_same(folder, made.one)
    assert files(folder, "checkpoint-*") == files(made.one, "checkpoint-*")
    call(folder, "load")
    assert indelible(folder, "check").code == 0


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    with servers.mlflow_server(tmp_path) as address:
        yield address


@pytest.mark.slow
def test_into_a_server(
    made: Made, tmp_path: Path, indelible: Indelible, mlflow_server: str
) -> None:
    folder = tmp_path / "mine"
    to = ("--tracking-uri", mlflow_server)
    answer = indelible(folder, *to, "merge", *made.shards)
    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "served").rglob("checkpoint-*"))) == len(
        files(made.one, "checkpoint-*")
    )
    again = indelible(folder, *to, "merge", *made.shards, "--format", "json")
    assert [row["new"] for row in json.loads(again.out)] == [0] * SHARES
    found = indelible(folder, *to, *SWEEP)
    assert "found" in found.err
    outcomes = []
    for where, uri in ((made.one, ()), (folder, to)):
        store = (
            Path(shutil.copytree(where, tmp_path / "own", dirs_exist_ok=True)) if not uri else where
        )
        assert indelible(store, *uri, "load", *(() if uri else ("--deep",))).code == 0
        query = "select algorithm, sample_id, status, gt, label from outcomes order by 1, 2"
        outcomes.append(indelible(store, "sql", query, "--format", "json").out)
    assert outcomes[0] == outcomes[1]
    graded = indelible(folder, *to, "predict", "--score", "latest", "--format", "json")
    assert json.loads(graded.out)[0]["members"] > 0
    out = tmp_path / "exported"
    assert indelible(folder, *to, "models", "--export", out).code == 0
    assert files(out, "weights-*").keys() != set()


@pytest.mark.slow
def test_sixteen_shares(made: Made, tmp_path: Path, indelible: Indelible) -> None:
    options = [word for name in ALGORITHMS for word in ("--algorithm", name)]
    command = ["sweep", *options, "--samples", "8", "--chunk", "1", "--execution", "stacked"]
    one, shards = tmp_path / "one", [tmp_path / f"shard-{k + 1}" for k in range(16)]
    for folder in (one, *shards):
        shutil.copytree(made.exported, folder)
    call(one, *command)
    for k, folder in enumerate(shards):
        call(folder, *command, "--shard", f"{k + 1}/16")
    merged = tmp_path / "merged"
    assert indelible(merged, "merge", *shards).code == 0
    assert_same(merged, one)
    assert files(merged, "checkpoint-*") == files(one, "checkpoint-*")
