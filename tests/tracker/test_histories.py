"""Histories in a file of their sweep: the values that child runs have. And those not kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

import factors
from analysis.warehouse import open_warehouse
from factors.evaluation import Chunk
from factors.family import Column, Family
from tests.servers import mlflow_server
from tests.tracker.conftest import Indelible, opened, own_copy
from tests.tracker.test_bulk import DATA, SWEEP, member
from tracker.access.artifacts import Artifacts
from tracker.base import base_models
from tracker.reading import checking, loading
from tracker.reading.histories import Kept
from tracker.record import gathering
from tracker.record.bulk import SqlStore
from tracker.record.gathering import Keeper, gather
from tracker.record.histories import TAG
from tracker.record.opening import open_reader, open_store
from tracker.record.readers import ClientReader, Reader
from tracker.record.records import HISTORIES, Histories, Kind, Record
from tracker.record.store import Store
from tracker.sweeping import chunks, sweep
from tracker.sweeping.choosing import draw_samples
from tracker.sweeping.options import Options
from tracker.sweeping.plan import Plan
from tracker.sweeping.retention import Retention
from tracker.sweeping.settings import configure
from tracker.sweeping.shards import Shard
from unlearning.execution import Execution

SAMPLES = 4
HOW = Options(chunk=2, execution=Execution.STACKED)
PARENT = replace(HOW, histories=Histories.PARENT)
Rows = list[tuple[Any, ...]]

pytestmark = pytest.mark.slow  # a sweep or more each


BASES: dict[str, base_models.BaseRun] = {}


def loaded_base(store: Store) -> base_models.BaseRun:
    """The base model, which all copies of a store have."""
    (run,) = store.finished_runs(Kind.BASE_MODEL)
    run_id = str(run.info.run_id)
    if run_id not in BASES:
        BASES[run_id] = base_models.load(store, run_id, torch.device("cpu"))
    return BASES[run_id]


def swept(store: Store, how: Options, names: tuple[str, ...] = ("ga", "scrub")) -> str:
    base = loaded_base(store)
    ids = draw_samples(base.model.dataset.train.ids.tolist(), SAMPLES, 1)
    return sweep.run(store, base, Plan.on(base, configure(names, "digits", []), ids, 0, "s"), how)


def loaded(store: Store, reader: Reader | None = None, **options: Any) -> Rows:
    """The relation `histories` with members' keys for their run ids; bits, not numbers."""
    path = store.address.folder / "w.duckdb"
    loading.load(reader or open_reader(store.address.folder), path, **options)
    return rows_in(path)


def staged(store: Store) -> Rows:
    """What a load would put into that relation, without what else it does."""
    reader = open_reader(store.address.folder)
    runs = reader.runs()
    ids = sorted(runs["run_id"].to_pylist())
    tags = reader.rows(ids)["tags"]
    keys = {r["run_id"]: r["value"] for r in tags.to_pylist() if r["key"] == "key"}
    found = Kept(reader, runs, store.address.folder / "none").of(ids, tags).to_pylist()
    return sorted(
        (keys[row["run_id"]], row["step"], *(bits(row[name]) for name in factors.HISTORIES))
        for row in found
        if row["run_id"] in keys
    )


def rows_in(path: Path) -> Rows:
    with open_warehouse(path) as warehouse:
        rows = warehouse.query(
            "select t.value, h.step, h.forget_prob, h.forget_loss from histories as h "
            "join staging.tags as t on t.run_id = h.run_id and t.key = 'key'"
        ).rows
        return sorted((key, step, *map(bits, values)) for key, step, *values in rows)


def bits(value: float | None) -> bytes | None:
    return None if value is None else np.float64(value).tobytes()


def in_sqlite(folder: Path, keys: str = "'forget_prob', 'forget_loss'") -> Rows:
    """Values of these metrics by sqlite3 alone: key of the member, name, step, value."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        return db.execute(
            "select t.value, m.key, m.step, m.value from metrics as m "
            "join tags as t on t.run_uuid = m.run_uuid and t.key = 'key' "
            f"join runs as r on r.run_uuid = m.run_uuid and r.lifecycle_stage = 'active' "
            f"where m.key in ({keys}) and not m.is_nan order by 1, 2, 3"
        ).fetchall()


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("artifacts/*/*/artifacts/histories-*"))


def old(*paths: Path) -> None:
    """As if these had been written an hour ago: nobody is about to mention them."""
    for path in paths:
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)


@pytest.fixture(scope="module")
def by_runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the sweep as it is without the option, loaded."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("histories") / "runs"))
    store = open_store(folder)
    swept(store, HOW)
    loaded(store)
    return folder


@pytest.fixture(scope="module")
def expected(by_runs: Path) -> Rows:
    return rows_in(by_runs / "w.duckdb")


@pytest.fixture(scope="module")
def by_parent(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("histories") / "parent"))
    swept(open_store(folder), PARENT)
    return folder


@pytest.fixture
def copy(by_parent: Path, tmp_path: Path) -> Path:
    """A store whose sweep has the histories, to change."""
    return Path(shutil.copytree(by_parent, tmp_path / "copy"))


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    """A store with a base model."""
    return open_store(own_copy(trained, tmp_path / "store"))


# The same numbers


def test_the_oracle_is_what_mlflow_has(by_runs: Path, expected: Rows) -> None:
    plain: dict[tuple[str, int], dict[str, bytes | None]] = {
        (key, step): {} for key, _, step, _ in in_sqlite(by_runs)
    }
    for key, name, step, value in in_sqlite(by_runs):
        plain[key, step][name] = bits(value)
    assert expected == sorted(
        (key, step, found["forget_prob"], found["forget_loss"])
        for (key, step), found in plain.items()
    )
    assert len(expected) > 2 * 2 * SAMPLES
    assert len({key for key, *_ in expected}) == 2 * SAMPLES


@pytest.mark.parametrize("kind", [SqlStore, Store])
def test_the_warehouse_is_the_same(
    kind: type[Store], trained: Path, tmp_path: Path, by_runs: Path, expected: Rows
) -> None:
    store = opened(kind, own_copy(trained, tmp_path / "s"))
    sweep_id = swept(store, PARENT)
    assert loaded(store, None if kind is SqlStore else ClientReader(store)) == expected
    latest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for key, name, step, value in in_sqlite(by_runs):
        latest[key, name] = (key, name, step, value)
    assert in_sqlite(tmp_path / "s") == sorted(latest.values())
    (file,) = files_of(tmp_path / "s")
    told = {n: v for n, v in store.run(sweep_id).data.tags.items() if n.startswith(TAG)}
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert told == {f"{TAG}{sha256[:16]}": sha256}
    assert sha256[:16] in file.name
    query = f"select key, step, forget_prob, forget_loss from '{file}'"
    found = duckdb.connect().execute(query).fetchall()
    assert sorted((key, step, *map(bits, values)) for key, step, *values in found) == expected


def test_what_is_logged_of_a_member_is_the_same(by_runs: Path, by_parent: Path) -> None:
    found = []
    for kind in (SqlStore, Store):
        for folder in (by_runs, by_parent):
            store = opened(kind, folder)
            ids = sorted(r.info.run_id for r in store.finished_runs(Kind.MEMBER))
            found.append([run.histories for run in store.logged(ids, factors.HISTORIES)])
            assert all(run.metrics["forget_prob"] for run in store.logged(ids, []))
    assert found[0] == found[1] == found[2] == found[3]
    assert all({*histories} == {*factors.HISTORIES} for histories in found[0])


def test_what_is_not_finite_is_as_mlflow_has_it(
    by_hand: Callable[[type[Store]], Store],
) -> None:
    record = member(
        1,
        histories={
            "forget_prob": [1.0, math.nan, 0.5, math.nan, -0.0],
            "forget_loss": [0.0, math.inf, math.nan, math.nan, -math.inf],
        },
    )
    found = {}
    for kept in (Histories.RUNS, Histories.PARENT):
        for kind in (SqlStore, Store):
            store = by_hand(kind)
            write(store, *begun(store), [record], kept)
            (run_id,) = (r.info.run_id for r in store.finished_runs(Kind.MEMBER))
            (run,) = store.logged([run_id], factors.HISTORIES)
            curves = {n: [*map(bits, values)] for n, values in run.histories.items()}
            last = [row for row in in_sqlite(store.address.folder) if row[2] == 4]
            found[kept, kind] = staged(store), curves, last
    assert found[Histories.RUNS, SqlStore] == found[Histories.RUNS, Store]
    assert found[Histories.RUNS, SqlStore] == found[Histories.PARENT, SqlStore]
    assert found[Histories.PARENT, SqlStore] == found[Histories.PARENT, Store]
    assert [step for _, step, *_ in found[Histories.PARENT, Store][0]] == [0, 1, 2, 4]


def test_a_load_between_two_halves_reads_only_what_is_new(store: Store, expected: Rows) -> None:
    swept(store, replace(PARENT, shard=Shard(1, 2)))
    half = loaded(store)
    assert 0 < len(half) < len(expected)
    swept(store, replace(PARENT, shard=Shard(2, 2)))
    path = store.address.folder / "w.duckdb"
    changes = loading.load(open_reader(store.address.folder), path).changes
    assert len(changes.read) == SAMPLES + 1  # and the sweep
    assert rows_in(path) == expected
    assert len(files_of(store.address.folder)) == 1


def test_a_server_with_its_own_artifacts(tmp_path: Path, indelible: Indelible) -> None:
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as uri:
        mine, to = tmp_path / "mine", ["--tracking-uri", uri]
        options = ("--algorithm", "ga", "--samples", 3, "--chunk", 2, "--execution", "stacked")
        assert indelible(mine, *to, "train", "--epochs", 8).code == 0
        found = {}
        for how in ("parent", "runs"):
            words = ("sweep", *options, "--name", how, "--again", "--histories", how)
            answer = indelible(mine, *to, *words)
            assert answer.code == 0, answer.err
            assert len([*(tmp_path / "server").rglob("histories-*.parquet")]) == 1
            assert indelible(mine, *to, "load").code == 0
            found[how] = rows_in(mine / "analysis.duckdb")
        assert found["parent"] == found["runs"]
        assert len(found["runs"]) > 3


# Processes that die


class Died(BaseException):
    """What a process that is killed does not do is not done either where this is raised."""


def dies(
    patch: pytest.MonkeyPatch, owner: object, name: str, about: str, chance: int, before: bool
) -> None:
    """Have the N-th call with something about that end the process, before or after it is done."""
    real, calls = getattr(owner, name), 0

    def call(*given: Any, **named: Any) -> Any:
        nonlocal calls
        at = about in repr(given)
        calls += at
        at &= calls == chance
        if at and before:
            raise Died
        result = real(*given, **named)
        if at:
            raise Died
        return result

    patch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("owner", "name", "about", "chance", "before", "members"),
    [
        (Artifacts, "write", "histories-", 2, True, 2),  # before a part
        (Artifacts, "write", "histories-", 2, False, 2),  # between it and its rows
        (SqlStore, "write_members", "", 2, False, 4),  # after these
        (Artifacts, "put", "", 1, True, 4),  # before all is in one file
        (Artifacts, "put", "", 1, False, 4),  # between it and its tag
        (gathering, "_let_go", "", 1, True, 4),  # after that
        (Path, "unlink", "histories-", 1, False, 4),  # between two parts that are deleted
        (Store, "close_sweep", "", 1, True, 4),  # after the last one
    ],
)
def test_nothing_is_lost_or_doubled_where_it_dies(
    owner: object,
    name: str,
    about: str,
    chance: int,
    before: bool,
    members: int,
    store: Store,
    expected: Rows,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, owner, name, about, chance, before)
        with pytest.raises(Died):
            swept(store, PARENT, ("ga",))
    ga = ga_of(store)
    whole = [row for row in expected if row[0].startswith(ga)]
    there = {run.data.tags["key"] for run in store.finished_runs(Kind.MEMBER)}
    assert len(there) == members
    assert staged(store) == [row for row in whole if row[0] in there]
    sweep_id = swept(store, PARENT, ("ga",))
    assert staged(store) == whole
    (file,) = files_of(store.address.folder)
    told = [tag for tag in store.run(sweep_id).data.tags if tag.startswith(TAG)]
    assert told == [f"{TAG}{file.name[10:26]}"]


@pytest.mark.parametrize("before", [True, False])
def test_nothing_is_lost_where_it_dies_beside_an_earlier_file(
    before: bool, store: Store, expected: Rows
) -> None:
    swept(store, replace(PARENT, shard=Shard(1, 2)))
    (first,) = files_of(store.address.folder)
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, Path, "unlink", first.name, 1, before)
        with pytest.raises(Died):
            swept(store, PARENT)
    assert staged(store) == expected
    sweep_id = swept(store, PARENT)
    assert staged(store) == expected
    told = [tag for tag in store.run(sweep_id).data.tags if tag.startswith(TAG)]
    assert len(told) == 1
    old(*files_of(store.address.folder))
    strays = [audit for audit, *_ in offences(store.address.folder)]
    assert strays == (["stray_file"] if before else [])  # no tag told of it any more


def ga_of(store: Store) -> str:
    """What begins the keys of members of that algorithm."""
    base = loaded_base(store)
    (ga,) = configure(("ga",), "digits", [])
    return Plan.on(base, [ga], base.model.dataset.train.ids[:1].tolist(), 0, "s").digest(ga)


# Attempts by hand: what several processes do to one sweep


@pytest.fixture
def by_hand(trained: Path, tmp_path: Path) -> Callable[[type[Store]], Store]:
    """Makes stores with a base model."""

    def make(kind: type[Store]) -> Store:
        folder = tmp_path / f"store-{len([*tmp_path.iterdir()])}"
        return opened(kind, own_copy(trained, folder))

    return make


def begun(store: Store) -> tuple[str, str]:
    experiment = store.experiment_id("digits", "small-cnn")
    return experiment, store.begin_sweep(experiment, SWEEP, DATA)


def attempt(number: int, started_ms: int = 1, steps: int = 3, at: float = 0.0) -> Record:
    curve = [1 + at + number + k / 8 for k in range(steps)]
    histories = {"forget_prob": curve, "forget_loss": [-value for value in curve]}
    return member(number, histories=histories, artifacts={}, started_ms=started_ms)


def write(
    store: Store,
    experiment: str,
    sweep_id: str,
    records: list[Record],
    kept: Histories,
    **more: Any,
) -> Keeper:
    keeper = Keeper(store, kept)
    store.write_members(experiment, sweep_id, keeper.taken(records, lambda _: sweep_id), **more)
    return keeper


def shown(records: list[Record]) -> Rows:
    """What the warehouse is to have of attempts."""
    return sorted(
        (record.key, step, bits(value), bits(-value))
        for record in records
        for step, value in enumerate(record.histories["forget_prob"])
    )


def test_processes_that_gather_at_the_same_time_lose_nothing(store: Store) -> None:
    folder = store.address.folder
    experiment, sweep_id = begun(store)
    records = [attempt(n, steps=1 + n % 5) for n in range(40)]
    errors, done = list[BaseException](), threading.Event()

    def work(own: list[Record]) -> None:
        try:
            store = opened(SqlStore, folder)
            for start in range(0, len(own), 2):
                write(store, experiment, sweep_id, own[start : start + 2], Histories.PARENT)
                gather(store, sweep_id)
        except BaseException as error:
            errors.append(error)

    def watch() -> None:
        try:
            store = opened(SqlStore, folder)
            while not done.is_set():
                ids = sorted(run.info.run_id for run in store.finished_runs(Kind.MEMBER))
                for run in store.logged(ids, factors.HISTORIES):
                    number = int(run.tags["key"].rpartition("-")[2])
                    assert run.histories == records[number].histories
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(records[n::4],)) for n in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in (*workers, watcher):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    watcher.join()
    assert errors == []
    assert staged(store) == shown(records)
    gather(store, sweep_id)
    assert len(files_of(folder)) == 1
    assert staged(store) == shown(records)


def test_parts_of_a_process_that_is_gone_are_gathered(store: Store) -> None:
    folder = store.address.folder
    experiment, sweep_id = begun(store)
    records = [attempt(n) for n in range(6)]
    for some in (records[:2], records[2:4], records[4:]):
        write(store, experiment, sweep_id, some, Histories.PARENT)
    assert len(files_of(folder)) == 3
    gather(store, sweep_id)
    assert len(files_of(folder)) == 1
    assert staged(store) == shown(records)
    (file,) = files_of(folder)
    before = file.read_bytes()
    gather(store, sweep_id)
    assert file.read_bytes() == before


@pytest.mark.parametrize("kind", [SqlStore, Store])
def test_of_a_member_that_is_done_again_only_the_last_attempt_is_shown(
    by_hand: Callable[[type[Store]], Store], kind: type[Store]
) -> None:
    store = by_hand(kind)
    experiment, sweep_id = begun(store)
    first = [attempt(n) for n in range(3)]
    write(store, experiment, sweep_id, first, Histories.PARENT).gather()
    assert staged(store) == shown(first)
    second = [attempt(n, started_ms=2, steps=5, at=10.0) for n in (0, 1)]
    keeper = Keeper(store, Histories.PARENT)
    taken = keeper.taken(second, lambda _: sweep_id)  # and dies before the rows are written
    assert staged(store) == shown(first)
    before = store.finished_members([first[0].key.partition("-")[0]])
    now = {record.key: before[record.key] for record in second}
    store.write_members(experiment, sweep_id, taken, now)
    assert staged(store) == shown([*second, first[2]])
    for record in second:
        keeper.replaced(sweep_id, record, 1)
    keeper.gather()
    assert staged(store) == shown([*second, first[2]])
    (file,) = files_of(store.address.folder)
    assert duckdb.connect().execute(f"select count(*) from '{file}'").fetchall() == [(2 * 5 + 3,)]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("runs", "parent"),
        ("parent", "parent"),
        ("parent", "runs"),
        ("parent", "none"),
    ],
)
def test_again_with_another_choice(
    first: str, then: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(store, replace(HOW, histories=Histories(first)), ("ga",))
    kept = {run.data.tags.get(HISTORIES, "runs") for run in store.finished_runs(Kind.MEMBER)}
    assert kept == {first}
    real = chunks._histories

    def others(chunk: Chunk, place: int) -> dict[str, list[float]]:
        return {name: [v + 2 for v in some] for name, some in real(chunk, place).items()}

    monkeypatch.setattr(chunks, "_histories", others)
    was = staged(store)
    swept(store, replace(HOW, histories=Histories(then)), ("ga",))
    assert staged(store) == was  # what is in the store stays as it is
    sweep_id = swept(store, replace(HOW, histories=Histories(then), again=True), ("ga",))
    kept = {run.data.tags.get(HISTORIES, "runs") for run in store.finished_runs(Kind.MEMBER)}
    assert kept == {then}
    found = staged(store)
    assert bool(found) is (then != "none")
    values = [np.frombuffer(prob or b"")[0] for _, step, prob, _ in found if step == 0]
    assert len(values) == SAMPLES or then == "none"
    assert all(value >= 2 for value in values)
    note = store.run(sweep_id).data.tags["mlflow.note.content"]
    assert ("are histories over the steps" in note) is (then == "runs")
    assert ("histories-*.parquet" in note) is (then == "parent")
    assert ("were not kept" in note) is (then == "none")
    assert len(files_of(store.address.folder)) <= 1


def test_members_of_another_sweep_are_done_again_there(store: Store) -> None:
    swept(store, PARENT, ("ga",))
    before = staged(store)
    swept(store, replace(PARENT, again=True))  # another sweep, with the members of the first
    both, ga = staged(store), ga_of(store)
    assert [row for row in both if row[0].startswith(ga)] == before
    assert len(both) > len(before)
    assert len(files_of(store.address.folder)) == 2


def test_what_is_recomputed_is_kept_as_it_was(store: Store, indelible: Indelible) -> None:
    how = replace(PARENT, retention=Retention("none"))
    swept(store, how, ("ga",))
    before, folder = staged(store), store.address.folder
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:  # as of another machine
        db.execute("update metrics set value = value + 1 where key = 'forget_loss'")
        db.execute("update latest_metrics set value = value + 1 where key = 'forget_loss'")
        db.execute("update tags set value = '{}' where key = 'factor_versions'")
    answer = indelible(folder, "measure", "--recompute", "--format", "json")
    (row,) = json.loads(answer.out)
    assert row["recomputed"] > SAMPLES // 2
    found = staged(store)  # whose last bits depend on the chunk
    assert [row[:2] for row in found] == [row[:2] for row in before]
    kept = [run.data.tags.get(HISTORIES) for run in store.finished_runs(Kind.MEMBER)]
    assert kept == ["parent"] * SAMPLES
    (file,) = files_of(folder)
    rows = duckdb.connect().execute(f"select count(*) from '{file}'").fetchall()
    assert rows == [(len(before),)]  # the new attempts, and not the old ones


# Stores that are merged


def test_three_shares_are_the_sweep(
    trained: Path, tmp_path: Path, expected: Rows, indelible: Indelible
) -> None:
    shares = []
    for number in (1, 2, 3):
        folder = Path(shutil.copytree(trained, tmp_path / str(number)))
        shares.append(folder)
        how = Histories.RUNS if number == 2 else Histories.PARENT
        swept(open_store(folder), replace(HOW, histories=how, shard=Shard(number, 3)))
    own_copy(trained, tmp_path / "all")
    answer = indelible(tmp_path / "all", "merge", *shares)
    assert answer.code == 0, answer.err
    store = open_store(tmp_path / "all")
    assert loaded(store) == expected
    (file,) = files_of(tmp_path / "all")
    (run,) = store.finished_runs(Kind.SWEEP)
    assert len([tag for tag in run.data.tags if tag.startswith(TAG)]) == 1
    old(file)
    assert offences(tmp_path / "all") == []
    (lost,) = files_of(shares[0])
    lost.unlink()
    answer = indelible(tmp_path / "all", "merge", shares[0])
    assert answer.code == 2
    assert f"{lost.name} is missing" in answer.err.splitlines()[-1]


# What is lost


def offences(folder: Path) -> list[tuple[str, str, str]]:
    """Those about files: audit, offence, repair."""
    found = checking.check(open_reader(folder), folder, folder / "w.duckdb").records()
    about = [row for row in found if row["audit"] in ("artifact", "stray_file")]
    return [(row["audit"], row["offence"], row["repair"]) for row in about]


def flipped(path: Path) -> None:
    """With another bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, flipped])
def test_a_lost_file_is_found(harm: Callable[[Path], None], copy: Path) -> None:
    (file,) = files_of(copy)
    harm(file)
    state = "missing" if harm is Path.unlink else "damaged: it is not what was written"
    ((audit, offence, repair),) = offences(copy)
    assert audit == "artifact"
    assert offence == f"{file.name} is {state}; the histories of 8 members are in no file"
    assert repair == f"forget {TAG}{file.name[10:26]}"
    store = open_store(copy)
    ids = sorted(run.info.run_id for run in store.finished_runs(Kind.MEMBER))
    assert all(run.histories == {} for run in store.logged(ids, factors.HISTORIES))


def test_of_a_lost_file_the_warehouse_keeps_what_it_had(copy: Path) -> None:
    store, path = open_store(copy), copy / "w.duckdb"
    expected = loaded(store)
    (file,) = files_of(copy)
    file.unlink()
    lost = loading.load(open_reader(copy), path, deep=True).lost
    assert [file.name in said for said in lost.values()] == [True]
    assert rows_in(path) == expected


def test_a_lost_file_is_let_go_of(copy: Path, expected: Rows, indelible: Indelible) -> None:
    (file,) = files_of(copy)
    flipped(file)
    answer = indelible(copy, "check", "--repair", "--yes", "--at-most", 1)
    assert answer.code == 0, answer.err  # all that is found when it looks again
    store = open_store(copy)
    swept(store, replace(PARENT, again=True))
    assert staged(store) == expected


def test_histories_without_a_file_are_found(copy: Path) -> None:
    store = open_store(copy)
    (run,) = store.finished_runs(Kind.SWEEP)
    (tag,) = (tag for tag in run.data.tags if tag.startswith(TAG))
    store.client.delete_tag(run.info.run_id, tag)
    old(*files_of(copy))
    found = sorted(offences(copy))
    assert [audit for audit, *_ in found] == ["artifact", "stray_file"]
    assert found[0][1].startswith("the histories of 8 members are in no file: ")
    assert found[0][2] == "none"


def test_stray_parts_are_found(store: Store, indelible: Indelible) -> None:
    folder = store.address.folder
    experiment, sweep_id = begun(store)
    records = [attempt(n) for n in range(4)]
    write(store, experiment, sweep_id, records[:2], Histories.PARENT)
    (copied,) = files_of(folder)
    content = copied.read_bytes()
    gather(store, sweep_id)
    copied.write_bytes(content)  # as if it had died before it deleted it
    write(store, experiment, sweep_id, records[2:], Histories.PARENT)
    Keeper(store, Histories.PARENT).taken([attempt(9)], lambda _: sweep_id)
    store.close_sweep(sweep_id, {}, "")
    assert staged(store) == shown(records)
    assert offences(folder) == []  # they may belong to what is in flight
    old(*files_of(folder))
    found = offences(folder)
    assert [(audit, repair) for audit, _, repair in found] == [("stray_file", "remove")] * 2
    indelible(folder, "check", "--repair", "--yes", "--at-most", 1)
    assert not copied.exists()
    assert staged(store) == shown(records)
    assert offences(folder) == []


# Factors that look at them


def drop(chunk: Chunk) -> dict[str, torch.Tensor]:
    """By how much the probability falls in the first step."""
    prob = chunk.unlearned.forget_prob
    later = prob[:, 1] if prob.shape[1] > 1 else prob[:, 0]
    return {"drop": prob[:, 0] - later}


COLUMN = Column("drop", "Drop", "probability", "low", "In the first step.", undefined="no step")


@pytest.fixture(params=[True, False], ids=["says so", "does not say so"])
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Family:
    """A family that is new, and looks at histories."""
    family = Family("dropping", (COLUMN,), post=drop, is_logged=True, of_histories=request.param)
    ours = factors.families()
    monkeypatch.setattr(factors, "families", lambda asked=(): [*ours, family])
    return family


def drops(folder: Path) -> Rows:
    return in_sqlite(folder, "'dropping/drop'")


def measured(indelible: Indelible, folder: Path, *more: str) -> tuple[dict[str, Any], str]:
    answer = indelible(folder, "measure", *more, "--format", "json")
    assert answer.code == 0, answer.err
    (row,) = json.loads(answer.out)
    return row, answer.err


def test_a_factor_of_histories_is_the_same(
    by_runs: Path, copy: Path, tmp_path: Path, family: Family, indelible: Indelible
) -> None:
    shutil.copytree(by_runs, tmp_path / "runs")
    for folder in (tmp_path / "runs", copy):
        assert measured(indelible, folder)[0]["measured"] == 2 * SAMPLES
    assert drops(copy) == drops(tmp_path / "runs")
    assert len(drops(copy)) > SAMPLES


def test_without_histories_it_is_not_measured(
    store: Store, family: Family, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [each for each in factors.families() if each is not family]
    with monkeypatch.context() as patch:
        patch.setattr(factors, "families", lambda asked=(): ours)
        swept(store, replace(HOW, histories=Histories.NONE), ("ga",))
    folder = store.address.folder
    row, said = measured(indelible, folder)
    assert drops(folder) == []
    assert row["measured"] == 0
    if family.of_histories:
        assert f"{SAMPLES} members have no histories, and lack dropping of {SAMPLES}: " in said
        assert (row["without_checkpoint"], row["without_histories"]) == (0, SAMPLES)
        again, _ = measured(indelible, folder, "--recompute")
        assert again["recomputed"] == SAMPLES
        assert len(drops(folder)) > SAMPLES // 2
    else:
        assert row["lost"] == SAMPLES
        assert "post/dropping of" in said
        assert "it looks at histories, and these are not kept" in said


# The option


@pytest.mark.parametrize("said", ["child", "", "Runs"])
def test_another_word_is_one_line(said: str, tmp_path: Path, indelible: Indelible) -> None:
    answer = indelible(tmp_path, "sweep", "--algorithm", "ga", "--histories", said)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert "'--histories'" in line
    assert "'runs', 'parent', 'none'" in line
