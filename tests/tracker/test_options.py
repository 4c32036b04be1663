"""Options are checked before work begins, and secrets of URIs are nobody else's business."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests import forked
from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_damage import one_line
from tracker.cli import run
from tracker.store.addresses import Address
from tracker.store.opening import open_store
from tracker.store.records import Kind
from unlearning import algorithms

TRAIN = ("train", "--epochs", 1)
ADDRESSES = {
    "mlruns.db": "it takes sqlite:///FILE",
    "file:///tmp/x": "it takes sqlite:///FILE",
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


def test_a_preset_of_training_can_be_changed(tmp_path: Path, indelible: Indelible) -> None:
    change = ("--preset", "paper", "--arch", "small-cnn")
    answer = indelible(tmp_path, "train", "--dataset", "mnist", *change)
    one_line(answer, "--download")  # all that was wrong with it


def test_a_global_option_behind_the_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["load", "--tracking-uri=http://me:s3cret@host"]) == 2
    option = "--tracking-uri"
    said = f"indelible: {option} is given before the command: indelible {option} ... load ..."
    assert capsys.readouterr().err.startswith(said)


# Passwords


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://a:b@h:1", "http://a:***@h:1"),
        ("postgresql://a:p@ss:w@h/x", "postgresql://a:***@h/x"),
        ("postgresql://a:p/q@h/x", "postgresql://a:***@h/x"),
        ("postgresql://a@h/x?sslpassword=q&y=1", "postgresql://a@h/x?sslpassword=***&y=1"),
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


# A command that is told to end


TOLD = """
import os
import signal
from tracker import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
for name, hangup in {"SIGINT": 0, "SIGTERM": 0, "SIGHUP": 1}.items():  # the last under nohup
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGHUP, signal.Handlers(hangup))
        cli.cli.invoke = lambda *given: signal.raise_signal(signal.Signals[name])
        cli.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_command_that_is_told_to_end_says_so() -> None:
    run = [sys.executable, "-c", TOLD]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=True)
    assert list(map(int, done.stdout.split())) == [1, 128 + signal.SIGTERM, 0]
    assert done.stderr == 2 * "\nindelible: stopped\n"


# Names: what a factor is called, no detail of an algorithm may be called


def test_no_sweep_is_begun_whose_details_are_named_like_a_factor(
    trained: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Talkative(algorithms.get("ga")):  # type: ignore[misc]
        name = "talkative"
        logged: ClassVar[tuple[str, ...]] = ("own_margin", "margin")

    folder = own_copy(trained, tmp_path / "s")
    monkeypatch.setattr("unlearning.algorithms.ga.ALGORITHM", Talkative)
    answer = indelible(folder, "sweep", "--algorithm", "ga", "--samples", 2)
    one_line(answer, "'talkative/margin'")
    assert "own_margin" not in answer.err
    assert answer.out == ""
    assert not list(open_store(folder).finished_runs(Kind.MEMBER))
