"""What is read is not trusted: a damaged or foreign file is one line, never a traceback."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from safetensors.numpy import load, save

from tests.tracker.conftest import ALGORITHMS, SAMPLES, Answer, Done, Indelible
from tracker.store.records import Kind

SWEEP = ("sweep", *(word for name in ALGORITHMS for word in ("--algorithm", name)))
SWEEP = (*SWEEP, "--samples", str(SAMPLES))


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done.folder, tmp_path / "copy"))


@pytest.fixture
def runs(done: Done) -> dict[str, str]:
    """Run ids by name."""
    return {run.name: run.run_id for run in done.store.finished_runs(Kind.MEMBER)}


def artifact(folder: Path, run_id: str, pattern: str) -> Path:
    (path,) = folder.glob(f"artifacts/*/{run_id}/artifacts/{pattern}")
    return path


def one_line(answer: Answer, *said: str, code: int = 2) -> None:
    assert answer.code == code, answer
    lines = answer.err.splitlines()
    assert lines[-1].startswith("indelible: "), answer.err
    assert sum(line.startswith("indelible: ") for line in lines) == 1
    assert "Traceback" not in answer.err
    for word in said:
        assert word in lines[-1], lines[-1]


# Checkpoints

Change = Callable[[Path], None]


def rewritten(change: Callable[[bytes], bytes]) -> Change:
    def rewrite(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return rewrite


CHECKPOINTS: dict[str, Change] = {
    "no header": rewritten(lambda content: save(load(content))),
    "missing": Path.unlink,
    "flipped": rewritten(lambda content: content[:900] + bytes([content[900] ^ 4]) + content[901:]),
}
MENDED = ("flipped",)  # also repaired, which takes long


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(
    copy: Path, indelible: Indelible, runs: dict[str, str], tmp_path: Path, name: str
) -> None:
    run_id = runs[min(runs)]
    CHECKPOINTS[name](artifact(copy, run_id, "checkpoint-*"))
    answer = indelible(copy, "restore", run_id, "--output", tmp_path / "out")
    one_line(answer, "checkpoint")
    assert answer.out == ""
    assert not (tmp_path / "out").exists()
    indelible(copy, "load")
    checked = indelible(copy, "check", "--format", "json")
    (problem,) = json.loads(checked.out)
    assert (problem["audit"], problem["run_id"]) == ("artifact", run_id)
    if name not in MENDED:
        return
    repaired = indelible(copy, "check", "--repair", "--yes")
    assert repaired.code == 0, repaired.err
    assert indelible(copy, *SWEEP).code == 0
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check").code == 0
    assert indelible(copy, "restore", run_id, "--output", tmp_path / "out").code == 0


def test_a_checkpoint_of_another_run(
    copy: Path, indelible: Indelible, runs: dict[str, str], tmp_path: Path
) -> None:
    """Whole, of the same base model, and not this run's."""
    one, other = (runs[name] for name in sorted(runs)[:2])
    path = artifact(copy, one, "checkpoint-*")
    shutil.copy(artifact(copy, other, "checkpoint-*"), path)
    one_line(indelible(copy, "restore", one, "--output", tmp_path / "out"), "not what was written")
    indelible(copy, "load")
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert (problem["audit"], problem["run_id"]) == ("artifact", one)
    # with its tag, too
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        (sha256,) = db.execute(
            "select value from tags where key = 'checkpoint' and run_uuid = ?", (other,)
        ).fetchone()
        db.execute(
            "update tags set value = ? where key = 'checkpoint' and run_uuid = ?", (sha256, one)
        )
    path.rename(path.with_name(f"checkpoint-{sha256[:16]}.safetensors"))
    answer = indelible(copy, "restore", one, "--output", tmp_path / "out")
    one_line(answer, "belongs to another run")
    assert not (tmp_path / "out").exists()
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert "belongs to another run" in problem["problem"]


# Base models


def test_weights_of_a_base_model(
    copy: Path, done: Done, indelible: Indelible, runs: dict[str, str], tmp_path: Path
) -> None:
    path = artifact(copy, done.model, "weights-*")
    content = path.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        content[:9000] + bytes([content[9000] ^ 4]) + content[9001:],
    ):
        path.write_bytes(damaged)
        answer = indelible(copy, "restore", runs[min(runs)], "--output", tmp_path / "out")
        one_line(answer, "weights")
        assert not (tmp_path / "out").exists()
    indelible(copy, "load")
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert (problem["audit"], problem["run_id"]) == ("artifact", done.model)


@pytest.mark.slow
def test_parts_beside_a_base_model(copy: Path, done: Done, indelible: Indelible) -> None:
    path = artifact(copy, done.model, "pre_factors-*")
    path.write_bytes(path.read_bytes()[:-7])
    indelible(copy, "load")
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert problem["repair"].startswith("forget pre_factors/")
    assert indelible(copy, *SWEEP[:-1], SAMPLES + 1, "--name", "more").code == 0
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check", "--repair", "--yes").code == 0


# Plans

PLANS: dict[str, bytes] = {
    "list": b"[]",
    "ids that are texts": b'{"name": "x", "algorithms": {}, "sample_ids": ["a"], "factors": []}',
    "another sweep's": b'{"name": "x", "algorithms": {}, "sample_ids": [1], "factors": []}',
}
MENDED_PLAN = "another sweep's"


@pytest.mark.parametrize("name", PLANS)
def test_plans(copy: Path, done: Done, indelible: Indelible, name: str) -> None:
    path = artifact(copy, done.sweep, "plan.json")
    path.write_bytes(PLANS[name])
    answer = indelible(copy, "load", "--deep")
    one_line(answer, code=1)
    assert f"plan.json of sweep {done.sweep}" in answer.err
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert (problem["audit"], problem["run_id"]) == ("artifact", done.sweep)
    assert "called again" in problem["problem"]
    if name != MENDED_PLAN:
        return
    assert indelible(copy, *SWEEP).code == 0
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check").code == 0


# Databases


def without_schema(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table something (else_ text)")


def garbled(path: Path) -> None:
    """Whoever reads other pages than these sees nothing of it."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x55" * 40_000 + content[44_096:])


DATABASES: dict[str, Change] = {
    "no database": rewritten(lambda _: b"no database" * 999),
    "another's": without_schema,
    "garbled": garbled,
}


@pytest.mark.parametrize("change", DATABASES.values(), ids=DATABASES)
def test_databases(copy: Path, indelible: Indelible, tmp_path: Path, change: Change) -> None:
    before = {p: p.read_bytes() for p in (copy / "artifacts").rglob("*") if p.is_file()}
    change(copy / "mlflow.db")
    for log in copy.glob("mlflow.db-*"):
        log.unlink()
    out = ("--output", tmp_path / "out")
    commands = [("models",), ("load",), ("check", "--repair", "--yes"), SWEEP, ("train",)]
    for command in (*commands, ("restore", "0" * 32, *out)):
        answer = indelible(copy, *command)
        if change is not garbled or command[0] == "check":
            assert answer.code in (1, 2), (command, answer)
        if answer.code:
            one_line(answer, code=answer.code)
        for word in ("select ", "SELECT ", "[SQL", "sqlite3.", "sqlalche.me"):
            assert word not in answer.err, answer.err
    assert {p: p.read_bytes() for p in before} == before


# Sample ids


def test_sample_ids(done: Done, indelible: Indelible, tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    for content, said in {
        "1 2".encode("utf-16"): "or a file with them",
        b"9" * 100: "which holds '999",
        b"-1": "'-1'",
        b"1\x1b[31m": r"\x1b",
    }.items():
        file.write_bytes(content)
        answer = indelible(done.folder, "sweep", "--algorithm", "ga", "--sample-ids", file)
        one_line(answer, said)
        assert "\x1b" not in answer.err
        assert answer.out == ""
