"""Base models and what unlearnings came to, as models that MLflow lists and loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.entities import LoggedModelStatus

import indelible as package
from tests.tracker.conftest import Indelible
from tests.tracker.models import logits, models
from tracker.store.opening import open_store
from unlearning import datasets

TRAIN = ("train", "--epochs", 8)


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    """A store that has moved since its base model was trained."""
    folder = tmp_path / "moved"
    shutil.copytree(trained, folder)
    return folder


def test_a_base_model_is_a_model_that_pyfunc_loads(store: Path) -> None:
    (model,) = models(store)
    base = package.open(store).model("latest").network()
    run = open_store(store).run(str(model.source_run_id))
    assert model.status == LoggedModelStatus.READY
    assert model.name == run.name
    assert model.tags["weights_sha256"] == run.tags["weights_sha256"]
    outputs = open_store(store).client.get_run(run.run_id).outputs
    assert outputs is not None
    assert [found.model_id for found in outputs.model_outputs] == [model.model_id]
    data = datasets.load("digits")
    images = data.inputs(data.test)
    with torch.no_grad():
        assert torch.equal(logits(f"sqlite:///{store}/mlflow.db", model, images), base(images))
    folder = store / "artifacts" / "digits-small-cnn" / "models" / model.model_id / "artifacts"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ""}


def test_one_that_was_left_unfinished_is_made_again(store: Path, indelible: Indelible) -> None:
    """As after a kill between its files and its end; and nothing is made twice."""
    (model,) = models(store)
    client = open_store(store).client
    client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    for _ in range(2):
        assert indelible(store, *TRAIN).code == 0
        assert [m.status for m in models(store)] == ["FAILED", "READY"]


def test_what_an_unlearning_came_to_is_a_model(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    asked = ("unlearn", "--sample", 38, "--output", tmp_path / "out", "--algorithm", "ga")
    assert indelible(store, *asked, "--until", "flip").code in (0, 1)
    _, model = models(store)
    assert model.tags["kind"] == "unlearning"
    data = datasets.load("digits")
    image = data.inputs(data.train)[data.train.positions([38])]
    found = logits(f"sqlite:///{store}/mlflow.db", model, image)
    assert found.argmax() != data.train.labels[data.train.positions([38])]
    assert np.isfinite(found.numpy()).all()
