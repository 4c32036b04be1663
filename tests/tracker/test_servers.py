"""Other stores than the embedded one: PostgreSQL, and an MLflow server over HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import servers
from tests.ports import free_port, wait_for_server
from tests.postgres import server, why_not
from tests.tracker.conftest import Indelible
from tracker.record.opening import open_store
from tracker.record.records import Kind

pytestmark = pytest.mark.slow

# What is faster may be chosen otherwise the next time: here it is said.
MEMBERS = ("--algorithm", "ga", "--algorithm", "salun", "--samples", 4)
SWEEP = ("sweep", *MEMBERS, "--execution", "stacked")


def the_main_job(indelible: Indelible, folder: Path, uri: str) -> dict[tuple[str, int], float]:
    """Train, predict, sweep twice, load twice, grade, restore; GT by algorithm and sample."""
    to = ("--tracking-uri", uri)
    assert indelible(folder, *to, "train", "--epochs", 3).code == 0
    assert indelible(folder, *to, "predict", *MEMBERS).code == 0
    first = indelible(folder, *to, *SWEEP)
    assert first.code == 0, first.err
    again = indelible(folder, *to, *SWEEP)
    assert again.id == first.id
    assert "found" in again.err
    assert "runs read" in indelible(folder, *to, "load").err
    assert "nothing new" in indelible(folder, *to, "load").err
    rows = json.loads(indelible(folder, "sql", "from outcomes", "--format", "json").out)
    assert len(rows) == 8
    curves = json.loads(indelible(folder, "sql", "from histories", "--format", "json").out)
    assert len(curves) == sum((row["steps"] or 0) + 1 for row in rows)
    graded = indelible(folder, *to, "predict", "--score", first.id, "--format", "json")
    assert {row["members"] for row in json.loads(graded.out)} == {4}
    restored = folder / "weights.safetensors"
    run_id = next(row["run_id"] for row in rows if row["gt"] is not None)
    asked = ("restore", run_id, "--output", restored)
    assert indelible(folder, *to, *asked).code == 0
    assert restored.exists()
    assert indelible(folder, *to, "check").code == 0
    return {(row["algorithm"], row["sample_id"]): row["gt"] for row in rows}


@pytest.fixture
def expected(tmp_path: Path, indelible: Indelible) -> dict[tuple[str, int], float]:
    """What the same job comes to in the embedded store."""
    folder = tmp_path / "embedded"
    return the_main_job(indelible, folder, f"sqlite:///{folder / 'mlflow.db'}")


@pytest.mark.postgres
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_postgresql(
    indelible: Indelible, tmp_path: Path, expected: dict[tuple[str, int], float]
) -> None:
    with server(tmp_path / "server") as uri:
        assert the_main_job(indelible, tmp_path, uri) == expected
        assert any((tmp_path / "artifacts").glob("*/*/artifacts/checkpoint-*.safetensors"))


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    with servers.mlflow_server(tmp_path) as address:
        yield address


def test_mlflow_server(
    indelible: Indelible, tmp_path: Path, mlflow_server: str, expected: dict[tuple[str, int], float]
) -> None:
    assert the_main_job(indelible, tmp_path / "mine", mlflow_server) == expected
    assert not (tmp_path / "mine" / "mlflow.db").exists()
    assert any((tmp_path / "served").rglob("checkpoint-*.safetensors"))
    assert len(list((tmp_path / "served").rglob("images/*.png"))) == 4
    shutil.rmtree(tmp_path / "served")


def test_one_model_forgets_on_a_server(
    indelible: Indelible, tmp_path: Path, mlflow_server: str
) -> None:
    folder, to = tmp_path / "mine", ("--tracking-uri", mlflow_server)
    assert indelible(folder, *to, "train", "--epochs", 3).code == 0
    samples = ("--sample", 15, "--sample", 126)
    asked = ("unlearn", "--algorithm", "ga", *samples, "--register", "forgets", "--format", "csv")
    first = indelible(folder, *to, *asked, "--output", tmp_path / "out")
    assert first.code == 0, first.err
    again = indelible(folder, *to, *asked, "--output", tmp_path / "again")
    assert again.code == 0, again.err
    assert "it was done before" in again.err
    assert first.out == again.out
    for answer in (first, again):
        assert "registered as version 1 of forgets" in answer.err
    restored = tmp_path / "restored.pt"
    (run,) = open_store(folder, mlflow_server).finished_runs(Kind.UNLEARNING)
    assert indelible(folder, *to, "restore", run.info.run_id, "--output", restored).code == 0
    assert restored.read_bytes() == (tmp_path / "out" / "unlearned.pt").read_bytes()
    assert indelible(folder, *to, "load").code == 0
    assert indelible(folder, *to, "check").code == 0
    assert any((tmp_path / "served").rglob("unlearned.safetensors"))


@pytest.mark.slow
def test_the_ui_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    open_store(tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "indelible", "--store", str(tmp_path), "ui"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet) as process:
        wait_for_server(f"http://127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port)):
            pass
        process.terminate()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.2)
            continue
        return
    pytest.fail("the server still listens")
