"""Options are checked before work begins, and secrets of URIs are nobody else's business."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import mlflow
import pytest
import torch
from safetensors.torch import load_file, save_file

import factors
from factors.family import Column
from tests import forked
from tests.ports import free_port
from tests.processes import interruptible
from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_damage import one_line
from tracker.cli import run
from tracker.store.addresses import Address
from tracker.store.opening import open_reader, open_store
from tracker.store.records import Kind
from tracker.sweep.choosing import configure
from tracker.sweep.plan import Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError

TRAIN = ("train", "--epochs", 1)
ADDRESSES = {
    "mlruns.db": "it takes sqlite:///FILE",
    "file:///tmp/x": "it takes sqlite:///FILE",
    "mysql://root@127.0.0.1/x": "it takes sqlite:///FILE",
    "sqlite://": "names no file",
    "http://127.0.0.1:9/?token=x": "nothing after '?'",
    "http://": "names no host",
    "postgresql+nope://h/x": "not understood",
}


@pytest.mark.parametrize(("uri", "said"), ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_refused_before_anything_begins(
    tmp_path: Path, indelible: Indelible, uri: str, said: str
) -> None:
    one_line(indelible(tmp_path / "s", "--tracking-uri", uri, *TRAIN), said)
    assert not (tmp_path / "s" / "store.json").exists()


@pytest.mark.parametrize("factory", ["os:getcwd", "torch.nn:Conv3d"])
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


def test_weights_that_are_not_finite_are_not_imported(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    (path,) = trained.rglob("weights-*.safetensors")
    state = load_file(path)
    state["classifier.bias"][3] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    answer = indelible(tmp_path / "s", "train", "--from-weights", tmp_path / "nan.safetensors")
    one_line(answer, "not finite")


def test_a_global_option_behind_the_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["load", "--tracking-uri=http://me:s3cret@host"]) == 2
    option = "--tracking-uri"
    said = f"indelible: {option} is given before the command: indelible {option} ... load ..."
    assert capsys.readouterr().err.startswith(said)


# Passwords

SECRETS = {
    "postgresql+psycopg://me:s3%2Fcr@127.0.0.1:{port}/x": "s3%2Fcr",
    "http://me:s3cret@127.0.0.1:{port}": "s3cret",
    "postgresql+psycopg://127.0.0.1:{port}/x?user=me&password=s3cret": "s3cret",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", [("models",), ("train", "--epochs", 1)], ids=["read", "write"])
@pytest.mark.parametrize(("uri", "secret"), SECRETS.items(), ids=range(len(SECRETS)))
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


def test_the_ui_says_where_its_port_is_taken(tmp_path: Path, indelible: Indelible) -> None:
    open_store(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = indelible(tmp_path, "ui", "--port", port)
    assert (answer.code, answer.out) == (1, "")
    said = f"indelible: port {port} cannot be listened on: Address already in use"
    assert answer.err.startswith(said)


# Schemas


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


@pytest.mark.parametrize(
    ("revision", "embedded", "said"),
    [
        ("5b0e9adcef9c", False, "mlflow db upgrade"),  # of the year 2024
        ("f4a9b2c7d1e6", True, "for a newer one's install that MLflow"),
        ("f4a9b2c7d1e6", False, "for a newer one's install that MLflow"),
    ],
)
def test_the_database_of_another_mlflow_is_left_alone(
    indelible: Indelible, tmp_path: Path, revision: str, embedded: bool, said: str
) -> None:
    open_store(tmp_path)
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("update alembic_version set version_num = ?", (revision,))
    uri = () if embedded else ("--tracking-uri", f"sqlite:///{file}")
    answer = indelible(tmp_path if embedded else tmp_path / "mine", *uri, *TRAIN)
    one_line(answer, revision, mlflow.__version__, said)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("select version_num from alembic_version").fetchone() == (revision,)


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
    arguments = ["--store", str(tmp_path), *map(str, TRAIN), "--references", "5000"]
    process = interruptible(
        [sys.executable, "-m", "indelible", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any("reference models" in line and " 0 of" not in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "indelible: stopped"
    assert list(tmp_path.glob("artifacts/*/*/artifacts/references-*"))


@pytest.mark.parametrize(
    ("name", "hangup", "code", "said"),
    [
        ("SIGINT", "SIG_DFL", 1, "\nindelible: stopped\n"),
        ("SIGTERM", "SIG_DFL", 128 + signal.SIGTERM, "\nindelible: stopped\n"),
        ("SIGHUP", "SIG_IGN", 0, ""),  # under nohup
    ],
)
def test_a_command_that_is_told_to_end_says_so(
    name: str, hangup: str, code: int, said: str
) -> None:
    script = f"""
import signal
from tracker import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.{hangup})
cli.cli.invoke = lambda *given: signal.raise_signal(signal.{name})
cli.main()
"""
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (code, said)


# Names: what a factor is called, no detail of an algorithm may be called


def logging(*names: str) -> type[Algorithm]:
    """An algorithm that nobody registered, with details of these names."""

    @dataclass(frozen=True, kw_only=True)
    class Talkative(algorithms.get("ga")):  # type: ignore[misc]
        name = "talkative"
        logged: ClassVar[tuple[str, ...]] = names

    return Talkative


def planned(*chosen: Algorithm) -> Plan:
    return Plan("weights", "data", "net", "float32", chosen, (1, 2), seed=0, name="s")


@pytest.mark.parametrize("column", factors.columns()[::20], ids=lambda column: column.name)
def test_no_sweep_is_planned_whose_details_are_named_like_a_factor(column: Column) -> None:
    with pytest.raises(UserError) as refusal:
        planned(logging("fine", column.name)())
    assert f"'talkative/{column.name}'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_it_is_said_before_anything_is_run(
    trained: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_copy(trained, tmp_path / "s")
    monkeypatch.setattr("unlearning.algorithms.ga.ALGORITHM", logging("margin"))
    answer = indelible(folder, "sweep", "--algorithm", "ga", "--samples", 2)
    assert (answer.code, answer.out) == (2, "")
    assert "'talkative/margin'" in answer.err
    assert not list(open_store(folder).finished_runs(Kind.MEMBER))


def test_all_that_there_are_can_be_planned_and_other_names_too() -> None:
    every = configure(algorithms.names(), "digits", [])
    assert planned(*every, logging("alpha", "own_margin", "steps_")()).size == 2 * (len(every) + 1)
