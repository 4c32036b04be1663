"""Probability and loss after each step: as metrics of the child runs, or not kept."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import factors
from factors.evaluation import Chunk
from factors.family import Column, Family
from tests.tracker.conftest import Indelible, opened, own_copy
from tests.tracker.test_bulk import filled, member
from tracker.base import base_models
from tracker.reading import loading
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_reader, open_store
from tracker.store.read import ClientReader
from tracker.store.records import HISTORIES, Histories, Kind
from tracker.store.write import Store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure, draw_samples
from tracker.sweep.options import Options
from tracker.sweep.plan import Plan
from tracker.sweep.shards import Shard
from unlearning.execution import Execution

SAMPLES = 4
HOW = Options(chunk=2, execution=Execution.STACKED)
NONE = replace(HOW, histories=Histories.NONE)
Rows = list[tuple[Any, ...]]

COLUMN = Column("drop", "Drop", "probability", "low", "In the first step.", undefined="no step")


def swept(store: Store, how: Options) -> str:
    (run,) = store.finished_runs(Kind.BASE_MODEL)
    base = base_models.load(store, str(run.run_id), torch.device("cpu"))
    ids = draw_samples(base.model.dataset.train.ids.tolist(), SAMPLES, 1)
    return sweep.run(store, base, Plan.on(base, configure(["ga"], "digits", []), ids, 0, "s"), how)


def loaded(store: Store, kind: type[Store] = SqlStore) -> Rows:
    """What a load puts into the relation `histories`, with members' keys; bits, not numbers."""
    reader = open_reader(store.address.folder) if kind is SqlStore else ClientReader(store)
    keys = {r.run_id: r.tags["key"] for r in store.finished_runs(Kind.MEMBER)}
    found = loading.logged(reader, sorted(keys), keys)["histories"].to_pylist()
    return sorted(
        (keys[row["run_id"]], row["step"], *(bits(row[name]) for name in factors.HISTORIES))
        for row in found
    )


def bits(value: float | None) -> bytes | None:
    return None if value is None else np.float64(value).tobytes()


def in_sqlite(folder: Path, name: str) -> Rows:
    """Values of a metric by sqlite3 alone: the member's key, step and value."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        return db.execute(
            "select t.value, m.step, m.value from metrics as m "
            "join tags as t on t.run_uuid = m.run_uuid and t.key = 'key' "
            "join runs as r on r.run_uuid = m.run_uuid and r.lifecycle_stage = 'active' "
            "where m.key = ? and not m.is_nan order by 1, 2",
            [name],
        ).fetchall()


def kept(store: Store) -> list[str]:
    """Where the histories of members are, as their tags say it."""
    return [run.tags.get(HISTORIES, "runs") for run in store.finished_runs(Kind.MEMBER)]


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    """A store with a base model."""
    return open_store(own_copy(trained, tmp_path / "store"))


@pytest.mark.parametrize("kind", [SqlStore, Store])
def test_what_is_read_is_what_was_written(kind: type[Store], tmp_path: Path) -> None:
    odd = {
        "forget_prob": [1.0, math.nan, 0.5, math.nan, 0.25],
        "forget_loss": [0.0, math.inf, math.nan, math.nan, -math.inf],
    }
    records = [member(1, histories=odd), member(2, histories=odd).without_histories()]
    store, _ = filled(opened(kind, tmp_path), records)
    done = store.finished_members([records[0].key.partition("-")[0]])
    assert [done[record.key].has_histories for record in records] == [True, False]
    ids = [done[record.key].run_id for record in records]
    first, second = store.logged(ids, factors.HISTORIES)
    largest = math.nextafter(math.inf, 0.0)  # as which MLflow has what is infinite
    assert [*map(bits, first.histories["forget_prob"])] == [*map(bits, odd["forget_prob"])]
    assert [*map(bits, first.histories["forget_loss"])] == [
        *map(bits, [0.0, largest, math.nan, math.nan, -largest])
    ]
    assert second.histories == {}
    assert second.metrics["forget_prob"] == first.metrics["forget_prob"] == 0.25
    assert in_sqlite(tmp_path, "forget_prob")[-1] == (records[1].key, 4, 0.25)
    probs = [None if math.isnan(prob) else bits(prob) for prob in odd["forget_prob"]]
    assert [row[:3] for row in loaded(store, kind)] == [
        (records[0].key, step, probs[step])
        for step in (0, 1, 2, 4)  # at 3 neither is a number
    ]


# Factors that look at them


def drop(chunk: Chunk) -> dict[str, torch.Tensor]:
    """By how much the probability falls in the first step."""
    prob = chunk.unlearned.forget_prob
    later = prob[:, 1] if prob.shape[1] > 1 else prob[:, 0]
    return {"drop": prob[:, 0] - later}


def measured(indelible: Indelible, folder: Path, *more: str) -> tuple[dict[str, Any], str]:
    answer = indelible(folder, "measure", *more, "--format", "json")
    assert answer.code == 0, answer.err
    (row,) = json.loads(answer.out)
    return row, answer.err


@pytest.mark.slow
def test_a_factor_of_histories_is_measured_where_they_are_kept(
    store: Store, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(store, replace(HOW, shard=Shard(1, 2)))
    half = loaded(store)
    sweep_id = swept(store, NONE)
    assert sorted(kept(store)) == ["none"] * 2 + ["runs"] * 2
    assert loaded(store) == half
    said = store.run(sweep_id).tags["mlflow.note.content"]
    assert "`forget_prob` and `forget_loss` are histories over the steps; of others they" in said
    folder = store.address.folder
    family = Family("dropping", (COLUMN,), post=drop, is_logged=True, of_histories=True)
    ours = factors.families()
    monkeypatch.setattr(factors, "families", lambda asked=(): [*ours, family])
    row, said = measured(indelible, folder)
    prob = {(key, step): value for key, step, value in in_sqlite(folder, "forget_prob")}
    whole = {key for key, step in prob if step == 0}
    expected = {key: prob[key, 0] - prob[key, 1] for key in whole if (key, 1) in prob}
    found = {key: value for key, _, value in in_sqlite(folder, "dropping/drop")}
    assert expected.items() <= found.items()
    assert (len(whole), row["measured"], found.keys() <= whole) == (SAMPLES - 2, 2, True)
    assert "2 members keep no checkpoint or histories, and lack dropping of 2: " in said
    assert row["not_kept"] == 2
    assert measured(indelible, folder, "--recompute")[0]["recomputed"] == 0
