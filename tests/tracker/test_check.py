"""`check` finds what is not whole, and `--repair` mends it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.conftest import Answer, Done, Indelible
from tests.tracker.test_merge import a_bit_of_an_index
from tracker.store.opening import open_store


def long_ago(path: Path) -> None:
    """Younger files may be a running sweep's."""
    os.utime(path, (0, 0))


Damage = Callable[[sqlite3.Connection, Path], None]


@pytest.fixture
def copy(done: Done, tmp_path: Path, indelible: Indelible) -> Path:
    """A store of one's own to damage: a copy whose artifacts are its own too."""
    folder = tmp_path / "copy"
    shutil.copytree(done.folder, folder)
    assert indelible(folder, "load").code == 0
    return folder


def problems(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == (1 if json.loads(answer.out) else 0)
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def a_member(db: sqlite3.Connection) -> str:
    (run_id,) = db.execute(
        "select run_uuid from tags where key = 'kind' and value = 'member' order by 1 limit 1"
    ).fetchone()
    return str(run_id)


def checkpoint(db: sqlite3.Connection) -> Path:
    query = "select artifact_uri from runs where run_uuid = ?"
    (uri,) = db.execute(query, (a_member(db),)).fetchone()
    (path,) = Path(uri.removeprefix("file://")).glob("checkpoint-*.safetensors")
    return path


def damage_artifact(db: sqlite3.Connection, folder: Path) -> None:
    path = checkpoint(db)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_metrics(db: sqlite3.Connection, folder: Path) -> None:
    db.execute("delete from latest_metrics where run_uuid = ?", (a_member(db),))


def leave_half_written(db: sqlite3.Connection, folder: Path) -> None:
    db.execute("update runs set status = 'RUNNING' where run_uuid = ?", (a_member(db),))


def lose_parent(db: sqlite3.Connection, folder: Path) -> None:
    db.execute(
        "update tags set value = 'nowhere' where key = 'mlflow.parentRunId' and run_uuid = ?",
        (a_member(db),),
    )


def double_a_key(db: sqlite3.Connection, folder: Path) -> None:
    keys = db.execute("select value from tags where key = 'key' and value like '%-%' limit 2")
    (one,), (other,) = keys.fetchall()
    db.execute("update tags set value = ? where key = 'key' and value = ?", (one, other))


def change_gt(db: sqlite3.Connection, folder: Path) -> None:
    db.execute(
        "update latest_metrics set value = value * 1.01 where key = 'gt' and run_uuid = ?",
        (a_member(db),),
    )


def leave_a_folder(db: sqlite3.Connection, folder: Path) -> None:
    orphan = folder / "artifacts" / "digits-small-cnn" / ("0" * 32)
    (orphan / "artifacts").mkdir(parents=True)
    (orphan / "artifacts" / "plan.json").write_bytes(b"{}")
    for path in (orphan / "artifacts", orphan):
        long_ago(path)


MENDED: dict[str, tuple[Damage, ...]] = {
    "artifact": (damage_artifact,),
    "finished_without_metrics": (lose_metrics,),
    "half_written": (leave_half_written,),
    "doubled_key": (double_a_key,),
    "orphan_folder": (leave_a_folder,),
}
ONLY_SAID: dict[str, tuple[Damage, ...]] = {
    "child_without_parent": (lose_parent,),
    "gt_does_not_follow": (change_gt,),
    "database": (lambda _, folder: a_bit_of_an_index(folder),),
}


def cases(table: dict[str, tuple[Damage, ...]]) -> list[tuple[str, Damage]]:
    return [(audit, damage) for audit, damages in table.items() for damage in damages]


def test_repair_looks_again_after_the_answer(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(copy / "mlflow.db") as db:
        path = checkpoint(db)
        run_id = a_member(db)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    monkeypatch.setattr(
        importlib.import_module("tracker.cli.keep"),
        "confirm",
        lambda *_, **__: path.write_bytes(whole),
    )
    answer = indelible(copy, "check", "--repair")
    assert (answer.code, "no problem found" in answer.err) == (0, True)
    assert path.read_bytes() == whole
    assert open_store(copy).client.get_run(run_id).info.lifecycle_stage == "active"


@pytest.mark.parametrize(("audit", "damage"), cases(MENDED) + cases(ONLY_SAID))
def test_every_audit_finds_its_offence(
    copy: Path, indelible: Indelible, audit: str, damage: Damage
) -> None:
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        damage(db, copy)
    found = problems(indelible(copy, "check", "--format", "json"))
    assert {row["audit"] for row in found} == {audit}


@pytest.mark.slow
@pytest.mark.parametrize(("audit", "damage"), cases(MENDED))
def test_repair_mends_it_and_the_sweep_redoes_what_is_missing(
    copy: Path, indelible: Indelible, audit: str, damage: Damage
) -> None:
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        damage(db, copy)
    assert problems(indelible(copy, "check", "--repair", "--yes", "--format", "json")) == []
    assert not (copy / "artifacts" / "digits-small-cnn" / ("0" * 32)).exists()
    names = ("ga", "neggrad", "scrub", "salun")
    options = [word for name in names for word in ("--algorithm", name)]
    assert indelible(copy, "sweep", *options, "--samples", 8).code == 0
    indelible(copy, "load")
    answer = indelible(copy, "sql", "select count(*) as n from attempts", "--format", "json")
    assert json.loads(answer.out) == [{"n": 32}]
    assert problems(indelible(copy, "check", "--format", "json")) == []
