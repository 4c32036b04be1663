"""A table through the command line, from training to the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from sklearn.datasets import load_iris

import indelible as face
from tests.tracker.conftest import Indelible
from tests.tracker.models import logits, models
from tests.tracker.test_damage import one_line
from tests.tracker.test_models import members
from tracker.store.opening import open_store
from unlearning import algorithms


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Iris with a text as label and as a feature, in both formats."""
    folder = tmp_path_factory.mktemp("iris")
    found = load_iris()
    columns: dict[str, Any] = dict(zip(found.feature_names, found.data.T, strict=True))
    columns["garden"] = [("north", "south")[n % 2] for n in range(150)]
    columns["species"] = [str(found.target_names[label]) for label in found.target]
    made = pa.table(columns)
    pyarrow.parquet.write_table(made, folder / "iris.parquet")
    pyarrow.csv.write_csv(made, folder / "iris.csv")
    return folder


@pytest.mark.parametrize(
    "names",
    [("ga", "boundary_shrink"), pytest.param(algorithms.names(), marks=pytest.mark.slow)],
    ids=["two", "all"],
)
def test_from_training_to_the_report(
    names: Sequence[str], iris: Path, tmp_path: Path, indelible: Indelible
) -> None:
    store, label = tmp_path / "s", ("--label", "species")
    parquet, csv = (f"table:{iris / name}" for name in ("iris.parquet", "iris.csv"))
    model = indelible(store, "train", "--dataset", parquet, *label, "--lr", 1e-2)
    assert model.code == 0
    assert indelible(store, "train", "--dataset", csv, *label, "--lr", 1e-2).id == model.id
    opened = open_store(store)
    base = opened.run(model.id)
    assert base.params["arch"] == "mlp"
    assert base.metrics["test_accuracy"] > 0.8
    words = [word for name in names for word in ("--algorithm", name)]
    for command in (("predict", "--algorithm", "ga"), ("sweep", *words)):
        answer = indelible(store, *command, "--samples", 5)
        assert answer.code == 0, answer.err
    assert [len(members(opened, name)) for name in names] == [5] * len(names)
    (sample, run), *_ = members(opened, "ga").items()
    note = run.tags["mlflow.note.content"]
    assert f"sepal length (cm) {load_iris().data[sample][0]:.6g}, " in note
    assert f"garden {('north', 'south')[sample % 2]}" in note
    assert "get-artifact" not in note
    for metric in ("boundary/linear_boundary_distance", "gradient/input_grad_norm"):
        assert metric in run.metrics
    about = indelible(store, "sample", sample)
    assert "its row: sepal length (cm) " in about.err
    assert not list(store.rglob("*.png"))
    for each in (["correlate"], ["rank"], ["check"], ["report", "--output", str(tmp_path / "r")]):
        answer = indelible(store, *each)
        assert answer.code == 0, answer.err
    page = next((tmp_path / "r").glob("*.html")).read_text()
    assert "This page has no pictures of the samples: its samples are rows of a table" in page
    assert "setosa" in page


def test_a_logged_model_says_how_its_inputs_are_made(
    iris: Path, tmp_path: Path, indelible: Indelible
) -> None:
    store, dataset = tmp_path / "s", f"table:{iris / 'iris.csv'}"
    run_id = indelible(store, "train", "--dataset", dataset, "--label", "species").id
    (model,) = models(store)
    folder = Path(str(urlsplit(model.artifact_location).path))
    said, frame = json.loads((folder / "network.json").read_text()), pd.read_csv(iris / "iris.csv")
    inputs = []
    for feature in said["features"]:
        column, text = frame[feature["column"]], feature["text"]
        values = column if text is None else (column == text).astype(float)
        inputs.append((values - feature["mean"]) / feature["scale"])
    rows = torch.tensor(np.stack(inputs, axis=1)[:, :, None, None], dtype=torch.float32)
    found = logits(f"sqlite:///{store / 'mlflow.db'}", model, rows).argmax(dim=1)
    hits = sum(said["classes"][k] == name for k, name in zip(found, frame["species"], strict=True))
    run = open_store(store).run(run_id)
    counts = {part: int(run.params[f"{part}_samples"]) for part in ("train", "test")}
    wanted = sum(run.metrics[f"{part}_accuracy"] * count for part, count in counts.items())
    assert hits == pytest.approx(wanted, abs=1e-6)
    assert hits > 120


def test_a_table_is_loaded_again_or_missed_in_one_line(
    iris: Path, tmp_path: Path, indelible: Indelible
) -> None:
    moved = tmp_path / "iris.csv"
    moved.write_bytes((iris / "iris.csv").read_bytes())
    train = ("train", "--dataset", f"table:{moved}", "--label", "species", "--epochs", 1)
    assert indelible(tmp_path / "s", *train).code == 0
    content = moved.read_text()
    moved.write_text(content.replace("5.1,3.5", "5.2,3.5", 1))
    sweep = ("sweep", "--algorithm", "ga", "--samples", 2)
    one_line(indelible(tmp_path / "s", *sweep), "another version of table-iris")
    moved.unlink()
    one_line(indelible(tmp_path / "s", *sweep), f"No such file or directory: '{moved}'")
    elsewhere = tmp_path / "elsewhere" / "iris.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text(content)
    moved.symlink_to(elsewhere)
    assert indelible(tmp_path / "s", *sweep).code == 0


def test_what_does_not_go_with_a_table(iris: Path, tmp_path: Path, indelible: Indelible) -> None:
    table = ("train", "--dataset", f"table:{iris / 'iris.csv'}")
    one_line(indelible(tmp_path, *table), "--label is not given: choose one of sepal length (cm), ")
    for arch in ("small-cnn", "resnet18"):
        answer = indelible(tmp_path, *table, "--label", "species", "--arch", arch)
        one_line(answer, "--arch mlp takes rows of a table")
    one_line(indelible(tmp_path, "train", "--label", "species"), "--label is for a data set table")


def test_in_python_it_is_the_same(
    iris: Path, tmp_path: Path, indelible: Indelible, caplog: pytest.LogCaptureFixture
) -> None:
    named = f"table:{iris / 'iris.csv'}"
    store = face.open(tmp_path)
    model = store.train(named, label="species", lr=1e-2)
    said = indelible(tmp_path, "train", "--dataset", named, "--label", "species", "--lr", 1e-2)
    assert (said.id, model.arch) == (model.run_id, "mlp")
    network = model.network()
    assert store.import_model(network, named, label="species").dataset == "table-iris"
    assert "of the test set right; always 'versicolor', the most" in caplog.text
    with pytest.raises(face.UserError, match="label is not given"):
        store.import_model(network, named)
