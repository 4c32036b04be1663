"""Options are checked before work begins, and secrets of URIs are nobody else's business."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from alembic import command as alembic
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine, text

from tests import forked
from tests.ports import free_port
from tests.processes import interruptible
from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import one_line
from tracker.cli import run
from tracker.store.addresses import Address
from tracker.store.opening import open_reader, open_store
from tracker.store.records import Kind

TRAIN = ("train", "--epochs", 1)
REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "lr 1e30": ((*TRAIN, "--lr", "1e30"), "smaller --lr"),
    "lr 1e30 sgd": ((*TRAIN, "--lr", "1e30", "--optimizer", "sgd"), "smaller --lr"),
    "train-samples 1": ((*TRAIN, "--train-samples", 1), "too few"),
    "leave-out unknown": ((*TRAIN, "--leave-out", "2,99999"), "99999 is not a training sample"),
    "leave-out twice": ((*TRAIN, "--leave-out", "2,2"), "more than once"),
    "timeout nan": (("--server-timeout", "nan", *TRAIN), "--server-timeout"),
    "timeout inf": (("--server-timeout", "inf", *TRAIN), "--server-timeout"),
    "timeout 0": (("--server-timeout", 0, *TRAIN), "--server-timeout"),
    "no URI": (("--tracking-uri", "mlruns.db", *TRAIN), "it takes sqlite:///FILE"),
    "a folder's URI": (("--tracking-uri", "file:///tmp/x", *TRAIN), "it takes sqlite:///FILE"),
    "SQLite in memory": (("--tracking-uri", "sqlite://", *TRAIN), "names no file"),
    "a token": (("--tracking-uri", "http://127.0.0.1:9/?token=x", *TRAIN), "nothing after '?'"),
    "no host": (("--tracking-uri", "http://", *TRAIN), "names no host"),
    "no port": (("--tracking-uri", "http://host:port", *TRAIN), "names no host"),
    "no driver": (
        ("--tracking-uri", "mysql://root@127.0.0.1/x", *TRAIN),
        "it takes sqlite:///FILE",
    ),
    "no such driver": (("--tracking-uri", "postgresql+nope://h/x", *TRAIN), "not understood"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_training_is_refused_before_it_begins(
    tmp_path: Path, indelible: Indelible, arguments: tuple[object, ...], said: str
) -> None:
    answer = indelible(tmp_path / "s", *arguments)
    one_line(answer, said)
    assert answer.out == ""
    assert "training done" not in answer.err
    assert not (tmp_path / "s" / "artifacts").exists()
    assert not (tmp_path / "s" / "store.json").exists()


SWEEP = ("sweep", "--algorithm", "ga", "--samples", 2)
REFUSED_SWEEPS: dict[str, tuple[tuple[object, ...], str]] = {
    "repeats up to 2^63": ((*SWEEP, "--seed", 2**63 - 1, "--repeats", 2), "2^63"),
    "a name that is no text": ((*SWEEP, "--name", "\udcff"), "UTF-8"),
    "remaining 1001": ((*SWEEP, "--remaining", 1001), "from 1 to 1000"),
    "hardest of 5,000": ((*SWEEP, "--checkpoints", f"hardest:{'9' * 5000}"), "--checkpoints is"),
    "lr beyond float32": ((*SWEEP, "--set", "ga.lr=1e39"), "ga.lr is 1e+39: at most 2147483647"),
    "lr inf": ((*SWEEP, "--set", "ga.lr=inf"), "ga.lr is inf: at most 2147483647"),
    "steps of 400 digits": ((*SWEEP, "--set", f"ga.max_steps=1{'0' * 400}"), "at most 2147483647"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert run(["--store", str(folder), *map(str, TRAIN)]) == 0
    return folder


@pytest.mark.parametrize(("arguments", "said"), REFUSED_SWEEPS.values(), ids=REFUSED_SWEEPS)
def test_sweeps_are_refused_before_they_begin(
    trained: Path, indelible: Indelible, arguments: tuple[object, ...], said: str
) -> None:
    answer = indelible(trained, *arguments)
    one_line(answer, said)
    assert json.loads(indelible(trained, "sweeps", "--format", "json").out) == []


def test_all_that_remain_are_all(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "s"))
    first = indelible(folder, *SWEEP, "--remaining", 1000)
    assert indelible(folder, *SWEEP).id == first.id


def test_the_largest_seed_can_be_loaded(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "s"))
    assert indelible(folder, *SWEEP, "--seed", 2**63 - 1).code == 0
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:  # as somebody's own hand
        db.execute("update params set value = 'nine' where key = 'seed' and value like '9%'")
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "rank").code == 0


@pytest.mark.parametrize("factory", ["os:getcwd", "torch.nn:Linear", "torch.nn:Conv3d"])
def test_a_factory_that_makes_no_network_is_one_line(
    tmp_path: Path, indelible: Indelible, factory: str
) -> None:
    one_line(indelible(tmp_path, *TRAIN, "--arch", f"module:{factory}"), factory)


@pytest.mark.parametrize("change", [("--arch", "small-cnn"), ("--train-samples", 1000)])
def test_a_preset_of_training_can_be_changed(
    tmp_path: Path, indelible: Indelible, change: tuple[object, ...]
) -> None:
    answer = indelible(tmp_path, "train", "--dataset", "mnist", "--preset", "paper", *change)
    one_line(answer, "--download")  # all that was wrong with it


def test_weights_that_are_not_finite_are_not_imported(tmp_path: Path, indelible: Indelible) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    assert indelible(tmp_path, *TRAIN).code == 0
    (path,) = tmp_path.rglob("weights-*.safetensors")
    state = load_file(path)
    state["classifier.bias"][3] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    answer = indelible(tmp_path, "train", "--from-weights", tmp_path / "nan.safetensors")
    one_line(answer, "not finite")
    assert len(json.loads(indelible(tmp_path, "models", "--format", "json").out)) == 1


WITHOUT_EFFECT: dict[str, tuple[tuple[object, ...], str]] = {
    "a model": (("models", "--model", "latest"), "--model has no effect without --export"),
    "agreed to": (("check", "--yes"), "--yes has no effect without --repair"),
    "at most": (("check", "--at-most", 0.1), "--at-most has no effect without --repair"),
    "resampling": (("correlate", "--seed", 1), "--seed has no effect without --bootstrap"),
    "cells": (("correlate", "--cells", "p", "--format", "csv"), "--cells has no effect on csv"),
    "two sweeps": (("compare", "a", "b", "--sweep", "latest"), "--sweep has no effect with two"),
    "a plan's rows": (("sql", "select 1", "--explain", "--limit", 1), "--limit has no effect with"),
    "a file's form": (
        ("sql", "select 1", "--output", "x.csv", "--format", "csv"),
        "--format has no effect with --output",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_an_option_without_an_effect_is_refused(
    trained: Path, indelible: Indelible, arguments: tuple[object, ...], said: str
) -> None:
    before = sorted(trained.rglob("*"))
    answer = indelible(trained, *arguments)
    one_line(answer, said)
    assert (answer.out, sorted(trained.rglob("*"))) == ("", before)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("load --verbose", "--verbose"),
        ("load --tracking-uri=http://me:s3cret@host", "--tracking-uri"),
    ],
)
def test_a_global_option_behind_the_command_is_told_of(
    given: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(given.split()) == 2
    said = f"indelible: {option} is given before the command: indelible {option} ... load ..."
    assert capsys.readouterr().err.startswith(said)


def test_another_unknown_option_is_said_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--dta-dir", "X"]) == 2
    assert "No such option" in capsys.readouterr().err


# Passwords

SECRETS = {
    "postgresql://me:s3cret@127.0.0.1:{port}/x": "s3cret",
    "postgresql+psycopg://me:s3%2Fcr@127.0.0.1:{port}/x": "s3%2Fcr",
    "http://me:s3cret@127.0.0.1:{port}": "s3cret",
    "postgresql+psycopg://127.0.0.1:{port}/x?user=me&password=s3cret": "s3cret",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "uri", "secret"),
    [
        *((("models",), *secret) for secret in SECRETS.items()),  # reads
        *((("train", "--epochs", 1), *secret) for secret in [*SECRETS.items()][1:3]),  # writes
        (("check",), *[*SECRETS.items()][3]),
    ],
    ids=range(len(SECRETS) + 3),
)
def test_passwords_are_not_printed(
    tmp_path: Path, uri: str, secret: str, command: tuple[object, ...]
) -> None:
    if "postgres" in uri:
        pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    to = ("--tracking-uri", uri.format(port=free_port()), "--server-timeout", 6, "--verbose")
    answer = forked.run("--store", tmp_path, *to, *command)
    assert answer.returncode == 1
    assert secret not in answer.stdout + answer.stderr
    assert "***" in answer.stderr
    assert "waiting for" in answer.stderr


def test_a_database_that_refuses_says_no_password(tmp_path: Path, indelible: Indelible) -> None:
    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    uri = f"sqlite:///{tmp_path / 'x'}/s3cret/../db?password=s3cret"
    answer = indelible(tmp_path, "--tracking-uri", uri, "models")
    assert answer.code == 2
    assert "password=***" in answer.err


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://a:b@h:1", "http://a:***@h:1"),
        ("postgresql://a:b@h/x", "postgresql://a:***@h/x"),
        ("postgresql://a:p@ss:w@h/x", "postgresql://a:***@h/x"),
        ("postgresql://a:p/q@h/x", "postgresql://a:***@h/x"),
        ("postgresql://a@h/x?sslpassword=q&y=1", "postgresql://a@h/x?sslpassword=***&y=1"),
        ("postgresql://a@h/x", "postgresql://a@h/x"),
        ("http://h:5000/path", "http://h:5000/path"),
        ("sqlite:////tmp/m.db", "sqlite:////tmp/m.db"),
    ],
)
def test_what_is_shown_of_a_uri(
    tmp_path: Path, uri: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    assert Address.of(tmp_path, uri).shown == shown


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str]]]:
    """A server that wants a name and a password, and what it was shown."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"experiments": []}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.mark.slow
def test_name_and_password_of_a_server_are_used(
    tmp_path: Path, guarded: tuple[str, list[str]]
) -> None:
    host, seen = guarded
    to = ("--tracking-uri", f"http://me:s3%2Fcret@{host}")
    answer = forked.run("--store", tmp_path / "s", *to, "models", "--format", "json")
    assert (answer.returncode, answer.stdout) == (0, "[]\n")
    assert set(seen) == {"Basic " + base64.b64encode(b"me:s3/cret").decode()}
    assert "cret" not in answer.stderr


def test_the_ui_says_where_its_port_is_taken(tmp_path: Path, indelible: Indelible) -> None:
    open_store(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = indelible(tmp_path, "ui", "--port", port)
    assert (answer.code, answer.out) == (1, "")
    said = f"indelible: port {port} cannot be listened on: Address already in use"
    assert answer.err.startswith(said)


# Schemas


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The database of an MLflow of the year 2024, in a store's place."""
    folder = tmp_path / "store"
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder / 'mlflow.db'}")
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, "5b0e9adcef9c")
    engine.dispose()
    return folder


def revision(file: Path) -> str:
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        found = connection.execute(text("select version_num from alembic_version")).scalar()
    engine.dispose()
    return str(found)


@pytest.mark.slow
def test_three_processes_at_once_begin_one_store(tmp_path: Path) -> None:
    """A database that MLflow sets up in its place would be half of each."""
    folder = tmp_path / "store"
    all_ = [forked.Forked("--store", folder, *TRAIN, "--seed", seed) for seed in range(3)]
    answers = [process.communicate(timeout=240)[1] for process in all_]
    assert [process.returncode for process in all_] == [0, 0, 0], answers
    names = {path.name for path in folder.iterdir()} - {"mlflow.db-shm", "mlflow.db-wal"}
    assert names == {"artifacts", "mlflow.db", "store.json"}
    assert len(list(open_store(folder).finished_runs(Kind.BASE_MODEL))) == 3


def test_anothers_database_of_an_older_mlflow_is_left_alone(
    older: Path, indelible: Indelible, tmp_path: Path
) -> None:
    import mlflow

    other = older / "theirs.db"
    (older / "mlflow.db").rename(other)
    uri = ("--tracking-uri", f"sqlite:///{other}")
    answer = indelible(tmp_path / "mine", *uri, *TRAIN)
    one_line(answer, "5b0e9adcef9c", mlflow.__version__, "mlflow db upgrade")
    assert revision(other) == "5b0e9adcef9c"


@pytest.mark.parametrize("embedded", [True, False])
def test_the_database_of_a_newer_mlflow_is_left_alone(
    older: Path, indelible: Indelible, tmp_path: Path, embedded: bool
) -> None:
    import mlflow

    file = older / "mlflow.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = 'f4a9b2c7d1e6'"))
    engine.dispose()
    uri = () if embedded else ("--tracking-uri", f"sqlite:///{file}")
    answer = indelible(older if embedded else tmp_path / "mine", *uri, *TRAIN)
    one_line(answer, "f4a9b2c7d1e6", mlflow.__version__, "for a newer one's install that MLflow")
    assert revision(file) == "f4a9b2c7d1e6"
    assert sorted(path.name for path in older.iterdir()) == ["mlflow.db"]


def test_a_database_without_mlflows_tables_is_begun_only_by_writing(
    tmp_path: Path, indelible: Indelible
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "mlflow.db").touch()
    assert indelible(folder, "models").code == 2
    assert (folder / "mlflow.db").stat().st_size == 0
    assert indelible(folder, *TRAIN).code == 0
    assert len(open_reader(folder).of_kind("base_model")) == 1


# A command that is told to end


@pytest.mark.slow
def test_a_scheduler_that_ends_a_training_loses_no_model(tmp_path: Path) -> None:
    arguments = ["--store", str(tmp_path), *map(str, TRAIN), "--memorization-models", "5000"]
    process = interruptible(
        [sys.executable, "-m", "indelible", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any("memorisation" in line and " 0 of" not in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "indelible: stopped"
    assert list(tmp_path.glob("artifacts/*/*/artifacts/memorization-*"))


def pressed(signals: str, hangup: str = "SIG_DFL") -> subprocess.CompletedProcess[str]:
    """A command to which a signal comes.

    Args:
        hangup: what a process is given to do on SIGHUP, however pytest itself was started.
    """
    script = f"""
import signal
from tracker import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.{hangup})
cli.cli.main = lambda *given, **named: signal.raise_signal(signal.{signals})
cli.main()
"""
    run = [sys.executable, "-c", script]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", 1), ("SIGTERM", 128 + signal.SIGTERM), ("SIGHUP", 128 + signal.SIGHUP)],
)
def test_a_command_that_is_told_to_end_says_so(name: str, code: int) -> None:
    done = pressed(name)
    assert (done.returncode, done.stderr) == (code, "indelible: stopped\n")


def test_nohup_is_heeded() -> None:
    done = pressed("SIGHUP", hangup="SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")
