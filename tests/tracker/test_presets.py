"""Which preset a sweep takes its settings from, what is said of it, and that it stays the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tracker.conftest import Indelible
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep import settings
from tracker.sweep.choosing import misclassified
from unlearning import datasets, presets
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel

SWEEP = ("sweep", "--algorithm", "ga", "--algorithm", "salun", "--algorithm", "retrain")
NONE = "none is made for npz-mine with small-cnn"


def trained(folder: Path, indelible: Indelible) -> Path:
    """A store with a base model of a data set without a preset: some digits under another name."""
    digits = datasets.load("digits", datasets.Source(train_samples=300, test_samples=100))
    arrays: dict[str, Any] = {
        "images": digits.train.images[:, 0].numpy() / 16,
        "labels": digits.train.labels.numpy(),
        "test_images": digits.test.images[:, 0].numpy() / 16,
        "test_labels": digits.test.labels.numpy(),
    }
    folder.mkdir(exist_ok=True)
    np.savez(folder / "mine.npz", **arrays)
    train = ("train", "--dataset", f"npz:{folder / 'mine.npz'}", "--epochs", 10)
    assert indelible(folder, *train).code == 0
    return folder


def sweeps(store: Path) -> list[dict[str, str]]:
    """The params of all sweeps, the newest first."""
    everything = open_store(store)
    ids = [experiment.experiment_id for experiment in everything.experiments()]
    return [run.data.params for run in everything.runs(ids, f"tags.kind = '{Kind.SWEEP}'")]


def members(store: Path) -> int:
    return len(list(open_store(store).finished_runs(Kind.MEMBER)))


@pytest.mark.slow
def test_a_trial_chooses_for_each_algorithm_and_is_not_repeated(
    tmp_path: Path, indelible: Indelible
) -> None:
    store = trained(tmp_path / "one", indelible)
    first = indelible(store, *SWEEP, "--samples", 3)
    assert first.code == 0
    assert "trying the presets paper, digits on 5 samples\n" in first.err
    found = re.search(
        rf"^preset (.*): ({NONE}; of 5 samples flipped: ga paper (\d), digits (\d); "
        r"salun paper (\d), digits (\d))$",
        first.err,
        re.MULTILINE,
    )
    assert found
    counts = list(map(int, found.groups()[2:]))
    assert counts[1] > counts[0]  # GA at the rate of the digits' preset: they are digits
    salun = "digits" if counts[3] > counts[2] else "paper"
    assert found[1] == f"ga=digits, salun={salun}, retrain=paper"
    assert members(store) == 9
    (params,) = sweeps(store)
    assert (params["preset"], params["preset_reason"]) == (found[1], found[2])
    (path,) = store.rglob("plan.json")
    plan = json.loads(path.read_text("utf-8"))
    assert (plan["preset"], plan["preset_reason"]) == (found[1], found[2])
    assert plan["algorithms"]["ga"]["settings"]["lr"] == presets.load("digits")["ga"]["lr"]

    again = indelible(store, *SWEEP, "--samples", 3)
    named = indelible(store, *SWEEP, "--samples", 3, "--name", "mine")
    assert (again.id, members(store)) == (first.id, 9)
    assert named.id != first.id
    for answer in (again, named):
        assert "trying" not in answer.err
        assert f"preset {found[1]}: {found[2]}\n" in answer.err

    for more in (("--samples", 6, "--seed", 1), ("--sample", 7)):  # the choice is the same
        answer = indelible(store, *SWEEP, *more)
        assert answer.code == 0
        assert "trying" not in answer.err
        assert f"preset {found[1]}: {found[2]}\n" in answer.err

    other = trained(tmp_path / "two", indelible)
    assert f"preset {found[1]}: {found[2]}\n" in indelible(other, *SWEEP, "--samples", 3).err


def test_most_flips_win_and_the_papers_preset_wins_a_tie(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tried = trained(tmp_path, indelible), []

    def flips(base: BaseModel, algorithm: Algorithm, samples: list[int]) -> int:
        tried.append(samples)
        return int(algorithm.name == "salun" and algorithm.settings()["lr"] == 1e-3)

    monkeypatch.setattr(settings, "_flips", flips)
    store = open_store(folder)
    base = base_models.load(store, "latest", torch.device("cpu"))
    wrong = misclassified(base.model)
    right = [s for s in base.model.dataset.train.ids.tolist() if s not in wrong]
    choice = settings.choose_presets(store, base, ["ga", "salun"], None, ())
    assert choice.presets == {"ga": "paper", "salun": "digits"}
    assert tried == [tried[0]] * 4
    assert len(tried[0]) == 5
    assert set(tried[0]) <= set(right)

    changes = ("ga.lr=1e-3",)
    alike = settings.choose_presets(store, base, ["ga"], None, changes)
    assert str(alike) == f"preset paper: {NONE}, and all come to the same settings"
    assert len(tried) == 4


def test_a_trial_is_known_by_the_settings_that_it_tries(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, indelible)
    monkeypatch.setattr(settings, "_flips", lambda *_: 0)
    store = open_store(folder)
    base = base_models.load(store, "latest", torch.device("cpu"))

    def key(*changes: str, names: tuple[str, ...] = ("ga", "salun")) -> str | None:
        return settings.choose_presets(store, base, names, None, changes).trial

    low, high = "salun.lr=1e-9", "salun.lr=1e-3"
    assert key(low, high) == key(high) == key("salun.lr=0.001")  # the last one counts
    assert key(high, low) == key(low)
    assert len({key(), key(low), key(high), key(names=("ga",)), key("ga.max_steps=3")}) == 5
    wide = base_models.load(store, "latest", torch.device("cpu"), precision="float64")
    assert settings.choose_presets(store, wide, ("ga", "salun"), None, ()).trial != key()


def test_a_sample_that_is_not_there_is_refused_before_a_trial(
    tmp_path: Path, indelible: Indelible
) -> None:
    answer = indelible(trained(tmp_path, indelible), *SWEEP, "--sample", 99999)
    assert (answer.code, answer.out) == (2, "")
    assert "99999" in answer.err
    assert "trying" not in answer.err


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("paper", "preset paper: asked for, untested on digits with small-cnn"),
        ("digits", "preset digits: asked for, made for digits with small-cnn"),
        (None, "preset digits: made for digits with small-cnn"),
    ],
)
def test_it_is_said_where_the_settings_come_from(
    preset: str | None, said: str, tmp_path: Path, indelible: Indelible
) -> None:
    assert indelible(tmp_path, "train", "--epochs", 1).code == 0
    asked = () if preset is None else ("--preset", preset)
    answer = indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 1, *asked)
    assert f"{said}\n" in answer.err
    (params,) = sweeps(tmp_path)
    assert f"preset {params['preset']}: {params['preset_reason']}" == said


def test_the_papers_training_is_for_data_of_ones_own_too(
    tmp_path: Path, indelible: Indelible
) -> None:
    np.savez(tmp_path / "x.npz", images=np.eye(8)[None].repeat(20, 0), labels=np.arange(20) % 2)
    data = ("train", "--dataset", f"npz:{tmp_path / 'x.npz'}", "--preset", "paper")
    answer = indelible(tmp_path, *data, "--arch", "mlp", "--epochs", 1)
    assert answer.code == 0
    assert f"preset paper: untested on npz:{tmp_path / 'x.npz'} with mlp\n" in answer.err
    params = open_store(tmp_path).run(answer.id).data.params
    assert (params["batch_size"], params["lr"]) == ("150", "0.001")
    assert presets.recipe("paper", "folder:x") == presets.recipe("paper", "npz:y")
    assert presets.recipe("paper", "npz:y")["arch"] == "resnet18"


@pytest.mark.parametrize(
    ("dataset", "arch", "made"),
    [
        ("digits", "small-cnn", ["digits"]),
        ("digits", "mlp", []),
        ("mnist", "resnet18", ["paper"]),
        ("mnist", "small-cnn", []),
        ("cifar10", "resnet18-imagenet", []),
        ("fashion-mnist", "small-cnn", []),
    ],
)
def test_a_preset_is_made_for_a_data_set_and_an_architecture(
    dataset: str, arch: str, made: list[str]
) -> None:
    assert presets.made_for(dataset, arch) == made
    for name in presets.names():
        said = f"{'made for' if name in made else 'untested on'} {dataset} with {arch}"
        assert presets.standing(name, dataset, arch) == said


def test_the_preset_of_another_architecture_is_not_taken_without_a_trial(
    tmp_path: Path, indelible: Indelible
) -> None:
    train = ("train", "--epochs", 1, "--arch", "mlp")
    assert indelible(tmp_path, *train, "--train-samples", 100, "--test-samples", 50).code == 0
    answer = indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 1)
    assert re.search(r"^preset .*: none is made for digits with mlp", answer.err, re.MULTILINE)
