"""A store knows itself: copies, moves, other databases and disks that are not there."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_store
from unlearning import training
from unlearning.recipe import Recipe

# Most of them copy a store, and run every command on it.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_figures")]

SWEEP = ("sweep", *(word for name in ALGORITHMS for word in ("--algorithm", name)))
READING = [
    *(("models",), ("sweeps",), ("load",), ("check",), ("correlate",), ("rank",), ("agree",)),
    *(("sql", "from runs"), ("schema",), ("report",), ("figures",), ("ui",), ("reliability",)),
    *(("restore", "0" * 32, "--output", "x"), ("sample", "1"), ("compare",), ("prune",)),
    ("check", "--repair", "--yes"),
]


def files(folder: Path) -> dict[str, bytes]:
    """Artifacts by their place in the store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "artifacts").rglob("*"))
        if path.is_file()
    }


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        return db.execute(query).fetchall()


def a_member(folder: Path) -> str:
    kind = "select min(run_uuid) from tags where key = 'kind' and value = 'member'"
    return str(rows(folder, kind)[0][0])


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    """A copy of a store, as `cp -a` makes it."""
    return Path(shutil.copytree(done.folder, tmp_path / "copy of it"))


def test_repair_with_another_database_removes_nothing(
    done: Done, copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    before = files(copy)
    elsewhere = tmp_path / "elsewhere"
    assert indelible(elsewhere, "train", "--epochs", 1).code == 0
    for uri in (f"sqlite:///{elsewhere / 'mlflow.db'}", f"sqlite:///{tmp_path / 'new.db'}"):
        answer = indelible(copy, "--tracking-uri", uri, "check", "--repair", "--yes")
        assert answer.code == 2
        assert "--store" in answer.err or "no store" in answer.err
    assert files(copy) == before


@pytest.mark.parametrize("emptied", ["truncated", "removed", "new"])
def test_repair_with_an_emptied_database_removes_nothing(
    copy: Path, indelible: Indelible, emptied: str, tmp_path: Path
) -> None:
    before, database = files(copy), copy / "mlflow.db"
    database.unlink()
    if emptied == "truncated":
        database.touch()
    elif emptied == "new":  # with MLflow's tables, and nothing in them
        MlflowClient(f"sqlite:///{database}").search_experiments()
    for command in (("check", "--repair", "--yes"), ("train", "--epochs", "1"), ("load",)):
        answer = indelible(copy, *command)
        assert answer.code == 2
        assert "Traceback" not in answer.err
    assert files(copy) == before


def test_a_store_from_before_ids_is_adopted_only_by_its_own_database(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    age(copy)
    other = tmp_path / "other"
    assert indelible(other, "train", "--epochs", 1).code == 0
    age(other)
    before = files(copy)
    uri = f"sqlite:///{other / 'mlflow.db'}"
    answer = indelible(copy, "--tracking-uri", uri, "check", "--repair", "--yes")
    assert answer.code == 2
    assert files(copy) == before
    assert indelible(copy, *SWEEP, "--samples", SAMPLES).code == 0
    store = json.loads((copy / "store.json").read_text())["store"]
    tags = rows(copy, "select value from experiment_tags where key = 'indelible.store'")
    assert tags == [(store,)]


def age(folder: Path) -> None:
    """Take out of a store what says whose it is."""
    (folder / "store.json").unlink()
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        db.execute("delete from experiment_tags where key = 'indelible.store'")


# Copies and moves


def test_a_copy_that_sweeps_leaves_the_original_alone(
    done: Done, copy: Path, indelible: Indelible
) -> None:
    before = files(done.folder)
    options = ("--samples", SAMPLES + 3, "--checkpoints", "hardest:2", "--name", "more")
    answer = indelible(copy, *SWEEP, *options)
    assert answer.code == 0, answer.err
    assert str(done.folder) in answer.err  # it is said where the store was
    assert files(done.folder) == before
    assert before.items() <= files(copy).items()  # what the first sweep wanted is kept
    assert indelible(done.folder, "check").code == 0
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check").code == 0


def test_a_moved_store_is_a_store(copy: Path, indelible: Indelible, tmp_path: Path) -> None:
    indelible(copy, "load")
    before, outcomes = files(copy), asked(indelible, copy)
    moved = copy.rename(tmp_path / "moved")
    for command in every_command(moved, tmp_path):
        answer = indelible(moved, *command)
        assert answer.code == 0, (command, answer.err)
    assert asked(indelible, moved) == outcomes
    assert before.items() <= files(moved).items()
    assert not copy.exists()


def asked(indelible: Indelible, folder: Path) -> list[Any]:
    query = "select run_id, gt from outcomes where sweep_id = (select sweep_id from sweeps "
    query += "order by started_at limit 1) order by run_id"
    found: list[Any] = json.loads(indelible(folder, "sql", query, "--format", "json").out)
    assert len(found) == SAMPLES * len(ALGORITHMS)
    return found


def every_command(folder: Path, out: Path) -> list[tuple[object, ...]]:
    """Commands that work on a store that has a sweep."""
    return [
        ("restore", a_member(folder), "--output", out / "w.safetensors"),
        ("check", "--repair", "--yes"),
        ("load", "--deep"),
        *(("models",), ("sweeps",), ("correlate",), ("rank",), ("agree",), ("compare",)),
        *(("reliability",), ("schema",), ("sql", "from sweeps"), ("sample", a_sample(folder))),
        ("report", "--output", out / "report"),
        ("report", "--log"),
        ("figures", "--output", out / "figures"),
        (*SWEEP, "--samples", SAMPLES),
        (*SWEEP, "--samples", SAMPLES + 1, "--name", "another"),
        ("train",),
        ("prune",),
        ("load",),
        ("check",),
    ]


def a_sample(folder: Path) -> str:
    return str(rows(folder, "select value from tags where key = 'sample_id' limit 1")[0][0])


def test_a_copy_under_every_command(copy: Path, indelible: Indelible, tmp_path: Path) -> None:
    for command in every_command(copy, tmp_path):
        answer = indelible(copy, *command)
        assert answer.code == 0, (command, answer.err)


def test_mlflow_finds_the_artifacts_of_a_moved_store(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    indelible(copy, "models")
    client = MlflowClient(f"sqlite:///{copy / 'mlflow.db'}")
    (model,) = json.loads(indelible(copy, "models", "--format", "json").out)
    names = [file.path for file in client.list_artifacts(model["run_id"])]
    weights = next(name for name in names if name.startswith("weights"))
    path = Path(client.download_artifacts(model["run_id"], weights, str(tmp_path)))
    assert path.stat().st_size > 1000
    uris = rows(
        copy, "select artifact_uri from runs union select artifact_location from experiments"
    )
    ours = [uri for (uri,) in uris if "digits" in uri]
    assert ours
    assert all(uri.startswith(copy.as_uri()) for uri in ours)


def test_a_store_seen_under_another_name_is_not_a_moved_one(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    indelible(copy, "models")
    link = tmp_path / "link"
    link.symlink_to(copy)
    answer = indelible(link, "models")
    assert (answer.code, answer.err) == (0, "")
    mark = json.loads((copy / "store.json").read_text())
    assert mark["folder"] == str(copy)


# Where nothing is to be made


@pytest.mark.parametrize("command", READING, ids=lambda command: " ".join(command[:2]))
def test_reading_makes_no_store(
    indelible: Indelible, tmp_path: Path, command: tuple[str, ...]
) -> None:
    answer = indelible(tmp_path / "none", *command)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_reading_makes_no_database(indelible: Indelible, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    for command in ("models", "load", "check"):
        answer = indelible(tmp_path / "none", "--tracking-uri", uri, command)
        assert (answer.code, answer.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--store", "--data-dir"])
def test_an_empty_folder_name_is_refused(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracker.cli import run

    monkeypatch.chdir(tmp_path)
    assert run([option, "", "train", "--epochs", "1"]) == 2
    assert list(tmp_path.iterdir()) == []


# Other disks


@pytest.fixture
def another_disk(copy: Path, tmp_path: Path) -> Path:
    """A folder elsewhere with the artifacts of the copy, which has a link to it."""
    disk = tmp_path / "disk"
    shutil.move(copy / "artifacts", disk)
    (copy / "artifacts").symlink_to(disk)
    return disk


def test_artifacts_on_another_disk(
    copy: Path, another_disk: Path, indelible: Indelible, tmp_path: Path
) -> None:
    for command in every_command(copy, tmp_path):
        answer = indelible(copy, *command)
        assert answer.code == 0, (command, answer.err)
    assert (copy / "artifacts").is_symlink()
    assert list(another_disk.iterdir())


def test_a_disk_that_is_away_is_no_answer(
    copy: Path, another_disk: Path, indelible: Indelible, tmp_path: Path
) -> None:
    indelible(copy, "load")
    before = asked(indelible, copy)
    away = another_disk.rename(tmp_path / "away")
    another_disk.mkdir()  # what is there where a disk is not mounted
    for command in (("load", "--deep"), ("check", "--repair", "--yes")):
        answer = indelible(copy, *command)
        assert (answer.code, answer.out) == (1, "")
        assert "mount it" in answer.err
    assert asked(indelible, copy) == before
    another_disk.rmdir()
    away.rename(another_disk)
    assert indelible(copy, "load", "--deep").code == 0
    assert asked(indelible, copy) == before
    assert indelible(copy, "check").code == 0


@pytest.fixture
def read_only(copy: Path, tmp_path: Path) -> Iterator[Path]:
    """The copy, on a file system that cannot be written."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "--bind", copy, mounted], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs to mount a file system")
    subprocess.run(["mount", "-o", "remount,ro,bind", mounted], check=True)
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_store_on_a_read_only_mount(
    read_only: Path, copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    before = files(copy)
    for command in every_command(copy, tmp_path):
        answer = indelible(read_only, *command)
        assert "Traceback" not in answer.err
        writes = command[0] in ("sweep", "train") or {"--log", "--deep"} & set(command)
        if writes:
            assert answer.code in (1, 2), command
            assert answer.err.splitlines()[-1].startswith("indelible: "), command
            assert answer.out == ""
        else:
            assert answer.code == 0, (command, answer.err)
    assert files(copy) == before


MOVED_WHILE = """
import os, sys
from pathlib import Path
from tracker.store import identity
from tracker.cli import run
real = identity.repoint
def repoint(address, roots):
    real(address, roots)
    os._exit(9)  # before the folder says where it is
identity.repoint = repoint
sys.exit(run(["--store", sys.argv[1], "models"]))
"""


def test_a_process_killed_at_the_first_use_of_a_moved_store(
    copy: Path, indelible: Indelible
) -> None:
    killed = subprocess.run([sys.executable, "-c", MOVED_WHILE, str(copy)], check=False)
    assert killed.returncode == 9
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check").code == 0
    indelible(copy, *SWEEP, "--samples", SAMPLES)
    assert json.loads((copy / "store.json").read_text())["folder"] == str(copy)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"store": 1}', "\udcff", "[" * 9999])
def test_a_damaged_mark_is_one_line(copy: Path, indelible: Indelible, content: str) -> None:
    (copy / "store.json").write_text(content, errors="surrogateescape")
    for command in (("models",), (*SWEEP, "--samples", 1), ("check", "--repair", "--yes")):
        answer = indelible(copy, *command)
        assert answer.code == 2
        assert "store.json" in answer.err
        assert len(answer.err.splitlines()) == 1


# Copies that share files with the original


def shared(original: Path, target: Path, part: str) -> Path:
    """A copy whose artifacts are a link to the original's, or whose database is the same file."""
    if part == "artifacts":
        (original / part).rename(original / "big disk")
        (original / part).symlink_to(original / "big disk")
        return Path(shutil.copytree(original, target, symlinks=True))
    return Path(shutil.copytree(original, target, copy_function=os.link))


@pytest.mark.parametrize("part", ["artifacts", "mlflow.db"])
@pytest.mark.parametrize("command", [("load",), ("check", "--repair", "--yes"), SWEEP])
def test_a_copy_that_shares_files_is_refused(
    copy: Path, indelible: Indelible, tmp_path: Path, part: str, command: tuple[str, ...]
) -> None:
    assert indelible(copy, "sweeps").code == 0  # so that the original is known by its folder
    before, runs = files(copy), rows(copy, "select * from runs order by run_uuid")
    answer = indelible(shared(copy, tmp_path / "other", part), *command)
    assert answer.code == 2
    assert f"is also that of the store in {copy}" in answer.err
    assert "Give this store a copy of its own" in answer.err
    assert files(copy) == before
    assert rows(copy, "select * from runs order by run_uuid") == runs
    assert indelible(copy, "load", "--deep").code == 0
    assert indelible(copy, "check").code == 0


def test_a_link_to_a_store_is_the_store(copy: Path, indelible: Indelible, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(copy)
    assert indelible(link, "load", "--deep").code == 0
    assert indelible(link, "check").code == 0


def test_a_store_that_is_moved_during_a_sweep_stops_it(
    copy: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, real = tmp_path / "moved", SqlStore.write_members

    def moving(self: SqlStore, *arguments: Any) -> Any:
        if copy.exists():
            copy.rename(moved)
        return real(self, *arguments)

    monkeypatch.setattr(SqlStore, "write_members", moving)
    answer = indelible(copy, "sweep", "--algorithm", "ga", "--samples", 9, "--seed", 5)
    monkeypatch.undo()
    assert answer.code == 1
    assert f"{copy / 'artifacts'} is not there" in answer.err
    assert not copy.exists()
    assert indelible(moved, "load").code == 0
    assert indelible(moved, "check").code == 0


# Base models that MLflow deleted


def base_run(folder: Path) -> str:
    kind = "select run_uuid from tags where key = 'kind' and value = 'base_model'"
    return str(rows(folder, kind)[0][0])


def test_a_deleted_base_model_is_missed_and_comes_back(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    before = files(copy)
    assert indelible(copy, "sweeps").code == 0
    open_store(copy).discard([done.model])
    assert indelible(copy, "load").code == 0
    checked = indelible(copy, "check", "--format", "json")
    assert checked.code == 1
    found = {row["audit"] for row in json.loads(checked.out)}
    assert found == {"artifact", "sweep_without_base_model"}
    assert f"{SAMPLES * len(ALGORITHMS)} checkpoints need" in checked.out
    for command in (("report",), ("figures",), ("compare",)):
        answer = indelible(copy, *command)
        assert (answer.code, answer.out) == (2, "")
        assert "base model" in answer.err.splitlines()[-1]
    assert indelible(copy, "train").id == done.model
    assert files(copy) == before
    assert indelible(copy, "load", "--deep").code == 0
    assert indelible(copy, "check").code == 0


def test_another_model_of_the_same_recipe_does_not_take_its_place(
    copy: Path, done: Done, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another machine comes to other weights."""
    (weights,) = (copy / "artifacts").glob(f"*/{done.model}/artifacts/weights-*")
    whole = weights.read_bytes()
    weights.write_bytes(b"lost")
    open_store(copy).discard([done.model])
    real = training.train

    def otherwise(dataset: Any, arch: str, recipe: Recipe, *rest: Any) -> Any:
        return real(dataset, arch, replace(recipe, epochs=2), *rest)

    monkeypatch.setattr(training, "train", otherwise)
    other = indelible(copy, "train")
    assert other.code == 0
    assert other.id != done.model
    weights.write_bytes(whole)
    open_store(copy).client.restore_run(done.model)
    member = a_member(copy)
    assert indelible(copy, "restore", member, "--output", copy / "x").code == 0
    assert indelible(copy, "load", "--deep").code == 0
    assert indelible(copy, "check").code == 0


def test_a_deleted_experiment_is_one_line(copy: Path, indelible: Indelible) -> None:
    client = open_store(copy).client
    for experiment in client.search_experiments():
        if experiment.name.startswith("indelible/"):
            client.delete_experiment(experiment.experiment_id)
    answer = indelible(copy, "train", "--epochs", 1)
    assert answer.code == 2
    assert "mlflow experiments restore --experiment-id" in answer.err.splitlines()[-1]
