"""A store with a base model and a small sweep, made once through the command line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from analysis import figures
from tests import shortcuts
from tracker.cli import run
from tracker.store.addresses import Address
from tracker.store.opening import open_store
from tracker.store.write import Store

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
SAMPLES = 8
NOTHING_TRAINED_FOR = (
    *("memorization", "reference_phi", "reference_sd", "z_untouched", "z", "z_error", "forgotten"),
    *("unlearning_gap", "untouched_gap", "relative_gap"),
)


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def id(self) -> str:
        return self.out.strip()


Indelible = Callable[..., Answer]
AnyStore = TypeVar("AnyStore", bound=Store)


def opened(kind: type[AnyStore], folder: Path) -> AnyStore:
    """The folder's own store, written in that way."""
    folder.mkdir(parents=True, exist_ok=True)
    return kind(Address.of(folder))


def own_copy(folder: Path, copy: Path) -> Path:
    """A copy of a store, whose runs have their artifacts in the copy's folder too."""
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    open_store(copy)
    return copy


@pytest.fixture(scope="session", autouse=True)
def _shortcuts_are_taken() -> None:
    shortcuts.take()


@pytest.fixture(scope="session", autouse=True)
def _stores_that_are_copied_are_closed() -> Iterator[None]:
    """Whatever closes a file of SQLite's drops the locks of this process, also who only copied it.

    The next process to close it would then delete the log of those that MLflow keeps open here.
    """
    copytree = shutil.copytree

    def copied(*given: Any, **named: Any) -> Any:
        for engine in SqlAlchemyStore._engine_map.values():
            engine.dispose()
        return copytree(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copytree", copied)
        yield


@pytest.fixture
def indelible(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Indelible:
    """Run a command in this process on a given store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(store: Path, *arguments: object) -> Answer:
        capsys.readouterr()
        code = run(["--store", str(store), *map(str, arguments)])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@dataclass(frozen=True)
class Done:
    """A store with a finished sweep in it."""

    folder: Path
    model: str
    sweep: str

    @property
    def store(self) -> Store:
        return open_store(self.folder)


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the figures, only some of each kind are drawn: all of them take longer than a sweep."""
    all_of_them = figures._figures

    def few(*given: Any) -> dict[str, Any]:
        kept = re.compile(r"[^-]+|(factor|gallery)-(gt|margin|steps)")
        return {name: draw for name, draw in all_of_them(*given).items() if kept.fullmatch(name)}

    monkeypatch.setattr(figures, "_figures", few)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a base model that was trained for 8 epochs, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    assert run(["--store", str(folder), "train", "--epochs", "8"]) == 0
    return folder


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The default base model, and a sweep of the paper's algorithms over a few samples, loaded."""
    folder = tmp_path_factory.mktemp("store")
    options = [word for name in ALGORITHMS for word in ("--algorithm", name)]
    ids = []
    for command in (["train"], ["sweep", *options, "--samples", str(SAMPLES)], ["load"]):
        assert run(["--store", str(folder), *command]) == 0
        ids.append(command[0])
    store = open_store(folder)
    (model,) = store.finished_runs("base_model")  # type: ignore[arg-type]
    (sweep,) = store.finished_runs("sweep")  # type: ignore[arg-type]
    return Done(folder, model.run_id, sweep.run_id)
