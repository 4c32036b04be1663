"""A store that a team shares: whose folder it is, who migrates it, and what is said aloud."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.postgres import server as postgres
from tests.postgres import why_not
from tests.tracker.conftest import Answer, Done, Indelible, own_copy
from tracker.store.addresses import Address
from tracker.store.opening import open_store

needs_postgres = pytest.mark.skipif(bool(why_not()), reason=why_not())
WRITING = (
    ("train", "--epochs", 1),
    ("sweep", "--algorithm", "ga"),
    ("predict", "--algorithm", "ga"),
    ("ui",),
)
READING = (("load",), ("check",), ("models",))


def one_line(answer: Answer, *words: str) -> None:
    assert answer.code == 2, answer
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    for word in words:
        assert word in line


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    return own_copy(done.folder, tmp_path / "copy")


@pytest.fixture
def serving(copy: Path) -> Iterator[str]:
    """A server that has the experiments of the copy; it says yes to whatever it is told."""
    experiments = [
        {
            "experiment_id": e.experiment_id,
            "name": e.name,
            "artifact_location": "mlflow-artifacts:/1",
            "lifecycle_stage": "active",
            "tags": [{"key": k, "value": v} for k, v in e.tags.items()],
        }
        for e in open_store(copy).experiments()
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()
            known = self.path.endswith("experiments/search")
            self.wfile.write(json.dumps({"experiments": experiments} if known else {}).encode())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_folder_of_a_servers_store_may_be_new_here(
    copy: Path, tmp_path: Path, serving: str
) -> None:
    """As where another machine takes part in a sweep."""
    store = open_store(tmp_path / "new" / "mine", serving, begins=False)
    assert (tmp_path / "new" / "mine" / "store.json").is_file()
    assert store.store_id == open_store(copy).store_id


def doctored(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", [revision])


def everything(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("5b0e9adcef9c", "mlflow db upgrade"), ("f4a9b2c7d1e6", "newer MLflow")],
)
def test_nobodys_database_is_migrated(
    copy: Path, indelible: Indelible, revision: str, advice: str
) -> None:
    database = copy / "theirs.db"
    with (
        closing(sqlite3.connect(copy / "mlflow.db")) as own,
        closing(sqlite3.connect(database)) as theirs,
    ):
        own.backup(theirs)
    doctored(database, revision)
    before = everything(database)
    for command in WRITING:
        answer = indelible(copy, "--tracking-uri", f"sqlite:///{database}", *command)
        one_line(answer, revision, advice, str(database))
    prune = ("prune", "--yes", "--sweep", "latest", "--checkpoints", "none")
    answer = indelible(copy, "--tracking-uri", f"sqlite:///{database}", *prune)
    assert answer.code == 2
    assert revision in answer.err.splitlines()[-1]
    for command in READING:
        answer = indelible(copy, "--tracking-uri", f"sqlite:///{database}", *command)
        assert answer.code == 0, answer.err
    assert everything(database) == before


@pytest.mark.slow
@pytest.mark.postgres
@needs_postgres
def test_nobodys_postgresql_is_migrated(tmp_path: Path, indelible: Indelible) -> None:
    import psycopg

    with postgres(tmp_path / "server") as uri:
        to = ("--tracking-uri", uri)
        assert indelible(tmp_path / "mine", *to, "train", "--epochs", 1).code == 0

        def revision(new: str | None = None) -> str:
            with psycopg.connect(uri.replace("+psycopg", "")) as connection:
                if new:
                    connection.execute("update alembic_version set version_num = %s", [new])
                row = connection.execute("select version_num from alembic_version").fetchone()
                return str(row[0] if row else None)

        for doctored_to in ("5b0e9adcef9c", "f4a9b2c7d1e6"):
            revision(doctored_to)
            for command in WRITING:
                one_line(indelible(tmp_path / "mine", *to, *command), doctored_to)
            assert indelible(tmp_path / "mine", *to, "load").code == 0
            assert revision() == doctored_to


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("postgresql://me:p%40ss@h/x", "no user with p@ss or p%40ss at postgresql://me:p%40ss@h/x"),
        ("postgresql://h/x?password=hid%2Fden&a=b", "wrong hid/den, hid%2Fden"),
        ("http://h:1", "refused: of-the-environment, a-token"),
    ],
)
def test_no_message_says_a_password(
    uri: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-the-environment")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    said = Address.of(tmp_path, uri).hidden(text)
    for secret in ("p@ss", "p%40ss", "hid/den", "hid%2Fden", "of-the-environment", "a-token"):
        assert secret not in said
    assert "***" in said
