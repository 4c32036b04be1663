"""Other stores than the embedded one: PostgreSQL, and an MLflow server over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests import servers
from tests.forked import Forked
from tests.ports import free_port, wait_for_server
from tests.postgres import server, why_not
from tests.tracker.conftest import Indelible
from tests.tracker.models import logits, models
from tracker.store.opening import open_store
from tracker.store.records import Kind

pytestmark = pytest.mark.slow

# What is faster may be chosen otherwise the next time: here it is said.
MEMBERS = ("--algorithm", "ga", "--algorithm", "salun", "--samples", 4)
SWEEP = ("sweep", *MEMBERS, "--execution", "stacked")


def the_main_job(indelible: Indelible, folder: Path, uri: str) -> dict[tuple[str, int], float]:
    """Train, predict, sweep twice, load twice, grade, restore; GT by algorithm and sample."""
    to = ("--tracking-uri", uri)
    assert indelible(folder, *to, "train", "--epochs", 3).code == 0
    (model,) = models(folder, uri)
    assert logits(uri, model, torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert indelible(folder, *to, "predict", *MEMBERS).code == 0
    first = indelible(folder, *to, *SWEEP)
    assert first.code == 0, first.err
    again = indelible(folder, *to, *SWEEP)
    assert again.id == first.id
    assert "found" in again.err
    assert "runs read" in indelible(folder, *to, "load").err
    assert "nothing new" in indelible(folder, *to, "load").err
    rows = json.loads(indelible(folder, *to, "sql", "from attempts", "--format", "json").out)
    assert len(rows) == 8
    curves = json.loads(indelible(folder, *to, "sql", "from histories", "--format", "json").out)
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


def test_mlflow_server(
    indelible: Indelible, tmp_path: Path, expected: dict[tuple[str, int], float]
) -> None:
    folder, out = tmp_path / "mine", tmp_path / "out"
    with servers.mlflow_server(tmp_path) as uri:
        assert the_main_job(indelible, folder, uri) == expected
        assert not (folder / "mlflow.db").exists()
        assert any((tmp_path / "served").rglob("checkpoint-*.safetensors"))
        assert len(list((tmp_path / "served").rglob("images/*.png"))) == 4
        # One model forgets several samples.
        to = ("--tracking-uri", uri)
        samples = ("--sample", 15, "--sample", 126)
        how = ("--format", "csv", "--register", "forgets")
        asked = ("unlearn", "--algorithm", "ga", *samples, *how)
        first = indelible(folder, *to, *asked, "--output", out)
        again = indelible(folder, *to, *asked, "--output", tmp_path / "again")
        assert "it was done before" in again.err
        assert first.out == again.out
        for answer in (first, again):
            assert answer.code == 0, answer.err
            assert "registered as version 1 of forgets" in answer.err
        (run,) = open_store(folder, uri).finished_runs(Kind.UNLEARNING)
        restored = tmp_path / "restored.pt"
        assert indelible(folder, *to, "restore", run.run_id, "--output", restored).code == 0
        assert restored.read_bytes() == (out / "unlearned.pt").read_bytes()
        assert indelible(folder, *to, "load").code == 0
        assert indelible(folder, *to, "check").code == 0
        assert any((tmp_path / "served").rglob("unlearned.safetensors"))


@dataclass(frozen=True)
class Served:
    """A store's UI, a run with an artifact in it, and the folder that it was started in."""

    address: str
    run_id: str
    cwd: Path

    def asked(
        self,
        path: str,
        body: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """The status of an answer, and what it says; a request with a body is a POST."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/{path}", content, dict(headers or {}))
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As `indelible ui` starts it; afterwards nothing is left of it that listens."""
    cwd = tmp_path_factory.mktemp("ui")
    store = open_store(cwd / "store")
    run = store.client.create_run(store.experiment_id("digits", "small-cnn"))
    store.artifacts.write(run.info.artifact_uri, {"seen.txt": b"a picture"})
    port = free_port()
    process = Forked("--store", "store", "ui", "--port", port, cwd=cwd)
    try:
        wait_for_server(f"http://127.0.0.1:{port}")
        yield Served(f"http://127.0.0.1:{port}", run.info.run_id, cwd)
    finally:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.2)
            continue
        return
    pytest.fail("the server still listens")


ASKED = [
    ({}, 200),  # a client that is no browser
    ({"Origin": "http://127.0.0.1:PORT"}, 200),
    ({"Origin": "http://localhost:PORT", "Host": "localhost:PORT"}, 200),
    ({"Origin": "http://localhost:8080", "Host": "localhost:8080"}, 200),  # through a tunnel
    ({"Origin": "http://localhost:PORT"}, 403),
    ({"Origin": "http://127.0.0.1:8888"}, 403),
    ({"Origin": "https://127.0.0.1:PORT"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://example.com:PORT", "Host": "example.com:PORT"}, 403),
    ({"Host": "10.example.com"}, 403),
]


def test_only_the_uis_own_pages_change_runs(ui: Served) -> None:
    port = ui.address.rpartition(":")[2]
    for headers, status in ASKED:
        sent = {name: value.replace("PORT", port) for name, value in headers.items()}
        tag = {"run_id": ui.run_id, "key": "asked", "value": json.dumps(sent)}
        assert ui.asked("ajax-api/2.0/mlflow/runs/set-tag", tag, sent)[0] == status, headers
        assert ui.asked("", headers=sent)[0] == status, headers
        kept = ui.asked(f"api/2.0/mlflow/runs/get?run_id={ui.run_id}")[1]
        assert (json.dumps(json.dumps(sent)) in kept) == (status == 200)


def test_the_ui_keeps_its_address_out_of_the_environment(tmp_path: Path) -> None:
    open_store(tmp_path)
    code = f"""
import os
from pathlib import Path
from mlflow.server import handlers
from tracker.cli import ui
from tracker.cli._output import Session

folder = {str(tmp_path)!r}
app = ui._app(Session(Path(folder), None, Path("data"), False, 60))
asked = app.test_client().get("/api/2.0/mlflow/experiments/get?experiment_id=0")
print(asked.status_code, handlers._get_tracking_store().db_uri.endswith(folder + "/mlflow.db"))
print([name for name, value in os.environ.items() if folder in value and name != "PWD"])
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "200 True\n[]\n"


def test_the_ui_shows_files_of_runs_and_writes_none_outside_of_the_store(ui: Served) -> None:
    assert ui.asked(f"get-artifact?path=seen.txt&run_uuid={ui.run_id}") == (200, "a picture")
    listed = ui.asked(f"ajax-api/2.0/mlflow/artifacts/list?run_id={ui.run_id}")[1]
    assert [file["path"] for file in json.loads(listed)["files"]] == ["seen.txt"]
    elsewhere = {"name": "else", "artifact_location": (ui.cwd / "elsewhere").as_uri()}
    assert ui.asked("api/2.0/mlflow/experiments/create", elsewhere)[0] == 403
    assert ui.asked("api/2.0/mlflow-artifacts/artifacts?path=")[0] >= 400
    assert [path.name for path in ui.cwd.iterdir()] == ["store"]
