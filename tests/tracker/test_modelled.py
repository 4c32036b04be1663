"""Predictions by a fitted model: through the command line, graded, found again, and refused."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run

from analysis.warehouse import BOUNDED
from tests.tracker.conftest import ALGORITHMS, Answer, Done, Indelible, opened, own_copy
from tracker.base import base_models
from tracker.base.workers import Threads
from tracker.cli import run as run_command
from tracker.record.bulk import SqlStore
from tracker.record.opening import open_store
from tracker.record.records import Kind
from tracker.record.store import Store
from tracker.sweeping import features, predictors, regression
from tracker.sweeping.modelled import predict_by_model
from tracker.sweeping.plan import Plan
from tracker.sweeping.predictors import Source
from unlearning import algorithms, presets
from unlearning.naming import LATEST

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]
BOTH = ("--algorithm", "ga", "--algorithm", "influence")
SWEPT = 40  # samples, of seed 1
MODEL = ("predict", "--level", "model")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "REFERENCE", 30)


@pytest.fixture(scope="module")
def swept(done: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with attempts enough on one base model, and what is known of their samples."""
    folder = tmp_path_factory.mktemp("swept") / "store"
    shutil.copytree(done.folder, folder)
    sweep = ["sweep", *BOTH, "--samples", str(SWEPT), "--seed", "1", "--checkpoints", "none"]
    assert run_command(["--store", str(folder), *sweep]) == 0
    return folder


@pytest.fixture
def copy(swept: Path, tmp_path: Path) -> Path:
    return own_copy(swept, tmp_path / "copy")


def asked(indelible: Indelible, store: Path, *arguments: object) -> Rows:
    answer = indelible(store, *arguments, "--format", "json")
    assert answer.code == 0, answer.err
    found: Rows = json.loads(answer.out)
    return found


def runs(store: Path, kind: Kind) -> list[Run]:
    kept = open_store(store)
    return list(kept.runs([kept.experiment_id("digits", "small-cnn")], f"tags.kind = '{kind}'"))


def line_of(answer: Answer) -> str:
    (line,) = (line for line in answer.err.splitlines() if line.startswith("indelible:"))
    return line


def refused(indelible: Indelible, store: Path, *arguments: object) -> str:
    """The one line of a command that is the user's mistake."""
    answer = indelible(store, *arguments)
    assert (answer.code, answer.out) == (2, ""), answer.err
    return line_of(answer)


def test_it_is_fitted_once_and_graded_by_a_sweep_of_other_samples(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = indelible(copy, *MODEL, *BOTH, "--samples", SWEPT + 8, "--seed", 1)
    assert answer.code == 0
    assert re.search(r"ga \(4\d attempts on 4\d samples\), influence \(\d\d attempts", answer.err)
    assert f"influence: {SWEPT} of the {SWEPT + 8} samples are among those" in answer.err
    (predictor,) = runs(copy, Kind.PREDICTOR)
    card = predictor.data.tags["mlflow.note.content"]
    artifacts = open_store(copy).artifacts
    assert artifacts.read(predictor.info.artifact_uri, "card.md") == card.encode()
    monkeypatch.setattr(regression, "_chosen", None)  # nothing is fitted again
    rows = asked(indelible, copy, *MODEL, *BOTH, "--samples", SWEPT + 8, "--seed", 1, "--only-new")
    assert len(rows) == 16
    assert len(runs(copy, Kind.PREDICTOR)) == 1
    for row in rows:
        if row["gt"] is not None:
            assert all(row[f"{n}_low"] <= row[n] <= row[f"{n}_high"] for n in BOUNDED)
        assert row["flips"] is None or 0 <= row["flips"] <= 1
    ids = [word for row in rows[:8] for word in ("--sample", row["sample_id"])]
    sweep = indelible(copy, "sweep", *BOTH, *ids, "--seed", 1, "--checkpoints", "none").id
    assert indelible(copy, "load").code == 0
    (made,) = {row["prediction_id"] for row in rows}
    scores = asked(indelible, copy, "predict", "--score", sweep)
    graded = [row for row in scores if row["prediction_id"] == made]
    assert {(row["level"], row["refused"], row["algorithm"]) for row in graded} == {
        ("model", None, "ga"),
        ("model", None, "influence"),
    }
    own = "from predictions where predictor_id is not null"
    assert {row["predictor_id"] for row in asked(indelible, copy, "sql", own)} == {
        predictor.info.run_id
    }
    told = asked(indelible, copy, "sql", "from predictors")
    assert [row["target"] for row in told[:5]] == [
        "gt",
        "steps",
        "prob_lost",
        "points_lost",
        "flips",
    ]
    assert f"| ga | gt | {told[0]['n']} | {told[0]['rho']:.3f} (" in card
    assert told[0]["index_rho"] is not None
    assert told[5]["index_rho"] is None
    assert indelible(copy, "check").code == 0


def test_what_it_was_fitted_on_and_its_repeats_do_not_grade_it(
    copy: Path, indelible: Indelible
) -> None:
    assert indelible(copy, "load").code == 0
    seen = "select sample_id from attempts where algorithm = 'influence' and status = 'flipped'"
    sample = asked(indelible, copy, "sql", seen)[0]["sample_id"]
    ga = ("--algorithm", "ga", "--sample", sample, "--seed", 7)
    (row,) = asked(indelible, copy, *MODEL, *ga)
    assert {row[f"{name}_{end}"] for name in BOUNDED for end in ("low", "high")} == {None}
    assert row["gt"] is not None
    repeat = indelible(copy, "sweep", *ga, "--checkpoints", "none").id
    assert indelible(copy, "load").code == 0
    said = "1 of 1 attempts are among those that it was fitted on, or repeat them"
    assert said in refused(indelible, copy, "predict", "--score", repeat)


def test_another_base_model_is_predicted_and_fitted_on_too(
    copy: Path, done: Done, indelible: Indelible
) -> None:
    ga = ("--algorithm", "ga")
    asked(indelible, copy, *MODEL, *ga, "--model", done.model, "--samples", 2)
    other = indelible(copy, "train", "--epochs", 6, "--seed", 1).id
    rows = asked(indelible, copy, *MODEL, *ga, "--model", other, "--samples", 6)
    assert len(runs(copy, Kind.PREDICTOR)) == 1  # nothing is there of the other one
    right = [row for row in rows if row["gt"] is not None]
    assert right
    assert all(row["gt_low"] is not None for row in right)  # new, of this base model
    sweep = ("sweep", *ga, "--model", other, "--samples", 6, "--seed", 3, "--checkpoints", "none")
    assert indelible(copy, *sweep).code == 0
    asked(indelible, copy, *MODEL, *ga, "--model", other, "--samples", 6)
    newest, _ = runs(copy, Kind.PREDICTOR)
    card = newest.data.tags["mlflow.note.content"]
    (line,) = (line for line in card.splitlines() if "attempts on" in line)
    assert f"`{other}`" in line
    assert f"`{done.model}`" in line


@pytest.fixture(scope="module")
def fitted(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a predictor of `ga`, and its run's id."""
    folder = tmp_path_factory.mktemp("fitted") / "store"
    shutil.copytree(swept, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "REFERENCE", 30)
        command = [*MODEL, "--algorithm", "ga", "--samples", "2"]
        assert run_command(["--store", str(folder), *command]) == 0
    (run,) = runs(folder, Kind.PREDICTOR)
    return folder, run.info.run_id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--algorithm", "scrub"), "knows ga, and not scrub"),
        (("--algorithm", "ga", "--set", "ga.lr=1"), "fitted on ga with lr=0.0003, and lr=1.0 is"),
        (("--algorithm", "ga", "--precision", "float64"), "for precision float32, not for float64"),
        (("--algorithm", "ga", "--remaining", "100"), "for remaining all, not for 100"),
    ],
)
def test_what_it_was_not_fitted_for_is_refused(
    fitted: tuple[Path, str], indelible: Indelible, arguments: tuple[str, ...], said: str
) -> None:
    folder, run_id = fitted
    before = len(runs(folder, Kind.PREDICTION))
    command = (*MODEL, "--samples", 2, "--fitted", run_id, *arguments)
    line = refused(indelible, folder, *command)
    assert said in line
    assert line.endswith(": --fitted new fits another")
    assert len(runs(folder, Kind.PREDICTION)) == before


def test_another_architecture_and_other_runs_are_refused(
    fitted: tuple[Path, str], done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(fitted[0], store)
    ga = ("--algorithm", "ga", "--samples", 20, "--fitted")
    assert f"there is no predictor '{done.model}'" in refused(
        indelible, store, *MODEL, *ga, done.model
    )
    mlp = indelible(store, "train", "--epochs", 1, "--arch", "mlp").id
    line = refused(indelible, store, *MODEL, "--model", mlp, *ga, fitted[1])
    assert "fitted for arch small-cnn, not for mlp" in line
    assert "no predictor of digits and mlp" in refused(
        indelible, store, *MODEL, "--model", mlp, *ga, "latest"
    )


@pytest.mark.parametrize("changed", ["index", "families"])
def test_other_versions_of_factors_are_refused(
    fitted: tuple[Path, str], indelible: Indelible, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    name = {"index": "formula", "families": "version"}[changed]
    monkeypatch.setattr(predictors, name, lambda *_: "other")
    line = refused(
        indelible, fitted[0], *MODEL, "--algorithm", "ga", "--samples", 2, "--fitted", "latest"
    )
    of = {"index": "the index", "families": "the factors pre/"}[changed]
    assert f"was fitted with another version of {of}" in line


def test_a_lost_file_is_refused_and_an_offence(
    fitted: tuple[Path, str], indelible: Indelible, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(fitted[0], store)
    (path,) = (store / "artifacts").glob("*/*/artifacts/predictor-*.json")
    path.write_bytes(path.read_bytes()[:-1])
    assert indelible(store, "load").code == 0
    (offence,) = json.loads(indelible(store, "check", "--format", "json").out)
    assert (offence["audit"], offence["run_id"]) == ("artifact", fitted[1])
    answer = indelible(store, *MODEL, "--algorithm", "ga", "--samples", 2, "--fitted", "latest")
    assert (answer.code, answer.out) == (2, "")
    assert "is damaged, it is not what was written: --fitted new fits another" in line_of(answer)
    command = (*MODEL, "--algorithm", "ga", "--samples", 2, "--fitted")
    assert "is in the store, with its card" in indelible(store, *command, "new").err
    for reference in ("latest", fitted[1][:10]):
        assert indelible(store, *command, reference).code == 0
    assert len(runs(store, Kind.PREDICTOR)) == 1
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0


@pytest.mark.parametrize("where", ["pre_factors", "forecasts", "fit"])
def test_what_was_interrupted_goes_on(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    command = (*MODEL, "--algorithm", "ga", "--samples", 2)
    with monkeypatch.context() as patch:
        patch.setattr(predictors if where == "fit" else features, where, stop)
        answer = indelible(copy, *command)
    assert (answer.code, answer.out) == (1, "")
    assert "stopped; the same command goes on where it stopped" in answer.err
    assert runs(copy, Kind.PREDICTOR) == runs(copy, Kind.PREDICTION) == []
    assert indelible(copy, *command).code == 0
    assert len(runs(copy, Kind.PREDICTOR)) == 1


def test_a_half_written_predictor_does_not_count(copy: Path, indelible: Indelible) -> None:
    indelible(copy, *MODEL, "--algorithm", "ga", "--samples", 2)
    (run,) = runs(copy, Kind.PREDICTOR)
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        half = "update runs set start_time = 0, status = 'RUNNING' where run_uuid = ?"
        db.execute(half, (run.info.run_id,))
    latest = (*MODEL, "--algorithm", "ga", "--samples", 2, "--fitted", "latest")
    assert "there is no predictor" in refused(indelible, copy, *latest)
    assert indelible(copy, "load").code == 0
    assert asked(indelible, copy, "sql", "from predictors") == []
    answer = indelible(copy, "check", "--format", "json")
    assert "half_written_prediction" in {row["audit"] for row in json.loads(answer.out)}


@pytest.mark.parametrize("kind", [Store, SqlStore])
def test_every_store_takes_it_once(copy: Path, done: Done, kind: type[Store]) -> None:
    store = opened(kind, copy)
    base = base_models.load(store, done.model, torch.device("cpu"))
    chosen = algorithms.get("ga").from_text(presets.load("digits")["ga"])
    plan = Plan.on(base, [chosen], base.model.dataset.train.ids[:3].tolist(), 3, "three")

    def source(reference: str) -> Source:
        return Source(
            reference,
            lambda run_id: base,
            Threads(1),
            lambda total: nullcontext(lambda count, doing: None),
            lambda line: None,
        )

    made = predict_by_model(store, base, plan, source("new"))
    assert predict_by_model(store, base, plan, source(LATEST)).run_id == made.run_id
    (run,) = store.finished_runs(Kind.PREDICTOR)
    assert run.data.metrics["ga/gt/rho"] > 0
    assert set(ALGORITHMS) >= {run.data.params["algorithms"]}
