"""Every benchmark runs, at its smallest size: what it prints then is no figure."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

from tests import forked, shortcuts
from tests.benchmarks.__main__ import PARTS

ELSEWHERE = {
    "prediction": "tests/test_studies.py runs a tiny study",
    "forgetting": "tests/test_studies.py runs a tiny study",
    "demo": "tests/tracker/test_readme.py runs it, and the other parts what measures it",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _shortcuts_are_taken() -> None:
    shortcuts.take()


@pytest.fixture(autouse=True)
def forks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands are forked, as their imports take longer than what they do."""
    real = subprocess.run

    def call(words: list[str], **named: Any) -> Any:
        if not isinstance(words, list) or [sys.executable, "-m", "indelible"] != words[4:7]:
            return real(words, **named)
        done = forked.run(*words[7:])
        return subprocess.CompletedProcess(words, done.returncode, "1 1024", done.stderr)

    monkeypatch.setattr(subprocess, "run", call)
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # else it stays for all that follow


@pytest.mark.parametrize("name", sorted({*PARTS} - ELSEWHERE.keys()))
def test_a_benchmark_runs_at_its_smallest_size(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = importlib.import_module(f"tests.benchmarks.{name}")
    for constant, value in part.SMALLEST.items():
        monkeypatch.setattr(part, constant, value)
    for words in getattr(part, "WORDS", [()]):
        part.main(*words)
        assert capsys.readouterr().out
