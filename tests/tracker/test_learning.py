"""How samples were learned is kept with a base model, or can be added to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from factors.learning import LEARNING
from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import artifact, one_line
from tests.tracker.test_models import members
from tracker.base import base_models
from tracker.store.opening import open_store
from unlearning import training
from unlearning.recipe import Recipe
from unlearning.training import Learning

TRAIN = ("train", "--epochs", 3)
WITH, WITHOUT = (*TRAIN, "--learning-events"), (*TRAIN, "--no-learning-events")
SWEEP = ("sweep", "--algorithm", "ga", "--samples", 2)
FACTORS = {f"learning/{column.name}" for column in LEARNING.declared}


def learned(folder: Path) -> Learning | None:
    store = open_store(folder)
    return base_models.load(store, "latest", torch.device("cpu")).model.companions.learning


def measured(folder: Path) -> list[set[str]]:
    """The factors of learning that each member has."""
    return [FACTORS & run.metrics.keys() for run in members(open_store(folder), "ga").values()]


def files(folder: Path) -> dict[str, bytes]:
    """The files of the run of the base model, without those of the model that MLflow lists."""
    found = folder.glob("artifacts/**/*.safetensors")
    return {path.name: path.read_bytes() for path in found if "models" not in path.parts}


def test_training_records_and_what_is_lost_is_made_again_or_let_go_of(
    tmp_path: Path, indelible: Indelible
) -> None:
    model = indelible(tmp_path, *TRAIN)
    found, before = learned(tmp_path), files(tmp_path)
    assert found is not None
    assert found.losses.shape == found.margins.shape == (3, 1000)
    assert found.losses.isfinite().all()
    for arguments in (TRAIN, WITH, WITHOUT):
        again = indelible(tmp_path, *arguments)
        assert (again.code, again.id) == (0, model.id)
        assert "found" in again.err
    assert files(tmp_path) == before
    assert indelible(tmp_path, *SWEEP).code == 0
    assert measured(tmp_path) == [FACTORS] * 2
    for name in ("weights-*", "learning-*"):
        artifact(tmp_path, model.id, name).unlink()
    assert indelible(tmp_path, *TRAIN).id == model.id, "with weights that were lost"
    assert before.items() <= files(tmp_path).items()

    path = artifact(tmp_path, model.id, "learning-*")
    path.write_bytes(path.read_bytes()[:-7])
    one_line(indelible(tmp_path, *SWEEP, "--seed", 1), "learning-", "check --repair")
    indelible(tmp_path, "load")
    (problem,) = json.loads(indelible(tmp_path, "check", "--format", "json").out)
    assert problem["run_id"] == model.id
    assert problem["repair"].startswith("forget learning/")
    assert indelible(tmp_path, "check", "--repair", "--yes", "--at-most", 1).code == 0
    assert learned(tmp_path) is None
    assert indelible(tmp_path, *WITH).id == model.id
    assert before.items() <= files(tmp_path).items()
    assert indelible(tmp_path, "check").code == 0
    weights = artifact(tmp_path, model.id, "weights-*")
    refused = indelible(tmp_path, "train", "--from-weights", weights, "--learning-events")
    one_line(refused, "--learning-events has no effect with --from-weights")


def test_they_are_added_to_a_model_without_them_when_asked_for(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = indelible(tmp_path, *WITHOUT)
    assert indelible(tmp_path, *SWEEP).code == 0
    assert measured(tmp_path) == [set(), set()]
    before, real = files(tmp_path), training.train
    assert indelible(tmp_path, *TRAIN).id == model.id
    assert learned(tmp_path) is None

    def otherwise(dataset: Any, arch: str, recipe: Recipe, *rest: Any) -> Any:
        """As another machine trains."""
        return real(dataset, arch, replace(recipe, lr=2 * recipe.lr), *rest)

    with monkeypatch.context() as patched:
        patched.setattr(training, "train", otherwise)
        one_line(indelible(tmp_path, *WITH), model.id, "came to other weights", code=1)
    assert learned(tmp_path) is None
    added = indelible(tmp_path, *WITH)
    assert (added.code, added.id, "found" in added.err) == (0, model.id, False)
    assert before.items() < files(tmp_path).items()
    assert indelible(tmp_path, "measure", "--sweep", "all").code == 0
    assert measured(tmp_path) == [FACTORS] * 2
