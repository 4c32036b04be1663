"""Predictions: written before a sweep, graded after it, and refused where they are none."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.warehouse import BOUNDED, FORECAST
from factors import index
from factors.index import Forecast
from tests.oracles import statistics as plain
from tests.tracker.conftest import (
    SAMPLES,
    Answer,
    Done,
    Indelible,
    opened,
    own_copy,
)
from tests.tracker.test_readme import ROOT
from tracker.base import base_models, references
from tracker.base import beforehand as forecasts
from tracker.reading import loading
from tracker.store.opening import open_store
from tracker.store.read import ClientReader
from tracker.store.records import Kind, Run
from tracker.store.write import Store
from tracker.studies import predict
from tracker.sweep.plan import Plan
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.errors import UserError
from unlearning.references import References

Rows = list[dict[str, Any]]
CPU = torch.device("cpu")
OTHERS = ("--samples", 8, "--seed", 5)  # of which nothing is in the store


@dataclass
class Case:
    """A store of one's own with a base model and a sweep, and the commands to call on it."""

    store: Path
    done: Done
    indelible: Indelible

    def call(self, *words: object) -> Answer:
        return self.indelible(self.store, *words)

    def rows(self, *words: object) -> Rows:
        answer = self.call(*words, "--format", "json")
        assert answer.code == 0, answer.err
        found: Rows = json.loads(answer.out)
        return found

    def refused(self, *words: object) -> str:
        """The one line of a command that is the user's mistake."""
        answer = self.call(*words)
        assert (answer.code, answer.out) == (2, "")
        (line,) = (line for line in answer.err.splitlines() if line.startswith("indelible:"))
        return line

    def predictions(self) -> list[Run]:
        kept = open_store(self.store)
        asked = "tags.kind = 'prediction'"
        return list(kept.runs([kept.experiment_id("digits", "small-cnn")], asked))


@pytest.fixture
def case(done: Done, tmp_path: Path, indelible: Indelible) -> Case:
    return Case(own_copy(done.folder, tmp_path / "copy"), done, indelible)


def test_what_is_predicted_first_is_graded_by_the_sweep_and_lost_with_its_file(case: Case) -> None:
    chosen = ("--algorithm", "ga", "--algorithm", "salun", *OTHERS)
    rows = case.rows("predict", *chosen)
    (run,) = case.predictions()
    assert {row["prediction_id"] for row in rows} == {run.run_id}
    expect(case, rows, "flip", "gt")
    sweep = case.call("sweep", *chosen).id
    assert case.call("load").code == 0
    scores = case.rows("predict", "--score", sweep)
    targets = ["gt", "steps", "prob_lost", "points_lost", "flips"]
    assert [row["target"] for row in scores] == 2 * targets
    query = f"select * from attempts where sweep_id = '{sweep}'"
    attempts = {(r["algorithm"], r["sample_id"]): r for r in case.rows("sql", query)}
    for score in (score for score in scores if score["target"] in ("gt", "steps")):
        name = score["target"]
        own = [r for r in rows if r["algorithm"] == score["algorithm"] and r[name] is not None]
        found = [attempts[r["algorithm"], r["sample_id"]][name] for r in own]
        rho = plain.spearman([r[name] for r in own], found)
        assert score["rho"] == (None if rho is None else pytest.approx(rho, abs=1e-12))
        assert (score["n"], score["refused"]) == (len(own), None)
    table = case.call("predict", "--score", sweep, "--algorithm", "ga")
    assert table.code == 0
    assert "salun" not in table.out
    assert ("brier" in table.out, "coverage" in table.out) == (True, False)
    (hardest,) = (r for r in rows if r["rank"] == 1 and r["algorithm"] == "ga")
    (beside, _) = case.rows("sample", hardest["sample_id"], "--sweep", sweep)
    assert beside["predicted_gt"] == hardest["gt"]
    assert beside["predicted_before"] is True
    assert case.call("check").code == 0
    (path,) = (case.store / "artifacts").glob("*/*/artifacts/predictions-*.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (problem,) = json.loads(case.call("check", "--format", "json").out)
    assert (problem["audit"], problem["repair"]) == ("artifact", "none")
    deep = case.call("load", "--deep")
    assert (deep.code, "damaged" in deep.err) == (1, True)
    assert case.rows("sql", "from predictions") == []


def expect(case: Case, rows: Rows, until: str, hardest: str) -> None:
    """That rows of `ga` are what the index says of these samples, in their order."""
    own = [row for row in rows if row["algorithm"] == "ga"]
    base = base_models.load(open_store(case.store), case.done.model, CPU).model
    algorithm = algorithms.get("ga").from_text(presets.load("digits")["ga"])
    positions = base.dataset.train.positions([row["sample_id"] for row in own])
    target = base.targets(positions) if until == "reference" else None
    forecast = index.forecast(base, algorithm, positions, target=target)
    for name in FORECAST:
        found = np.array([row[name] for row in own], dtype=float)  # None becomes NaN
        np.testing.assert_allclose(found, getattr(forecast, name), rtol=1e-6, atol=1e-12)
    assert [row["label"] for row in own] == base.train_labels[positions].tolist()
    values = [row[hardest] for row in own if row[hardest] is not None]
    assert values == sorted(values, reverse=until == "reference")
    assert len(own) == len(rows) / len({row["algorithm"] for row in rows})


def test_what_is_there_is_found_for_each_seed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("predict", "--algorithm", "ga", "--samples", 2, "--seed", 5, "--repeats", 2)
    first = case.rows(*command)
    assert [(row["seed"], row["rank"]) for row in first] == [(5, 1), (5, 2), (6, 1), (6, 2)]
    assert len({row["prediction_id"] for row in first}) == len(case.predictions()) == 2
    assert len({row["key"] for row in first}) == 4
    (run, _) = case.predictions()
    monkeypatch.setattr(index, "forecast", None)  # nothing is computed
    assert case.rows(*command) == first
    assert run.ended_ms in {again.ended_ms for again in case.predictions()}
    assert (run.params["algorithms"], len(case.predictions())) == ("ga", 2)
    assert {"formula", "data_fingerprint", "base_weights_sha256"} <= run.tags.keys()


def test_a_prediction_after_the_attempts_is_refused(case: Case, tmp_path: Path) -> None:
    command = ("--algorithm", "ga", "--samples", SAMPLES)
    assert f"any of {SAMPLES} of its {SAMPLES} attempts" in case.call("predict", *command).err
    uri = case.done.store.run(case.done.sweep).artifact_uri
    plan = json.loads(case.done.store.artifacts.read(uri, "plan.json") or b"")
    (tmp_path / "ids").write_text(" ".join(map(str, plan["sample_ids"])))
    ga = ("--algorithm", "ga", "--sample-ids", tmp_path / "ids", "--seed", 1)
    case.call("predict", *ga)
    of_other_seed = case.call("sweep", *ga).id  # which does not matter without chance
    case.call("load")
    for sweep in (case.done.sweep, of_other_seed):
        line = case.refused("predict", "--score", sweep)
        assert f"{SAMPLES} of {SAMPLES} attempts had begun before it was made (the first at" in line
    assert {row["attempted_before"] for row in case.rows("sql", "from predictions")} == {True}
    (beside, *_) = case.rows("sample", plan["sample_ids"][0], "--sweep", case.done.sweep)
    assert beside["predicted_before"] is False


@pytest.mark.parametrize(
    ("algorithm", "dataset", "flip_rate", "said"),
    [
        ("ga", "digits", 1.0, ()),
        ("neggrad", "mnist", 0.63, ("90%",)),
        ("scrub", "digits", 1.0, ("for scrub",)),
        ("salun", "cifar10", 0.5, ("for salun", "90%")),
    ],
)
def test_where_the_index_is_known_to_fail(
    algorithm: str, dataset: str, flip_rate: float, said: tuple[str, ...]
) -> None:
    found = predict.doubts(algorithm, dataset, flip_rate)
    assert len(found) == len(said)
    assert all(word in reason for word, reason in zip(said, found, strict=True))
    of_way = predict.doubts(algorithm, dataset, flip_rate, "reference")
    assert len(of_way) == len([word for word in said if word != "90%"])
    assert not {*of_way} & {*found} or algorithm == "salun"


def test_the_docs_say_where_the_index_is_known_to_fail() -> None:
    page = " ".join((ROOT / "docs" / "prediction.md").read_text("utf-8").split())
    with predict.DOUBTED.open(encoding="utf-8", newline="") as file:
        reasons = [row["said"] for row in csv.DictReader(file)]
    assert len(reasons) == page.count("the index is known to fail") == 4
    assert all(f"- {reason}" in page for reason in reasons)


def test_predictions_of_another_model_or_of_other_samples_do_not_count(case: Case) -> None:
    score = ("predict", "--score", case.done.sweep)
    assert "there is no prediction" in case.refused(*score)
    other = case.call("train", "--epochs", 1, "--seed", 1).id
    for model in (other, case.done.model):
        case.call("predict", "--model", model, "--algorithm", "ga", *OTHERS)
    case.call("load")
    assert "there is no prediction" in case.refused(*score)


def test_what_was_interrupted_goes_on(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "BLOCK", 2)
    real, seen, stops = index.forecast, list[int](), [6]

    def forecast(base: BaseModel, algorithm: Algorithm, at: Tensor, *how: None) -> Forecast:
        if len(seen) >= stops[0]:
            raise KeyboardInterrupt
        seen.extend(at.tolist())
        return real(base, algorithm, at, *how)

    command = ("predict", "--algorithm", "ga", "--workers", 1, *OTHERS)
    monkeypatch.setattr(index, "forecast", forecast)
    answer = case.call(*command)
    assert (answer.code, answer.out) == (1, "")
    assert "stopped; the same command goes on where it stopped" in answer.err
    assert case.predictions() == []
    before, stops[0] = [*seen], 100
    assert len(case.rows(*command)) == 8
    assert 2 <= len(seen) - len(before) <= 6  # what a worker had in hand is computed again
    assert len({*seen}) == 8


@pytest.fixture
def referenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference models that are less sure of what they never saw, made up."""

    def read(store: Store, run: Run) -> References:
        ids, draw = range(1000), torch.Generator().manual_seed(0)
        seen = (torch.arange(len(ids)) + torch.arange(8)[:, None]) % 4 > 0
        phi = torch.randn(8, len(ids), generator=draw, dtype=torch.float64) + 4 + seen.double()
        tests = torch.randn(8, 797, generator=draw, dtype=torch.float64) + 6
        return References(seen, phi, torch.ones_like(seen), tests)

    monkeypatch.setattr(references, "read", read)


@pytest.mark.usefixtures("referenced")
def test_until_the_reference(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, more = (("--algorithm", "ga", "--seed", 5, "--samples", n) for n in (32, 38))
    assert case.call("sweep", *chosen).code == 0  # to the flip: it has nothing to do with these
    reference = ("--until", "reference")
    until = (*chosen, *reference)
    rows = case.rows("predict", *until)
    expect(case, rows, "reference", "points_lost")
    with monkeypatch.context() as patch:
        patch.setattr(index, "forecast", None)  # nothing is computed
        assert case.rows("predict", *until) == rows
    (run,) = case.predictions()
    assert run.params["until"] == "reference"
    assert bounded(case.rows("predict", *more, *reference)) == []
    assert "they come from 20 attempts or more" in case.call("predict", *more, *reference).err
    sweep = case.call("sweep", *until).id
    assert case.call("load").code == 0
    graded = case.rows("predict", "--score", sweep)
    scores = {row["target"]: row for row in graded if row["prediction_id"] == run.run_id}
    query = "select * exclude (key) from predictions join internal.runs using (key)"
    one = f"where parent_run_id = '{sweep}' and prediction_id = '{run.run_id}'"
    pairs = case.rows("sql", f"{query} {one}")
    still = [row for row in pairs if row["status"] == "nothing_to_forget"]
    ended = [row for row in pairs if row["status"] == "at_reference"]
    assert len(pairs) == len(still) + len(ended) == 32
    assert {(row["predicted_steps"], row["predicted_flips"]) for row in still} == {(0, 1)}
    assert {(row["n"], row["refused"]) for row in scores.values()} == {(len(ended), None)}
    assert (scores["flips"]["brier"], scores["prob_lost"]["rho"] > 0.9) == (0, True)
    ranks = {row["sample_id"]: row["predicted_rank"] for row in pairs}
    lost = {row["sample_id"]: row["points_lost"] for row in rows}
    assert ranks == {i: 1 + sum(other > own for other in lost.values()) for i, own in lost.items()}
    for ends in ((), reference):  # intervals come from attempts that ended alike
        new = bounded(case.rows("predict", *more, *ends))
        assert 1 <= len(new) <= 6
        only_new = {row["sample_id"] for row in case.rows("predict", *more, *ends, "--only-new")}
        assert {row["sample_id"] for row in new} <= only_new
        assert len(only_new) == 6
    assert "attempted already" in case.refused("predict", *until, "--only-new")


def bounded(rows: Rows) -> Rows:
    """The rows that have intervals, which are around what is predicted."""
    found = [row for row in rows if row["steps_low"] is not None]
    for row in found:
        for name in (name for name in BOUNDED if row[f"{name}_low"] is not None):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    return found


def test_a_store_behind_a_server_takes_it_whole_and_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(Store, case.store)
    base = base_models.load(store, case.done.model, CPU)
    ids = base.model.dataset.train.ids[:3].tolist()
    plan = Plan.on(base, [algorithms.get("ga")()], ids, 3, "three")
    with monkeypatch.context() as patch:  # a run is several requests
        patch.setattr(store.client, "set_terminated", None)
        with pytest.raises(TypeError):
            predict.predict(store, base, plan)
    half = len(case.predictions())
    assert case.call("check").code == 0  # it may be written at this moment
    made = predict.predict(store, base, plan)
    assert predict.predict(store, base, plan).run_id == made.run_id
    (run,) = store.finished_runs(Kind.PREDICTION)
    assert (run.run_id, len(case.predictions())) == (made.run_id, half + 1)
    inputs = store.client.get_run(run.run_id).inputs
    assert inputs is not None
    assert inputs.dataset_inputs[0].dataset.name == "digits"
    reader = ClientReader(store)
    tables, lost = loading.staging(reader, reader.runs(), [made.run_id])
    found = tables["predictions"].drop_columns(["run_id"])
    assert (lost, found.equals(made.rows.select(found.column_names))) == ({}, True)


def test_a_hopeless_model_is_refused(digits: Dataset) -> None:
    """It always says the last of its classes, of digits of class 0 alone."""
    head = nn.Linear(64, 10)
    head.weight.data.zero_()
    head.bias.data = torch.arange(10.0)
    train = replace(digits.train, labels=torch.zeros_like(digits.train.labels))
    base = BaseModel(nn.Sequential(nn.Flatten(), head), replace(digits, train=train), CPU)
    with pytest.raises(UserError, match="none of the 2 samples"):
        predict.refuse_hopeless(base, digits.train.ids[:2].tolist())


def test_bad_input_is_one_line_and_an_unknown_algorithm_a_remark(case: Case) -> None:
    ga = ("--algorithm", "ga")
    for arguments, said in (
        ((*ga, "--samples", "2", "--sample", "3"), "exclude"),
        ((*ga, "--set", "ga.lr=-1"), "> 0"),
        (("--score", "nope"), "indelible sweeps"),
        (("--score", "latest", "--set", "ga.lr=1"), "--set has no effect with --score"),
    ):
        assert said in case.refused("predict", *arguments)
    assert case.predictions() == []
    answer = case.call("predict", "--algorithm", "retrain", "--samples", 2, "--format", "json")
    assert answer.code == 0
    assert "the index knows nothing of this algorithm" in answer.err
    assert {(row["rank"], row["gt"], row["steps"]) for row in json.loads(answer.out)} == {
        (None, None, None)
    }
