"""How samples were learned is kept with a base model, or can be added to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import artifact, one_line
from tests.tracker.test_models import members
from tracker.base import base_models
from tracker.base.parts import LEARNING
from tracker.store.opening import open_store
from unlearning import training
from unlearning.recipe import Recipe
from unlearning.training import Learning

TRAIN = ("train", "--epochs", 3)
WITH, WITHOUT = (*TRAIN, "--learning-events"), (*TRAIN, "--no-learning-events")
SWEEP = ("sweep", "--algorithm", "ga", "--samples", 2)
REMARK = "learned its samples was not recorded"
FACTORS = (
    "forgetting_events",
    "first_epoch_learned",
    "cumulative_loss",
    "area_under_margin",
    "loss_iqr",
)


def learned(folder: Path) -> Learning | None:
    store = open_store(folder)
    return base_models.load(store, "latest", torch.device("cpu")).model.companions.learning


def parts(folder: Path, run_id: str) -> dict[str, str]:
    return LEARNING.names(open_store(folder).run(run_id).data.tags)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("artifacts/**/*.safetensors")}


def test_training_records_and_a_second_call_finds_it(tmp_path: Path, indelible: Indelible) -> None:
    model = indelible(tmp_path, *TRAIN)
    assert list(parts(tmp_path, model.id).values()) == ["3"]
    found, before = learned(tmp_path), files(tmp_path)
    assert found is not None
    assert found.losses.shape == found.margins.shape == (3, 1000)
    assert found.losses.isfinite().all()
    beside = ("--leave-out", "2", "--memorization-models", 2)  # which record nothing
    for arguments in (TRAIN, WITH, WITHOUT, (*TRAIN, *beside)):
        again = indelible(tmp_path, *arguments)
        assert (again.code, again.id) == (0, model.id)
        assert "found" in again.err
        assert REMARK not in again.err
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert len(before) == len([n for n in after if n.startswith(("learning", "weights"))]) == 2
    assert indelible(tmp_path, *SWEEP).code == 0
    for run in members(open_store(tmp_path), "ga").values():
        assert {f"learning/{name}" for name in FACTORS} <= set(run.data.metrics)


def test_they_are_added_to_a_model_without_them_when_asked_for(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = indelible(tmp_path, *WITHOUT)
    assert REMARK not in model.err
    assert indelible(tmp_path, *SWEEP).code == 0
    for run in members(open_store(tmp_path), "ga").values():
        assert not [name for name in run.data.metrics if name.startswith("learning/")]
    before, real = files(tmp_path), training.train
    for arguments, remarks in ((WITHOUT, 0), (TRAIN, 1)):
        again = indelible(tmp_path, *arguments)
        assert (again.code, again.id, again.err.count(REMARK)) == (0, model.id, remarks)

    def otherwise(dataset: Any, arch: str, recipe: Recipe, *rest: Any) -> Any:
        """As another machine trains."""
        return real(dataset, arch, replace(recipe, lr=2 * recipe.lr), *rest)

    with monkeypatch.context() as patched:
        patched.setattr(training, "train", otherwise)
        one_line(indelible(tmp_path, *WITH), model.id, "came to other weights", code=1)
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.set_tag", stopped)
        assert indelible(tmp_path, *WITH).code != 0
    assert not parts(tmp_path, model.id)
    assert learned(tmp_path) is None
    added = indelible(tmp_path, *WITH)
    assert (added.code, added.id) == (0, model.id)
    assert "found" not in added.err
    assert before.items() < files(tmp_path).items()
    assert indelible(tmp_path, "measure", "--sweep", "all").code == 0
    for run in members(open_store(tmp_path), "ga").values():
        assert {f"learning/{name}" for name in FACTORS} <= set(run.data.metrics)
    assert REMARK not in indelible(tmp_path, *TRAIN).err


def stopped(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_imported_model_has_none_and_says_so(tmp_path: Path, indelible: Indelible) -> None:
    model = indelible(tmp_path / "a", *TRAIN)
    weights = artifact(tmp_path / "a", model.id, "weights-*")
    imported = ("train", "--from-weights", weights)
    refused = indelible(tmp_path / "b", *imported, "--learning-events")
    one_line(refused, "--learning-events", "imported")
    for arguments in (imported, imported, (*imported, "--no-learning-events")):
        answer = indelible(tmp_path / "b", *arguments)
        assert answer.code == 0
        assert REMARK not in answer.err
    assert learned(tmp_path / "b") is None


def test_what_is_damaged_is_made_again_or_let_go_of(tmp_path: Path, indelible: Indelible) -> None:
    model = indelible(tmp_path, *TRAIN)
    before = files(tmp_path)
    for again in ((), ("check", "--repair", "--yes", "--at-most", 1)):
        path = artifact(tmp_path, model.id, "learning-*")
        path.write_bytes(path.read_bytes()[:-7])
        one_line(indelible(tmp_path, *SWEEP), "learning-", "check --repair")
        indelible(tmp_path, "load")
        (problem,) = json.loads(indelible(tmp_path, "check", "--format", "json").out)
        assert problem["run_id"] == model.id
        assert problem["repair"].startswith("forget learning/")
        if again:
            assert indelible(tmp_path, *again).code == 0
            assert learned(tmp_path) is None
            assert indelible(tmp_path, *TRAIN).err.count(REMARK) == 1
        assert indelible(tmp_path, *WITH).id == model.id
        assert files(tmp_path) == before
        assert indelible(tmp_path, "check").code == 0


def test_weights_that_were_lost_come_back_with_what_was_recorded(
    tmp_path: Path, indelible: Indelible
) -> None:
    model = indelible(tmp_path, *TRAIN)
    before = files(tmp_path)
    for path in tmp_path.glob("artifacts/**/*.safetensors"):
        path.unlink()
    assert indelible(tmp_path, *TRAIN).id == model.id
    assert files(tmp_path) == before
    assert indelible(tmp_path, *SWEEP).code == 0
