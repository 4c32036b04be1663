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
    for arguments in (TRAIN, WITH, WITHOUT):
        again = indelible(tmp_path, *arguments)
        assert (again.code, again.id) == (0, model.id)
        assert "found" in again.err
        assert REMARK not in again.err
    assert files(tmp_path) == before
    assert len(before) == 2
    assert indelible(tmp_path, *SWEEP).code == 0
    for run in members(open_store(tmp_path), "ga").values():
        assert {f"learning/{name}" for name in FACTORS} <= set(run.data.metrics)


def test_models_on_parts_of_the_data_record_nothing(tmp_path: Path, indelible: Indelible) -> None:
    alone = indelible(tmp_path, *TRAIN)
    before = parts(tmp_path, alone.id)
    more = ("--leave-out", "2", "--memorization-models", 2)
    assert indelible(tmp_path, *TRAIN, *more).id == alone.id
    assert parts(tmp_path, alone.id) == before


@pytest.mark.slow
def test_they_are_added_to_a_model_without_them_when_asked_for(
    tmp_path: Path, indelible: Indelible
) -> None:
    """As a model of an earlier version is without them."""
    store, fresh = tmp_path / "s", tmp_path / "fresh"
    model = indelible(store, *WITHOUT)
    assert REMARK not in model.err
    assert learned(store) is None
    assert indelible(store, *SWEEP).code == 0
    for run in members(open_store(store), "ga").values():
        assert not [name for name in run.data.metrics if name.startswith("learning/")]
    before = files(store)
    for arguments, remarks in ((WITHOUT, 0), (TRAIN, 1)):
        again = indelible(store, *arguments)
        assert (again.code, again.id, again.err.count(REMARK)) == (0, model.id, remarks)
        assert files(store) == before
    added = indelible(store, *WITH)
    assert (added.code, added.id) == (0, model.id)
    assert "found" not in added.err
    assert indelible(store, "measure", "--sweep", "all").code == 0
    for run in members(open_store(store), "ga").values():
        assert {f"learning/{name}" for name in FACTORS} <= set(run.data.metrics)
    assert REMARK not in indelible(store, *TRAIN).err
    assert indelible(fresh, *TRAIN).code == 0
    kept = [each for each in files(store).items() if each[0].startswith(("learning", "weights"))]
    assert dict(kept) == files(fresh)
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0


def test_they_are_not_added_to_other_weights(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another machine comes to."""
    model, real = indelible(tmp_path, *WITHOUT), training.train

    def otherwise(dataset: Any, arch: str, recipe: Recipe, *rest: Any) -> Any:
        return real(dataset, arch, replace(recipe, lr=2 * recipe.lr), *rest)

    monkeypatch.setattr(training, "train", otherwise)
    before = files(tmp_path)
    one_line(indelible(tmp_path, *WITH), model.id, "cannot be recorded any more", code=1)
    assert files(tmp_path) == before
    assert not parts(tmp_path, model.id)
    assert indelible(tmp_path, *SWEEP).code == 0


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


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    "damage", [cut_short, pytest.param(Path.unlink, marks=pytest.mark.slow)], ids=["cut", "gone"]
)
def test_what_is_damaged_is_made_again(tmp_path: Path, indelible: Indelible, damage: Any) -> None:
    model = indelible(tmp_path, *TRAIN)
    before = files(tmp_path)
    damage(artifact(tmp_path, model.id, "learning-*"))
    one_line(indelible(tmp_path, *SWEEP), "learning-", "check --repair")
    indelible(tmp_path, "load")
    (offence,) = json.loads(indelible(tmp_path, "check", "--format", "json").out)
    assert offence["run_id"] == model.id
    assert offence["repair"].startswith("forget learning/")
    assert indelible(tmp_path, *WITH).id == model.id
    assert files(tmp_path) == before
    assert indelible(tmp_path, "check").code == 0


@pytest.mark.slow
def test_a_repair_lets_go_of_what_is_damaged(tmp_path: Path, indelible: Indelible) -> None:
    model = indelible(tmp_path, *TRAIN)
    cut_short(artifact(tmp_path, model.id, "learning-*"))
    assert indelible(tmp_path, "check", "--repair", "--yes", "--at-most", 1).code == 0
    assert learned(tmp_path) is None
    assert indelible(tmp_path, *TRAIN).err.count(REMARK) == 1
    assert indelible(tmp_path, *WITH).code == 0
    assert learned(tmp_path) is not None
    assert indelible(tmp_path, "check").code == 0


@pytest.mark.parametrize("arguments", [TRAIN, WITHOUT])
def test_weights_that_were_lost_come_back_with_what_was_recorded(
    tmp_path: Path, indelible: Indelible, arguments: tuple[object, ...]
) -> None:
    model = indelible(tmp_path, *arguments)
    before = files(tmp_path)
    for path in tmp_path.glob("artifacts/**/*.safetensors"):
        path.unlink()
    assert indelible(tmp_path, *arguments).id == model.id
    assert files(tmp_path) == before
    assert indelible(tmp_path, *SWEEP).code == 0


def test_stopped_before_its_tag_it_goes_on(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = indelible(tmp_path, *WITHOUT)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.set_tag", stop)
        assert indelible(tmp_path, *WITH).code != 0
    assert not parts(tmp_path, model.id)
    assert learned(tmp_path) is None
    assert indelible(tmp_path, *WITH).id == model.id
    assert list(parts(tmp_path, model.id).values()) == ["3"]
