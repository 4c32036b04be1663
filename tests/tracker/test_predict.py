"""Predictions: written before a sweep, graded after it, and refused where they are none."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from mlflow.entities import Run
from torch import Tensor, nn

from analysis.warehouse import BOUNDED, FORECAST
from factors import index
from factors.index import Forecast
from tests.oracles import statistics as plain
from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible, opened, own_copy
from tests.tracker.test_readme import ROOT
from tracker.base import base_models, beforehand as forecasts
from tracker.reading import loading
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_store
from tracker.store.read import ClientReader
from tracker.store.records import Kind
from tracker.store.write import Store
from tracker.studies import predict as predicting
from tracker.sweep.plan import Plan
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.errors import UserError

Rows = list[dict[str, Any]]
CPU = torch.device("cpu")
OTHERS = ("--samples", 8, "--seed", 5)  # of which nothing is in the store


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    """A store of one's own with a base model and a sweep."""
    return own_copy(done.folder, tmp_path / "copy")


def asked(indelible: Indelible, store: Path, *arguments: object) -> Rows:
    answer = indelible(store, *arguments, "--format", "json")
    assert answer.code == 0, answer.err
    found: Rows = json.loads(answer.out)
    return found


def predictions(store: Path) -> list[Run]:
    kept = open_store(store)
    return list(kept.runs([kept.experiment_id("digits", "small-cnn")], "tags.kind = 'prediction'"))


def refused(indelible: Indelible, store: Path, *arguments: object) -> str:
    """The one line of a command that is the user's mistake."""
    answer = indelible(store, *arguments)
    assert (answer.code, answer.out) == (2, "")
    (line,) = (line for line in answer.err.splitlines() if line.startswith("indelible:"))
    return line


def test_what_is_predicted_first_is_graded_by_the_sweep(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    chosen = ("--algorithm", "ga", "--algorithm", "salun", *OTHERS)
    rows = asked(indelible, copy, "predict", *chosen)
    (run,) = predictions(copy)
    assert {row["prediction_id"] for row in rows} == {run.info.run_id}
    expect(open_store(copy), done, rows)
    sweep = indelible(copy, "sweep", *chosen).id
    assert indelible(copy, "load").code == 0
    scores = asked(indelible, copy, "predict", "--score", sweep)
    targets = ["gt", "steps", "prob_lost", "points_lost", "flips"]
    assert [row["target"] for row in scores] == 2 * targets
    query = f"select * from attempts where sweep_id = '{sweep}'"
    attempts = {(r["algorithm"], r["sample_id"]): r for r in asked(indelible, copy, "sql", query)}
    for score in scores:
        if score["target"] in ("gt", "steps"):
            name = score["target"]
            own = [r for r in rows if r["algorithm"] == score["algorithm"] and r[name] is not None]
            found = [attempts[r["algorithm"], r["sample_id"]][name] for r in own]
            rho = plain.spearman([r[name] for r in own], found)
            assert score["rho"] == (None if rho is None else pytest.approx(rho, abs=1e-12))
            assert (score["n"], score["refused"]) == (len(own), None)
    table = indelible(copy, "predict", "--score", sweep, "--algorithm", "ga")
    assert table.code == 0
    assert "salun" not in table.out
    assert ("Brier" in table.out, "coverage" in table.out) == (True, False)
    (hardest,) = (r for r in rows if r["rank"] == 1 and r["algorithm"] == "ga")
    (beside, _) = asked(indelible, copy, "sample", hardest["sample_id"], "--sweep", sweep)
    assert beside["predicted_gt"] == hardest["gt"]
    assert beside["predicted_before"] is True
    assert "Predicted" in indelible(copy, "sample", hardest["sample_id"], "--sweep", sweep).out
    assert indelible(copy, "check").code == 0


def expect(store: Store, done: Done, rows: Rows) -> None:
    """That rows of `ga` are what the index says of these samples, the hardest first."""
    own = [row for row in rows if row["algorithm"] == "ga"]
    base = base_models.load(store, done.model, CPU).model
    algorithm = algorithms.get("ga").from_text(presets.load("digits")["ga"])
    positions = base.dataset.train.positions([row["sample_id"] for row in own])
    forecast = index.forecast(base, algorithm, positions)
    for name in FORECAST:
        expected = getattr(forecast, name).numpy()
        found = np.array([row[name] for row in own], dtype=float)  # None becomes NaN
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    assert [row["label"] for row in own] == base.train_labels[positions].tolist()
    gt = [row["gt"] for row in own if row["gt"] is not None]
    assert gt == sorted(gt)
    assert len(own) == 8


def test_what_is_there_is_found(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", "--algorithm", "ga", *OTHERS)
    first = asked(indelible, copy, *command)
    (run,) = predictions(copy)
    monkeypatch.setattr(index, "forecast", None)  # nothing is computed
    assert asked(indelible, copy, *command) == first
    assert [r.info.end_time for r in predictions(copy)] == [run.info.end_time]
    fewer = asked(indelible, copy, "predict", "--algorithm", "ga", "--samples", 5, "--seed", 5)
    assert {r["sample_id"] for r in fewer} < {r["sample_id"] for r in first}
    tags, params = run.data.tags, run.data.params
    assert (params["algorithms"], params["seed"]) == ("ga", "5")
    assert {"formula", "data_fingerprint", "base_weights_sha256", "code_version"} <= tags.keys()
    assert len(predictions(copy)) == 2


def test_each_seed_has_a_prediction_of_its_own(copy: Path, indelible: Indelible) -> None:
    command = ("--algorithm", "ga", "--samples", 2, "--seed", 5, "--repeats", 2)
    rows = asked(indelible, copy, "predict", *command)
    assert [(row["seed"], row["rank"]) for row in rows] == [(5, 1), (5, 2), (6, 1), (6, 2)]
    assert len({row["prediction_id"] for row in rows}) == len(predictions(copy)) == 2
    assert len({row["sample_id"] for row in rows}) == 2
    assert len({row["key"] for row in rows}) == 4
    sweeps = indelible(copy, "sweep", *command).out.split()
    indelible(copy, "load")
    for sweep, seed in zip(sweeps, (5, 6), strict=True):
        scores = asked(indelible, copy, "predict", "--score", sweep)
        assert {r["prediction_id"] for r in scores} == {
            r["prediction_id"] for r in rows if r["seed"] == seed
        }
        assert {r["n"] for r in scores} == {2}
    table = indelible(copy, "predict", *command).out
    assert table.count(str(rows[0]["sample_id"])) == 1


def test_progress_counts_what_the_calibration_needs_too(copy: Path, done: Done) -> None:
    store, told, totals = open_store(copy), list[int](), list[int]()
    base = base_models.load(store, done.model, CPU)
    sweep = store.run(done.sweep)
    plan = json.loads(store.artifacts.read(sweep.info.artifact_uri, "plan.json") or b"")
    algorithm = algorithms.get("ga").from_text(plan["algorithms"]["ga"]["settings"])
    ids = [i for i in base.model.dataset.train.ids.tolist() if i not in plan["sample_ids"]][:3]

    @contextmanager
    def bar(total: int) -> Iterator[Callable[[int, str], None]]:
        totals.append(total)
        yield lambda count, doing: told.append(count)

    predicting.predict(store, base, Plan.on(base, [algorithm], ids, 0, "three"), bar=bar)
    assert totals == [3 + SAMPLES]
    assert sum(told) == 3 + SAMPLES


def test_a_prediction_after_the_attempts_is_refused(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    command = ("--algorithm", "ga", "--samples", SAMPLES)
    assert f"any of {SAMPLES} of its {SAMPLES} attempts" in indelible(copy, "predict", *command).err
    options = [word for name in ALGORITHMS for word in ("--algorithm", name)]
    for again in ((), (*options, "--samples", SAMPLES, "--again")):  # then they begin after it
        assert not again or indelible(copy, "sweep", *again).id == done.sweep
        indelible(copy, "load")
        line = refused(indelible, copy, "predict", "--score", done.sweep)
        assert f"{SAMPLES} of {SAMPLES} attempts had begun before it was made" in line
    (row, *_) = asked(indelible, copy, "sql", "from predictions limit 1")
    assert row["attempted_before"] is True
    (beside, *_) = asked(indelible, copy, "sample", row["sample_id"])
    assert beside["predicted_before"] is False


def test_the_seed_does_not_matter_to_an_algorithm_without_chance(
    copy: Path, done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    plan = done.store.artifacts.read(done.store.run(done.sweep).info.artifact_uri, "plan.json")
    ids = tmp_path / "ids"
    ids.write_text(" ".join(map(str, json.loads(plan or b"")["sample_ids"])))
    ga, scrub = (("--algorithm", n, "--sample-ids", ids, "--seed", 1) for n in ("ga", "scrub"))
    assert "known to fail" not in indelible(copy, "predict", *ga).err
    said = indelible(copy, "predict", *scrub).err
    assert said.count("scrub: the index is known to fail for scrub: the margin") == 1
    sweep = indelible(copy, "sweep", *ga).id
    indelible(copy, "load")
    line = refused(indelible, copy, "predict", "--score", sweep)
    assert f"{SAMPLES} of {SAMPLES} attempts had begun before it was made (the first at" in line


@pytest.mark.parametrize(
    ("algorithm", "dataset", "flip_rate", "said"),
    [
        ("ga", "digits", 1.0, ()),
        ("ga", "cifar10", 0.95, ()),
        ("neggrad", "mnist", 0.63, ("90%",)),
        ("scrub", "digits", 1.0, ("for scrub",)),
        ("salun", "digits", 0.9, ()),
        ("salun", "fashion-mnist", 1.0, ()),
        ("salun", "cifar10", 0.5, ("for salun", "90%")),
    ],
)
def test_where_the_index_is_known_to_fail(
    algorithm: str, dataset: str, flip_rate: float, said: tuple[str, ...]
) -> None:
    found = predicting.doubts(algorithm, dataset, flip_rate)
    assert len(found) == len(said)
    assert all(word in reason for word, reason in zip(said, found, strict=True))


def test_the_docs_say_where_the_index_is_known_to_fail() -> None:
    page = " ".join((ROOT / "docs" / "prediction.md").read_text("utf-8").split())
    with predicting.DOUBTED.open(encoding="utf-8", newline="") as file:
        reasons = [row["said"] for row in csv.DictReader(file)]
    assert len(reasons) == page.count("the index is known to fail") == 3
    assert all(f"- {reason}" in page for reason in reasons)


@pytest.mark.slow
def test_intervals_come_from_attempts_on_other_samples(copy: Path, indelible: Indelible) -> None:
    sweep = ("sweep", "--algorithm", "ga", "--checkpoints", "none", "--seed", 1)
    predict = ("predict", "--algorithm", "ga", "--seed", 1, "--samples", 30)
    answer = indelible(copy, *predict)
    assert "no intervals for ga (0): they come from 20 attempts or more" in answer.err
    first = indelible(copy, *sweep, "--samples", 24).id
    rows = asked(indelible, copy, *predict)
    new = asked(indelible, copy, *predict, "--only-new")
    assert len(new) == 6
    ids = {row["sample_id"] for row in new}
    for row in rows:
        bounds = [row[f"{name}_{end}"] for name in BOUNDED for end in ("low", "high")]
        assert all(bound is not None for bound in bounds) is (row["sample_id"] in ids)
        if row["sample_id"] in ids:
            assert all(row[f"{n}_low"] <= row[n] <= row[f"{n}_high"] for n in BOUNDED)
            assert row["steps_low"] >= 1
    assert "attempted already" in refused(indelible, copy, *sweep_to_predict(sweep))
    # Done again, they begin after the prediction, which has seen them all the same.
    assert indelible(copy, *sweep, "--samples", 24, "--again").id == first
    indelible(copy, "load")
    answer = indelible(copy, "predict", "--score", first)
    assert answer.code == 0
    assert "24 of 24 attempts had begun before it was made" in answer.err
    later = indelible(copy, *sweep, "--samples", 30).id
    indelible(copy, "load")
    scores = asked(indelible, copy, "predict", "--score", later)
    assert {(r["members"], r["intervals"]) for r in scores if r["target"] == "steps"} == {
        (30, 0),  # made before all of them
        (6, 6),
    }
    table = indelible(copy, "predict", "--score", later).out
    found = (" by prediction " in table, "coverage" in table, "of ceiling" in table)
    assert found == (True, True, False)


def sweep_to_predict(sweep: tuple[object, ...]) -> tuple[object, ...]:
    return ("predict", *sweep[1:3], "--seed", 1, "--samples", 24, "--only-new")


def test_predictions_of_another_model_do_not_count(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    score = ("predict", "--score", done.sweep)
    assert "there is no prediction" in refused(indelible, copy, *score)
    other = indelible(copy, "train", "--epochs", 1, "--seed", 1).id
    assert "unlearned from base model" in refused(indelible, copy, *score, "--model", other)
    indelible(copy, "predict", "--model", other, "--algorithm", "ga", "--samples", 2)
    indelible(copy, "load")
    line = refused(indelible, copy, *score)
    assert f"base model {done.model}, but of {other}" in line
    indelible(copy, "predict", "--model", done.model, "--algorithm", "ga", *OTHERS)
    indelible(copy, "load")
    assert "other algorithms, settings, seeds or samples" in refused(indelible, copy, *score)


def test_what_was_interrupted_goes_on(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "BLOCK", 2)
    real, seen = index.forecast, list[int]()

    def counting(stops: int | None) -> Callable[..., Forecast]:
        def forecast(
            base: BaseModel, algorithm: Algorithm, positions: Tensor, most: int | None
        ) -> Forecast:
            if stops is not None and len(seen) >= stops:
                raise KeyboardInterrupt
            seen.extend(positions.tolist())
            return real(base, algorithm, positions, most)

        return forecast

    command = ("predict", "--algorithm", "ga", "--workers", 1, *OTHERS)
    monkeypatch.setattr(index, "forecast", counting(6))
    answer = indelible(copy, *command)
    assert (answer.code, answer.out) == (1, "")
    assert "stopped; the same command goes on where it stopped" in answer.err
    assert predictions(copy) == []
    assert indelible(copy, "load").code == 0
    assert indelible(copy, "check").code == 0
    before = set(seen)
    seen.clear()
    monkeypatch.setattr(index, "forecast", counting(None))
    assert len(asked(indelible, copy, *command)) == 8
    assert 2 <= len(seen) <= 6  # what a worker had in hand is computed again
    assert len({*before, *seen}) == 8


def test_a_lost_file_is_an_offence_and_the_warehouse_keeps_its_rows(
    copy: Path, indelible: Indelible
) -> None:
    indelible(copy, "predict", "--algorithm", "ga", *OTHERS)
    (path,) = (copy / "artifacts").glob("*/*/artifacts/predictions-*.parquet")
    assert indelible(copy, "load").code == 0
    rows = asked(indelible, copy, "sql", "from predictions order by sample_id")
    whole = path.read_bytes()
    for content, said in ((whole[:-1] + b"?", "damaged"), (None, "missing")):
        path.unlink() if content is None else path.write_bytes(content)
        answer = indelible(copy, "check", "--format", "json")
        (offence,) = json.loads(answer.out)
        assert (offence["audit"], offence["repair"]) == ("artifact", "none")
        assert said in offence["offence"]
        deep = indelible(copy, "load", "--deep")
        assert deep.code == 1
        assert said in deep.err
        assert asked(indelible, copy, "sql", "from predictions order by sample_id") == rows
        with duckdb.connect(copy / "analysis.duckdb") as old:  # as another version made it
            old.execute("alter table staging.predictions drop column attempted")
            old.execute("drop table staging.calibrations")
    path.write_bytes(whole)
    assert indelible(copy, "check").code == 0


def planned(store: Store, done: Done) -> tuple[base_models.BaseRun, Plan]:
    base = base_models.load(store, done.model, CPU)
    ids = base.model.dataset.train.ids[:3].tolist()
    return base, Plan.on(base, [algorithms.get("ga")()], ids, 3, "three")


@pytest.mark.parametrize("kind", [Store, SqlStore])
def test_every_store_takes_it_once(copy: Path, done: Done, kind: type[Store]) -> None:
    store = opened(kind, copy)
    base, plan = planned(store, done)
    made = predicting.predict(store, base, plan)
    assert predicting.predict(store, base, plan).run_id == made.run_id
    (run,) = store.finished_runs(Kind.PREDICTION)
    assert run.info.run_id == made.run_id
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    reader = ClientReader(store)
    tables, lost = loading.staging(reader, reader.runs(), [made.run_id])
    assert lost == {}
    found = tables["predictions"].drop_columns(["run_id"])
    assert found.equals(made.predicted.rows.select(found.column_names))


def test_a_half_written_prediction_does_not_count(
    copy: Path, done: Done, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(Store, copy)
    base, plan = planned(store, done)
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "set_terminated", None)
        with pytest.raises(TypeError):
            predicting.predict(store, base, plan)
    (run,) = predictions(copy)
    assert run.info.status == "RUNNING"
    assert indelible(copy, "load").code == 0
    assert asked(indelible, copy, "sql", "from predictions") == []
    assert indelible(copy, "check").code == 0  # it may be written at this moment
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        db.execute("update runs set start_time = 0 where run_uuid = ?", (run.info.run_id,))
    answer = indelible(copy, "check", "--format", "json")
    assert "half_written_prediction" in {row["audit"] for row in json.loads(answer.out)}
    assert indelible(copy, "check", "--repair", "--yes").code == 0
    made = predicting.predict(store, base, plan)
    assert made.run_id != run.info.run_id
    assert [r.info.run_id for r in predictions(copy)] == [made.run_id]


def with_head(digits: Dataset, classes: int) -> BaseModel:
    """A network that always says the last of its classes, on digits of class 0 alone."""
    head = nn.Linear(64, classes)
    head.weight.data.zero_()
    head.bias.data = torch.arange(float(classes))
    train = replace(digits.train, labels=torch.zeros_like(digits.train.labels))
    return BaseModel(nn.Sequential(nn.Flatten(), head), replace(digits, train=train), CPU)


@pytest.mark.parametrize(
    ("classes", "said"), [(1, "a single class"), (10, "none of the 2 samples")]
)
def test_a_hopeless_model_is_refused(digits: Dataset, classes: int, said: str) -> None:
    if classes == 1:
        test = replace(digits.test, labels=torch.zeros_like(digits.test.labels))
        digits = replace(digits, test=test)
    base = with_head(digits, classes)
    with pytest.raises(UserError, match=said):
        predicting.refuse_hopeless(base, digits.train.ids[:2].tolist())


def test_an_algorithm_that_the_index_does_not_know(copy: Path, indelible: Indelible) -> None:
    answer = indelible(copy, "predict", "--algorithm", "retrain", *OTHERS, "--format", "json")
    assert answer.code == 0
    assert "the index knows nothing of this algorithm" in answer.err
    assert {(row["rank"], row["gt"], row["steps"]) for row in json.loads(answer.out)} == {
        (None, None, None)
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--algorithm"),
        (("--algorithm", "gradient"), "'gradient': choose"),
        (("--algorithm", "ga", "--model", "0" * 32), "there is no base model"),
        (("--algorithm", "ga", "--samples", "0"), "--samples"),
        (("--algorithm", "ga", "--samples", "1001"), "has 1000"),
        (("--algorithm", "ga", "--samples", "2", "--sample", "3"), "exclude"),
        (("--algorithm", "ga", "--set", "ga.lr=-1"), "> 0"),
        (("--algorithm", "ga", "--top", "0"), "--top"),
        (("--score", "nope"), "indelible sweeps"),
        (("--score", "latest", "--sample", "3"), "--sample has no effect with --score"),
        (("--score", "latest", "--set", "ga.lr=1"), "--set has no effect with --score"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    copy: Path, indelible: Indelible, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(indelible, copy, "predict", *arguments)
    assert predictions(copy) == []
