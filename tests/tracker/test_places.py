"""Where a store is, what is its own, and what opening it leaves as it was."""

from __future__ import annotations

import base64
import logging
import os
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import indelible as api
from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import one_line
from tracker.cli.options import flag_of
from tracker.commands import options
from tracker.commands.table import COMMANDS
from tracker.store.addresses import Address
from tracker.store.opening import open_store
from tracker.store.write import Store
from unlearning.errors import Failure, UserError

# Paths


def test_every_printable_path_is_that_of_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indelible: Indelible
) -> None:
    name, other = "my%20w x#é;&=+,@:'\"~ 100%", "my w x#é;&=+,@:'\"~ 100%"
    monkeypatch.chdir(tmp_path)
    Path(other).mkdir()
    store = open_store(Path(name))
    experiment = store.experiment_id("digits", "net")
    made = store.client.create_run(experiment).info
    store.artifacts.write(made.artifact_uri, {"a": b"content"})

    seen = MlflowClient(open_store(Path(name)).address.uri)
    assert [each.experiment_id for each in seen.search_experiments()] == [experiment, "0"]
    assert [file.path for file in seen.list_artifacts(made.run_id)] == ["a"]
    assert indelible(Path(name), "load").code == 0
    assert {path.name for path in Path().iterdir()} == {name, other}
    assert not any(Path(other).iterdir())
    own = {"mlflow.db", "store.json", "artifacts", "analysis.duckdb"}
    assert own <= {path.name for path in Path(name).iterdir()}


def test_a_path_that_can_be_none_is_refused_before_anything_is_made(
    tmp_path: Path, indelible: Indelible
) -> None:
    for command, name in ((("train",), "a?b"), (("load",), "w x#\udcc3")):
        one_line(indelible(tmp_path / name, *command), "question mark, or what is not UTF-8")
    assert list(tmp_path.iterdir()) == []


def test_a_uri_of_a_file_is_read_as_sqlalchemy_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "100% of it.db"
    for uri in (f"sqlite:///{file}", f"sqlite:///{quote(str(file))}"):
        assert str(Address.of(tmp_path, uri).file) == sqlalchemy.make_url(uri).database


def test_artifacts_that_cannot_be_written(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = store.client.create_run(store.experiment_id("digits", "net")).info
    (tmp_path / "artifacts" / "digits-net").touch()
    with pytest.raises(UserError, match="cannot be written"):
        store.artifacts.write(made.artifact_uri, {"a": b"content"})


# Outputs

OUTPUTS = [
    (name, flag_of(kind, field))
    for name, kind in COMMANDS.items()
    for field, option in options(kind).items()
    if option.kind.writes
]
OWN = (
    *("mlflow.db", "mlflow.db-wal", "mlflow.db.0123", "store.json", "analysis.duckdb"),
    *("artifacts", "artifacts/1/x", "x/../artifacts", "link", "to-artifacts/x", "itself/mlflow.db"),
)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose database and artifacts are elsewhere, by links."""
    folder = tmp_path_factory.mktemp("owner") / "s"
    open_store(folder).experiment_id("digits", "net")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("mlflow.db", "artifacts"):
        (folder / name).rename(elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)
    (folder / "link").symlink_to(elsewhere / "mlflow.db")
    (folder / "to-artifacts").symlink_to(elsewhere / "artifacts")
    (folder / "itself").symlink_to(folder)
    return folder


@pytest.mark.parametrize(("command", "option"), OUTPUTS)
def test_no_output_is_written_onto_what_is_the_stores(
    command: str, option: str, owner: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name for name, _ in OUTPUTS} >= {"figures", "models", "report", "restore", "sql"}
    monkeypatch.chdir(owner.parent)
    own = [path for name in OWN for path in (owner / name, Path("s") / name)]
    own.append(Path("elsewhere/mlflow.db"))
    if suffix := {"sql": ".csv", "tune": ".toml"}.get(command):  # the only names it writes
        own = [path / f"x{suffix}" for path in own if path.name in ("x", "artifacts")]
    for path in own:
        one_line(indelible(owner, command, option, path), "the store's own")
    for fine in ("s/other", "s/artifacts-of-mine/x", "mlflow.db", "artifacts"):
        assert "the store's own" not in indelible(owner, command, option, fine, "--no").err


# Credentials, and settings of MLflow's


class Handler(BaseHTTPRequestHandler):
    """Answers that there is nothing, or with an error; who asked is kept."""

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.seen.append(self.headers.get("Authorization"))
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(b'{"experiments": []}' if server.status == 200 else b"who are you?")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vars(server).update(status=200, seen=[], host=f"127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def test_credentials_stay_with_the_store_that_was_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with serving() as one, serving() as other:
        uris = {
            f"http://me:s3%2Fcr@et@{one.host}": basic("me:s3/cr@et"),
            f"http://me@{one.host}": None,
            f"http://{other.host}": None,
        }
        stores = {uri: open_store(tmp_path, uri) for uri in uris}
        for uri, store in stores.items():
            one.seen.clear()
            store.experiments()
            names_in(store)
            assert one.seen == ([] if other.host in uri else [uris[uri]] * 2)
        assert {*other.seen} == {None}
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def names_in(store: Store) -> list[str]:
    """The artifacts of a run, as the server lists them."""
    return store.retry(lambda: store.artifacts.names("mlflow-artifacts:/1/x/artifacts"))


def test_a_server_that_refuses_is_told_of_without_its_password(tmp_path: Path) -> None:
    with serving() as server:
        store = open_store(tmp_path, f"http://me:s3cret@{server.host}", limit_s=1)
        server.status = 401
        for asked in (Store.experiments, names_in):
            with pytest.raises((Failure, MlflowException), match="401") as refused:
                asked(store)
            assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("of", ["a server", "a file"])
def test_opening_a_store_changes_no_setting_of_the_program(of: str, tmp_path: Path) -> None:
    loggers = ("mlflow", "alembic", "mlflow.store.db.utils", "urllib3")

    def settings() -> object:
        levels = [logging.getLogger(name).level for name in loggers]
        where = (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run())
        return dict(os.environ), levels, where

    with serving() as server, pytest.MonkeyPatch.context() as host:
        host.delenv("MLFLOW_TRACKING_URI", raising=False)
        host.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
        host.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        uri = f"http://me:s3cret@{server.host}" if of == "a server" else None
        if uri is None:
            open_store(tmp_path)
        logging.getLogger("mlflow").setLevel(logging.INFO)
        before = settings()
        store = api.open(tmp_path, tracking_uri=uri)
        for asked in (lambda: store.sweep("ga", samples=1), lambda: store.sql("from attempts")):
            with suppress(UserError), warnings.catch_warnings():
                asked()
            assert settings() == before
