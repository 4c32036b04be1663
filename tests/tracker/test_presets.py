"""Which preset a sweep takes its settings from, what is said of it, and that it stays the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tracker.conftest import Indelible, own_copy
from tracker.base import base_models
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep import trials
from tracker.sweep.choosing import misclassified
from tracker.sweep.trials import Attempt
from unlearning import datasets, presets
from unlearning.algorithm import Algorithm

SWEEP = ("sweep", "--algorithm", "ga", "--algorithm", "salun", "--algorithm", "retrain")
NONE = "none is made for npz-mine with small-cnn"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a base model of a data set without a preset: some digits under another name."""
    folder = tmp_path_factory.mktemp("presets")
    digits = datasets.load("digits", datasets.Source(train_samples=300, test_samples=100))
    parts = {"": digits.train, "test_": digits.test}
    arrays: dict[str, Any] = {f"{n}images": p.images[:, 0].numpy() / 16 for n, p in parts.items()}
    arrays |= {f"{name}labels": part.labels.numpy() for name, part in parts.items()}
    np.savez(folder / "mine.npz", **arrays)
    data = ("--dataset", f"npz:{folder / 'mine.npz'}", "--epochs", "10")
    assert run(["--store", str(folder / "store"), "train", *data]) == 0
    return folder / "store"


@pytest.fixture
def store(untested: Path, tmp_path: Path) -> Path:
    return own_copy(untested, tmp_path / "store")


def sweeps(store: Path) -> list[Mapping[str, str]]:
    """The params of all sweeps, the newest first."""
    return [run.params for run in open_store(store).finished_runs(Kind.SWEEP)]


@pytest.mark.slow
def test_a_trial_chooses_for_each_algorithm_and_is_not_repeated(
    store: Path, indelible: Indelible
) -> None:
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
    (params,) = sweeps(store)
    (path,) = store.rglob("plan.json")
    plan = json.loads(path.read_text("utf-8"))
    for said in (params, plan):
        assert (said["preset"], said["preset_reason"]) == (found[1], found[2])
    assert plan["algorithms"]["ga"]["settings"]["lr"] == presets.load("digits")["ga"]["lr"]
    assert indelible(store, *SWEEP, "--samples", 3).id == first.id
    answer = indelible(store, *SWEEP, "--samples", 4, "--seed", 1)  # the choice is the same
    assert "trying" not in answer.err
    assert f"preset {found[1]}: {found[2]}\n" in answer.err


def test_most_flips_win_and_the_papers_preset_wins_a_tie(
    untested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def attempts(_: object, samples: list[int], way: Algorithm, *__: object) -> list[Attempt]:
        tried.append(samples)
        flips = way.name == "salun" and way.settings()["lr"] == 1e-3
        return [Attempt(flips, 0.0, 0.0)]

    monkeypatch.setattr(trials, "attempts", attempts)
    store = open_store(untested)
    base = base_models.load(store, "latest", CPU)
    choice = trials.choose_presets(store, base, ["ga", "salun"], None, ())
    assert choice.presets == {"ga": "paper", "salun": "digits"}
    assert tried == [tried[0]] * 4
    assert len({*tried[0]} - misclassified(base.model)) == 5
    alike = trials.choose_presets(store, base, ["ga"], None, ("ga.lr=1e-3",))
    assert str(alike) == f"preset paper: {NONE}, and all come to the same settings"
    assert len(tried) == 4


def test_a_trial_is_known_by_the_settings_that_it_tries(
    untested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "attempts", lambda *_: [])
    store = open_store(untested)
    base = base_models.load(store, "latest", CPU)

    def key(*changes: str, names: tuple[str, ...] = ("ga", "salun")) -> str | None:
        return trials.choose_presets(store, base, names, None, changes).trial

    low, high = "salun.lr=1e-9", "salun.lr=1e-3"
    assert key(low, high) == key(high) == key("salun.lr=0.001")  # the last one counts
    assert len({key(), key(low), key(high), key(names=("ga",)), key("ga.max_steps=3")}) == 5
    wide = base_models.load(store, "latest", CPU, precision="float64")
    assert trials.choose_presets(store, wide, ("ga", "salun"), None, ()).trial != key()


def test_it_is_said_where_the_settings_come_from(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    store = own_copy(trained, tmp_path)
    for asked, said in (
        ((), "made for digits with small-cnn"),
        (("--preset", "digits"), "asked for, made for digits with small-cnn"),
        (("--preset", "paper"), "asked for, untested on digits with small-cnn"),
    ):
        name = asked[-1] if asked else "digits"
        answer = indelible(store, "sweep", "--algorithm", "ga", "--samples", 1, *asked)
        assert f"preset {name}: {said}\n" in answer.err
    (newest, *_) = sweeps(store)
    assert (newest["preset"], newest["preset_reason"]) == (name, said)


@pytest.mark.parametrize(
    ("dataset", "arch", "made"),
    [
        ("digits", "small-cnn", ["digits"]),
        ("digits", "mlp", []),
        ("mnist", "resnet18", ["paper"]),
        ("cifar10", "resnet18-imagenet", []),
    ],
)
def test_a_preset_is_made_for_a_data_set_and_an_architecture(
    dataset: str, arch: str, made: list[str]
) -> None:
    assert presets.made_for(dataset, arch) == made
    assert presets.recipe("paper", "folder:x") == presets.recipe("paper", "npz:y")
    for name in presets.names():
        said = f"{'made for' if name in made else 'untested on'} {dataset} with {arch}"
        assert presets.standing(name, dataset, arch) == said
