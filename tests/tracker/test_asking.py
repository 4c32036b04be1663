"""Commands that ask read what is new in the store by themselves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.tracker.conftest import Indelible

SWEEP = ("sweep", "--algorithm", "ga", "--only-correct", "--samples", 2)


@pytest.fixture(scope="module")
def swept(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sweep that no warehouse has."""
    from tracker.cli import run

    folder = tmp_path_factory.mktemp("swept") / "s"
    shutil.copytree(trained, folder)
    assert run(["--store", str(folder), *map(str, SWEEP)]) == 0
    return folder


@pytest.fixture
def store(swept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(swept, tmp_path / "s"))


def sweeps(indelible: Indelible, store: Path) -> list[int]:
    """The samples of the sweeps that a query finds."""
    answer = indelible(store, "sql", "select samples from sweeps order by 1", "--format", "json")
    assert answer.code == 0, answer.err
    return [row["samples"] for row in json.loads(answer.out)]


def test_a_sweep_is_ranked_at_once(store: Path, indelible: Indelible) -> None:
    answer = indelible(store, "rank", "--format", "json")
    assert (answer.code, len(json.loads(answer.out))) == (0, 2)
    assert indelible(store, *SWEEP[:-1], 3).code == 0
    assert sweeps(indelible, store) == [2, 3]
    asked = (store / "analysis.duckdb").stat().st_mtime_ns
    assert sweeps(indelible, store) == [2, 3]
    assert (store / "analysis.duckdb").stat().st_mtime_ns == asked
    assert "nothing new" in indelible(store, "load").err


def test_a_store_that_can_only_be_read_answers_as_it_was_loaded(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweeps(indelible, store) == [2]
    assert indelible(store, *SWEEP[:-1], 3).code == 0
    with monkeypatch.context() as patch:
        patch.setattr("tracker.api.place.os.access", lambda path, mode: mode != os.W_OK)
        answer = indelible(store, "rank", "--format", "json")
        assert sweeps(indelible, store) == [2]
    assert (answer.code, len(json.loads(answer.out))) == (0, 2)
    assert f"{store} can only be read: " in answer.err
    assert sweeps(indelible, store) == [2, 3]


def test_a_warehouse_alone_is_asked_as_it_is(store: Path, indelible: Indelible) -> None:
    assert sweeps(indelible, store) == [2]
    alone = store.with_name("alone")
    alone.mkdir()
    shutil.copy(store / "analysis.duckdb", alone)
    assert sweeps(indelible, alone) == [2]
    assert [path.name for path in alone.iterdir()] == ["analysis.duckdb"]
