"""A store knows itself: copies, moves, other databases and disks that are not there."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible
from tracker.store.opening import open_store

# Most of them copy a store, and run commands on it.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_figures")]

SWEEP = ("sweep", *(word for name in ALGORITHMS for word in ("--algorithm", name)))
READING = [("models",), ("load",), ("check", "--repair", "--yes"), ("prune",), ("ui",), ("report",)]


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


# Databases of others


def test_repair_with_another_database_removes_nothing(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    before, elsewhere = files(copy), tmp_path / "elsewhere"
    assert indelible(elsewhere, "train", "--epochs", 1).code == 0
    repair = ("check", "--repair", "--yes")
    uri = f"sqlite:///{elsewhere / 'mlflow.db'}"
    answer = indelible(copy, "--tracking-uri", uri, *repair)
    assert (answer.code, "--store" in answer.err) == (2, True)
    database = copy / "mlflow.db"
    for emptied in (Path.touch, lambda path: MlflowClient(f"sqlite:///{path}"), lambda path: None):
        database.unlink(missing_ok=True)
        emptied(database)  # a file of no bytes, MLflow's tables with nothing in them, no file
        for command in (repair, ("train", "--epochs", "1")):
            answer = indelible(copy, *command)
            assert answer.code == 2
            assert "Traceback" not in answer.err
    assert files(copy) == before


# Copies and moves

MORE = ("--samples", SAMPLES + 1, "--checkpoints", "hardest:2", "--name", "more")


def asked(indelible: Indelible, folder: Path) -> list[Any]:
    query = "select run_id, gt from attempts where sweep_id = (select sweep_id from sweeps "
    query += "order by started_at limit 1) order by run_id"
    found: list[Any] = json.loads(indelible(folder, "sql", query, "--format", "json").out)
    assert len(found) == SAMPLES * len(ALGORITHMS)
    return found


def commands(folder: Path, out: Path) -> list[tuple[object, ...]]:
    """Those that read a store, and, last, those that write into it."""
    return [
        ("restore", a_member(folder), "--output", out / "w.safetensors"),
        ("check", "--repair", "--yes"),
        ("sql", "from sweeps"),
        ("report", "--output", out / "report"),
        ("load", "--deep"),
        (*SWEEP, *MORE),
        ("load",),
        ("check",),
    ]


def test_a_moved_store_is_a_store(copy: Path, indelible: Indelible, tmp_path: Path) -> None:
    assert indelible(copy, "load").code == 0
    before, outcomes = files(copy), asked(indelible, copy)
    moved, link = copy.rename(tmp_path / "moved"), tmp_path / "link"
    for command in commands(moved, tmp_path):
        answer = indelible(moved, *command)
        assert answer.code == 0, (command, answer.err)
    link.symlink_to(moved)  # by which it is the same store
    assert indelible(link, "models").err == ""
    assert json.loads((moved / "store.json").read_text())["folder"] == str(moved)
    assert asked(indelible, moved) == outcomes
    assert before.items() <= files(moved).items()  # what the first sweep wanted is kept
    assert not copy.exists()
    (moved / "store.json").write_text("[]")
    for command in (("models",), ("check", "--repair", "--yes")):
        answer = indelible(moved, *command)
        assert (answer.code, len(answer.err.splitlines())) == (2, 1)
        assert "store.json" in answer.err


def test_a_copy_that_sweeps_leaves_the_original_alone(
    done: Done, copy: Path, indelible: Indelible
) -> None:
    before = files(done.folder)
    answer = indelible(copy, *SWEEP, *MORE)
    assert answer.code == 0, answer.err
    assert str(done.folder) in answer.err  # it is said where the store was
    assert files(done.folder) == before


def test_a_copy_that_shares_files_is_refused(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    """Its artifacts are a link to the original's."""
    open_store(copy)  # so that the original is known by its folder
    other, before = tmp_path / "other", files(copy)
    (copy / "artifacts").rename(copy / "big disk")
    (copy / "artifacts").symlink_to(copy / "big disk")
    shutil.copytree(copy, other, symlinks=True)
    for command in (("load",), ("check", "--repair", "--yes"), SWEEP):
        answer = indelible(other, *command)
        assert answer.code == 2
        assert f"is also that of the store in {copy}" in answer.err
    assert files(copy) == before


# Where nothing is to be made


def test_reading_makes_nothing(indelible: Indelible, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    for command in READING:
        for to in ([], ["--tracking-uri", uri]):
            answer = indelible(tmp_path / "none", *to, *command)
            assert (answer.code, answer.out) == (2, ""), command
            assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# Other disks


def test_artifacts_on_another_disk_that_may_be_away(
    copy: Path, indelible: Indelible, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    shutil.move(copy / "artifacts", disk)
    (copy / "artifacts").symlink_to(disk)
    assert indelible(copy, "load").code == 0
    before = asked(indelible, copy)
    away = disk.rename(tmp_path / "away")
    disk.mkdir()  # what is there where a disk is not mounted
    for command in (("load", "--deep"), ("check", "--repair", "--yes")):
        answer = indelible(copy, *command)
        assert (answer.code, answer.out) == (1, "")
        assert "mount it" in answer.err
    assert asked(indelible, copy) == before
    disk.rmdir()
    away.rename(disk)
    assert indelible(copy, *SWEEP, *MORE).code == 0
    assert indelible(copy, "load", "--deep").code == 0
    assert asked(indelible, copy) == before
    assert (copy / "artifacts").is_symlink()


def test_a_store_on_a_read_only_mount(copy: Path, indelible: Indelible, tmp_path: Path) -> None:
    mounted, before = tmp_path / "mounted", files(copy)
    mounted.mkdir()
    bind = ["mount", "--bind", str(copy), str(mounted)]
    if os.geteuid() != 0 or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    subprocess.run(["mount", "-o", "remount,ro,bind", mounted], check=True)
    try:
        for command in commands(copy, tmp_path)[:-2]:
            answer = indelible(mounted, *command)
            assert "Traceback" not in answer.err
            if command[0] == "sweep" or "--deep" in command:
                assert answer.code in (1, 2), command
                assert answer.err.splitlines()[-1].startswith("indelible: "), command
                assert answer.out == ""
            else:
                assert answer.code == 0, (command, answer.err)
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
    assert files(copy) == before


# What was deleted in MLflow


def test_a_deleted_base_model_is_missed_and_comes_back(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    before = files(copy)
    open_store(copy).discard([done.model])
    assert indelible(copy, "load").code == 0
    checked = indelible(copy, "check", "--format", "json")
    assert {row["audit"] for row in json.loads(checked.out)} == {"sweep_without_base_model"}
    answer = indelible(copy, "report")
    assert (answer.code, answer.out) == (2, "")
    assert "base model" in answer.err.splitlines()[-1]
    assert indelible(copy, "train").id == done.model
    assert files(copy) == before
    assert indelible(copy, "load", "--deep").code == 0
    assert indelible(copy, "check").code == 0
