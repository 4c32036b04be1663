"""A store that a team shares: a server, its database for rows in bulk, and neither said aloud."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.ports import free_port
from tests.postgres import server as postgres
from tests.postgres import why_not
from tests.servers import mlflow_server
from tests.tracker.conftest import Answer, Done, Indelible, own_copy
from tests.tracker.test_servers import the_main_job
from tracker.access.addresses import Address
from tracker.record.opening import open_reader, open_store
from tracker.record.served import ServedStore

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
def serving() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A server that has these experiments; it says yes to whatever it is told."""
    experiments: list[dict[str, object]] = []

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
        yield f"http://127.0.0.1:{server.server_port}", experiments
        server.shutdown()


@pytest.mark.parametrize(
    ("tracking_uri", "bulk_uri", "words"),
    [
        (None, "postgresql+psycopg://me:s3cret@h/x", ("--tracking-uri http", "me:***@h")),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db", ("no server's", "sqlite:////tmp/x.db")),
        ("http://127.0.0.1:9", "http://me:s3cret@h", ("bulk URI", "me:***@h", "it takes sqlite")),
        ("http://127.0.0.1:9", "file:///tmp", ("bulk URI", "it takes sqlite")),
        ("http://127.0.0.1:9", "sqlite://", ("names no file",)),
        ("http://127.0.0.1:9/?token=s3cret", None, ("nothing after '?'", "MLFLOW_TRACKING_TOKEN")),
    ],
)
@pytest.mark.parametrize("command", [("load",), ("train",)])
def test_uris_that_do_not_go_together(
    tmp_path: Path,
    indelible: Indelible,
    tracking_uri: str | None,
    bulk_uri: str | None,
    words: tuple[str, ...],
    command: tuple[str, ...],
) -> None:
    given = {"--tracking-uri": tracking_uri, "--bulk-uri": bulk_uri}
    options = [word for pair in given.items() if pair[1] for word in pair]
    answer = indelible(tmp_path / "s", *options, *command)
    one_line(answer, *words)
    assert "s3cret" not in answer.err


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    return own_copy(done.folder, tmp_path / "copy")


def told(folder: Path) -> list[dict[str, object]]:
    """The experiments of a store, as a server says them."""
    return [
        {
            "experiment_id": e.experiment_id,
            "name": e.name,
            "artifact_location": "mlflow-artifacts:/1",
            "lifecycle_stage": "active",
            "tags": [{"key": k, "value": v} for k, v in e.tags.items()],
        }
        for e in open_store(folder).experiments()
    ]


def test_a_database_that_is_not_the_servers(
    copy: Path, tmp_path: Path, indelible: Indelible, serving: tuple[str, list[dict[str, object]]]
) -> None:
    uri, experiments = serving
    experiments += told(copy)
    database = copy / "mlflow.db"
    with closing(sqlite3.connect(tmp_path / "empty.db")) as file:
        file.execute("create table mine (x)")

    def tried(command: tuple[object, ...], bulk: str | Path = database) -> Answer:
        named = f"sqlite:///{bulk}" if isinstance(bulk, Path) else bulk
        to = ("--tracking-uri", uri, "--bulk-uri", named, "--server-timeout", 2)
        return indelible(tmp_path / "mine", *to, *command)

    assert tried(("models",)).code == 0
    for command in (("load",), ("train", "--epochs", 1)):
        one_line(tried(command, tmp_path / "none.db"), uri, "none.db", "no tables of MLflow's")
        one_line(tried(command, tmp_path / "empty.db"), uri, "empty.db", "no tables of MLflow's")
        one_line(tried(command, "postgresql+nosuch://me:s3cret@h/x"), "not understood", "***")
        away = f"postgresql+psycopg://me:s3cret@127.0.0.1:{free_port()}/x"
        if not why_not():
            answer = tried(command, away)
            assert answer.code == 1
            assert "does not answer" in answer.err.splitlines()[-1]
            assert "s3cret" not in answer.err
        mine = experiments.pop()
        one_line(tried(command), "that the server does not show")
        for key, value in (("experiment_id", "77"), ("name", "indelible/x"), ("tags", [])):
            experiments.append({**mine, key: value})
            one_line(tried(command), uri, str(database), "the server has the experiment")
            experiments.pop()
        experiments.append(mine)
    # A copy of the database: what the server is told from now on is not in it.
    one_line(tried(("train", "--epochs", 1)), uri, str(database), "is not there")


def test_the_folder_of_a_servers_store_may_be_new_here(
    copy: Path, tmp_path: Path, serving: tuple[str, list[dict[str, object]]]
) -> None:
    """As where another machine takes part in a sweep."""
    uri, experiments = serving
    experiments += told(copy)
    store = open_store(tmp_path / "new" / "mine", uri, begins=False)
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
    copy: Path,
    tmp_path: Path,
    indelible: Indelible,
    serving: tuple[str, list[dict[str, object]]],
    revision: str,
    advice: str,
) -> None:
    uri, experiments = serving
    experiments += told(copy)
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
    bulk = ("--tracking-uri", uri, "--bulk-uri", f"sqlite:///{database}")
    for command in (*WRITING[:2], *READING):
        one_line(indelible(tmp_path / "mine", *bulk, *command), revision, advice, str(database))
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


def test_libpq_reads_a_password_as_sqlalchemy_does() -> None:
    for said, password in (("p@ss", "p@ss"), ("a/b:c", "a/b:c"), ("s3%2Fcr", "s3/cr")):
        address = Address(f"postgresql+psycopg://me:{said}@h:1/x?a=b", "", Path())
        assert address.for_reading == f"postgresql://me:{quote(password, safe='')}@h:1/x?a=b"
    assert Address("postgresql://h/x", "", Path()).for_reading == "postgresql://h/x"


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


@pytest.mark.slow
def test_a_server_written_in_bulk(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = tmp_path / "embedded"
    expected = the_main_job(indelible, embedded, f"sqlite:///{embedded / 'mlflow.db'}")
    with mlflow_server(tmp_path) as uri:
        database, mine = tmp_path / "server.db", tmp_path / "mine"
        monkeypatch.setenv("INDELIBLE_BULK_URI", f"sqlite:///{database}")
        assert the_main_job(indelible, mine, uri) == expected
        assert isinstance(open_store(mine, uri, bulk_uri=f"sqlite:///{database}"), ServedStore)
        read = open_reader(mine, uri, bulk_uri=f"sqlite:///{database}").runs()
        served = open_reader(mine, uri).runs()
        assert read.sort_by("run_id").equals(served.sort_by("run_id").select(read.column_names))
        assert any((tmp_path / "served").rglob("checkpoint-*.safetensors"))
        assert not (mine / "mlflow.db").exists()
        backup = tmp_path / "backup.db"
        shutil.copy(database, backup)
        monkeypatch.setenv("INDELIBLE_BULK_URI", f"sqlite:///{backup}")
        refused = indelible(mine, "--tracking-uri", uri, "train", "--epochs", 4)
        one_line(refused, uri, str(backup), "is not there")
