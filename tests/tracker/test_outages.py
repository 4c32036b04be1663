"""A store that is away: it is waited for aloud and not for ever, and its absence is no answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.exc import OperationalError

from analysis.warehouse import open_warehouse
from tests.forked import Forked
from tests.ports import free_port
from tests.postgres import restart, server, why_not
from tests.servers import mlflow_server
from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible, own_copy
from tracker.store import retry
from tracker.store.files import Artifacts
from tracker.store.retry import Retry, passing, reason
from unlearning.errors import Failure

needs_postgres = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_a_sweep(tmp_path: Path, indelible: Indelible) -> None:
    port, mine = free_port(), tmp_path / "mine"
    uri = f"http://127.0.0.1:{port}"
    sweep: tuple[object, ...] = ("--store", mine, "--tracking-uri", uri, "--server-timeout", 8)
    sweep += ("sweep", "--algorithm", "ga", "--samples", 60, "--chunk", 4, "--execution", "stacked")
    with mlflow_server(tmp_path, port):
        assert indelible(mine, "--tracking-uri", uri, "train", "--epochs", 2).code == 0
        process = Forked(*sweep)
        database = tmp_path / "served"
        while len(list(database.rglob("checkpoint-*"))) < 6 and process.returncode is None:
            time.sleep(0.1)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"waiting for {uri}" in said
    assert "attempt" in said
    last = said.splitlines()[-1]
    assert last.startswith(f"indelible: {uri} does not answer")
    assert "Traceback" not in said
    with mlflow_server(tmp_path, port):
        process = Forked(*sweep)
        assert process.wait(300) == 0
        loaded = indelible(mine, "--tracking-uri", uri, "load")
        assert loaded.code == 0, loaded.err
        counts = "select count(*) as n, count(distinct sample_id) as samples from attempts"
        (row,) = json.loads(indelible(mine, "sql", counts, "--format", "json").out)
        assert row == {"n": 60, "samples": 60}
        checked = indelible(mine, "--tracking-uri", uri, "check", "--format", "json")
        assert {problem["audit"] for problem in json.loads(checked.out)} <= {"half_written"}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "secret", "is_silent"),
    [
        ("http://me:s3cret@127.0.0.1:{port}", "s3cret", True),
        ("http://me:s3cret@127.0.0.1:{port}", "s3cret", False),
        ("postgresql+psycopg://me:s3%2Fcr@127.0.0.1:{port}/x", "s3%2Fcr", False),
        ("postgresql+psycopg://127.0.0.1:{port}/x?user=me&password=s3cret", "s3cret", True),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, silent: int, uri: str, secret: str, is_silent: bool
) -> None:
    if "postgres" in uri:
        pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    uri = uri.format(port=silent if is_silent else free_port())
    to = ("--tracking-uri", uri, "--server-timeout", 7, "--verbose")
    process = Forked("--store", tmp_path, *to, "models" if is_silent else "train")
    out, said = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    assert secret not in said
    shown, lines = uri.replace(secret, "***"), said.splitlines()
    assert is_silent or any(line.startswith(f"waiting for {shown}") for line in lines)
    assert lines[-1].startswith(f"indelible: {shown} does not answer")
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.postgres
@needs_postgres
def test_a_database_that_is_restarted_is_waited_for(tmp_path: Path, indelible: Indelible) -> None:
    with server(tmp_path / "server") as uri:
        to = ("--store", tmp_path / "mine", "--tracking-uri", uri)
        train = Forked(*to, "train", "--epochs", 2)
        assert train.wait(300) == 0, train.communicate()
        options = ("--samples", 200, "--chunk", 4, "--execution", "stacked")
        process = Forked(*to, "sweep", "--algorithm", "neggrad", *options)
        artifacts = tmp_path / "mine" / "artifacts"
        while len(list(artifacts.rglob("checkpoint-*"))) < 12 and process.returncode is None:
            time.sleep(0.05)
        restart(tmp_path / "server", pause_s=6)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "waiting for" in said
        assert indelible(*to[1:2], *to[2:], "load").code == 0
        assert indelible(*to[1:2], *to[2:], "check").code == 0
        counts = "select count(*) as n from attempts"
        answer = indelible(tmp_path / "mine", "sql", counts, "--format", "json")
        assert json.loads(answer.out) == [{"n": 200}]


# Artifacts that cannot be looked for


def outcomes(folder: Path) -> int:
    with open_warehouse(folder / "analysis.duckdb") as warehouse:
        (row,) = warehouse.query("select count(*) from attempts").rows
    return int(row[0])


class Away:
    """Artifacts of a kind of store that does not answer."""

    def download_artifacts(self, *_: Any) -> str:
        raise requests.ConnectionError("[Errno 111] Connection refused")

    list_artifacts = download_artifacts


def test_an_artifact_store_that_is_away_empties_nothing(
    done: Done, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = own_copy(done.folder, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "path", lambda *_: None)  # as if they were not on this machine
        patch.setattr(Artifacts, "_repository", lambda *_: Away())
        answer = indelible(copy, "--server-timeout", 1, "load", "--deep")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("indelible: ")
    assert outcomes(copy) == SAMPLES * len(ALGORITHMS)
    assert indelible(copy, "load", "--deep").code == 0
    assert outcomes(copy) == SAMPLES * len(ALGORITHMS)


# The retry itself


class Failing:
    """Fails so many times; how often it was tried."""

    def __init__(self, error: Exception, times: int = 1000) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "here"


def test_what_comes_back_is_asked_again_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SILENCE_S", 0.2)
    said: list[str] = []
    attempt = Failing(ConnectionRefusedError(111, "Connection refused"), 5)
    assert Retry("the store", 10, said.append)(attempt) == "here"
    assert attempt.calls == 6
    assert said[0].startswith("waiting for the store (Connection refused), attempt ")
    assert len(said) <= 6


def test_there_is_an_end_to_it_and_then_nobody_waits_again() -> None:
    asked, attempt = Retry("the store", 0.5), Failing(TimeoutError("timed out"))
    with pytest.raises(Failure, match=r"the store does not answer, .* s long: timed out"):
        asked(attempt)
    before = attempt.calls
    with pytest.raises(Failure):
        asked(attempt)
    assert attempt.calls == before + 1
    assert asked(lambda: "back") == "back"
    with pytest.raises(Failure):
        asked(attempt)
    assert attempt.calls > before + 2  # it had come back, so it is asked again


def sql_error(text: str, state: str | None = None, module: str = "psycopg") -> Exception:
    names = {"__module__": module} | ({"sqlstate": state} if module == "psycopg" else {})
    return OperationalError("select 1", {}, type("OperationalError", (Exception,), names)(text))


def rest_error(code: str, message: str) -> Exception:
    return RestException({"error_code": code, "message": message})


AWAY, HELD, CONFLICT = "does not answer", "is held by another", "is written by another"
UNIQUE = "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key"
ERRORS = [
    (requests.ConnectionError("refused"), AWAY),
    (MlflowException("no such run"), None),
    (sql_error("connection failed: FATAL: the database system is starting up"), AWAY),
    (sql_error('connection failed: FATAL: password authentication failed for user "a"'), None),
    (sql_error("terminating connection", "57P01"), AWAY),
    (sql_error("disk full", "53100"), None),
    (sql_error("no such table: runs", module="sqlite3"), None),
    (sql_error("database is locked", module="sqlite3"), HELD),
    (rest_error("BAD_REQUEST", UNIQUE), CONFLICT),
    (rest_error("RESOURCE_ALREADY_EXISTS", UNIQUE), None),
    (ValueError("no"), None),
]


@pytest.mark.parametrize(("error", "what"), ERRORS, ids=range(len(ERRORS)))
def test_what_an_error_says(error: Exception, what: str | None) -> None:
    assert passing(error).startswith(what or "")
    assert reason(error) != ""
    if what is None:
        with pytest.raises(type(error)):
            Retry("the store", 60)(Failing(error))
