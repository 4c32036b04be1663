"""Base models of all kinds through the command line, and what is kept beside them."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import factors
from tests.tracker.conftest import Indelible
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.store.records import Kind, Run
from tracker.store.weights import read_checkpoint, read_weights
from tracker.store.write import Store
from tracker.sweep.choosing import configure
from unlearning import algorithms, datasets, models
from unlearning.base_model import BaseModel
from unlearning.checkpoints import decode
from unlearning.errors import UserError
from unlearning.outcome import Status

QUICK = ("--epochs", 5, "--seed", 4)
OWN = """
from torch import nn

def tiny(shape, classes):
    channels, height, width = shape
    body = nn.Sequential(nn.Conv2d(channels, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    return nn.ModuleDict({"body": body, "top": nn.Linear(2 * (height - 2) * (width - 2), classes)})

class Tiny(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.parts = tiny(shape, classes)
    def forward(self, images):
        return self.parts["top"](self.parts["body"](images))

class Less(nn.Module):
    def forward(self, images):
        return images.sub_(0.5)


def in_place(image_shape, classes):
    return nn.Sequential(Less(), nn.Flatten(), nn.Linear(64, classes))


def no_head(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], classes), nn.Softmax(1))
"""


def members(store: Store, algorithm: str) -> dict[int, Run]:
    condition = f"params.algorithm = '{algorithm}'"
    runs = store.finished_runs("member", condition)  # type: ignore[arg-type]
    return {int(run.tags["sample_id"]): run for run in runs}


@pytest.mark.slow
def test_leave_one_out_models_and_reference_models(tmp_path: Path, indelible: Indelible) -> None:
    store = tmp_path / "s"
    *ids, other = datasets.load("digits").train.ids[:4].tolist()
    (tmp_path / "ids.txt").write_text(f"{ids[0]} {ids[1]}\n{ids[2]}")
    base = indelible(store, "train", *QUICK)
    beside = ("--leave-out", tmp_path / "ids.txt", "--references", 5)
    more = indelible(store, "train", *QUICK, *beside)
    assert (more.code, more.id) == (0, base.id)
    chance = open_store(store).run(base.id).metrics
    second, untouched = (chance[f"reference/{of}_gap"] for of in ("second_seed", "untouched"))
    assert second > untouched > 0
    assert f"{untouched:.2g} from the untouched base model, {second:.2g} from" in more.err
    samples = [word for sample in (*ids, other) for word in ("--sample", sample)]
    chosen = ("--algorithm", "ga", "--algorithm", "retrain")
    assert indelible(store, "sweep", *chosen, *samples).code == 0
    retrained, unlearned = (members(open_store(store), name) for name in ("retrain", "ga"))
    assert "reference/untouched_gap" not in retrained[other].metrics
    for sample in ids:
        metrics, own = retrained[sample].metrics, unlearned[sample].metrics
        assert metrics["reference/untouched_gap"] > 0
        assert -1 <= metrics["memorization/memorization"] <= 1
        assert "reference/unlearning_gap" not in metrics  # of retraining against itself
        if unlearned[sample].tags["status"] != "already_wrong":
            gap, untouched, relative = (
                own[f"reference/{name}_gap"] for name in ("unlearning", "untouched", "relative")
            )
            assert gap > untouched == metrics["reference/untouched_gap"]
            assert relative == pytest.approx(gap / untouched)


@pytest.mark.slow
def test_every_algorithm_leaves_whole_child_runs(tmp_path: Path, indelible: Indelible) -> None:
    store = tmp_path / "s"
    assert indelible(store, "train", *QUICK).code == 0
    chosen = [word for name in algorithms.names() for word in ("--algorithm", name)]
    assert indelible(store, "sweep", *chosen, "--samples", 5, "--preset", "digits").code == 0
    opened = open_store(store)
    for name in algorithms.names():
        (found,) = configure([name], "digits", [])
        runs = members(opened, name)
        assert len(runs) == 5
        for run in runs.values():
            status, metrics = run.tags["status"], run.metrics
            assert status in list(Status)
            for column in factors.columns():
                absent = column.metric not in metrics
                ran = status != Status.ALREADY_WRONG or column.phase == "pre"
                assert not absent or column.undefined or not ran, (name, column.name)
            logged = {f"{name}/{reported}" for reported in found.logged}
            assert logged <= set(metrics) or status == Status.ALREADY_WRONG
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0
    final_values_are_of_the_weights_that_are_kept(opened)


def final_values_are_of_the_weights_that_are_kept(store: Store) -> None:
    digits, (base,) = datasets.load("digits"), store.finished_runs(Kind.BASE_MODEL)
    weights = read_weights(store.artifacts, base.artifact_uri, base.tags)
    network, went_back = models.build("small-cnn", digits).double().eval(), set[str]()
    for run in store.finished_runs(Kind.MEMBER, "tags.status != 'already_wrong'"):
        tags = run.tags
        checkpoint = read_checkpoint(store.artifacts, run.artifact_uri, tags)
        assert checkpoint is not None
        network.load_state_dict(decode(weights, checkpoint))
        at = digits.train.positions([int(tags["sample_id"])])
        with torch.no_grad():
            log_prob = network(digits.inputs(digits.train)[at].double()).log_softmax(1)
        loss = -log_prob[0, int(tags["label"])].item()
        assert run.metrics["forget_loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5), run.name
        went_back |= {run.params["algorithm"]} if "kept_step" in tags else set()
    assert went_back == {"scrub_r"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--leave-out", "99999"), "not a training sample"),
        (("--stem", "imagenet"), "stem is for resnet18"),
        (("--preset", "paper"), "says nothing of training on 'digits'"),
        (("--arch", "module:nowhere.at.all:net"), "No module named"),
        (("--dataset", "mnist"), "--download"),
    ],
)
def test_bad_input(
    tmp_path: Path, indelible: Indelible, arguments: tuple[object, ...], said: str
) -> None:
    answer = indelible(tmp_path / "s", "train", "--epochs", 1, *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(("times", "is_refused"), [(1.02, True), (1.001, False)])
def test_other_outputs_are_refused_however_small_the_loss(
    trained: Path, monkeypatch: pytest.MonkeyPatch, times: float, is_refused: bool
) -> None:
    store, accuracies = open_store(trained), base_models.accuracies
    (run,) = store.finished_runs(Kind.BASE_MODEL)
    assert run.metrics["test_loss"] < 0.4

    def changed(base: BaseModel) -> dict[str, float]:
        found = accuracies(base)
        return found | {"test_loss": times * found["test_loss"]}

    monkeypatch.setattr(base_models, "accuracies", changed)
    with pytest.raises(UserError, match="has changed") if is_refused else nullcontext():
        base_models.load(store, run.run_id, torch.device("cpu"))


@pytest.mark.slow
def test_an_architecture_of_ones_own_and_imported_weights(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(OWN)
    store, arch = tmp_path / "s", "module:own_nets:Tiny"
    trained = indelible(store, "train", "--epochs", 15, "--lr", 1e-2, "--arch", arch)
    assert trained.code == 0
    sweep = ("sweep", "--algorithm", "retrain", "--samples", 2)
    assert indelible(store, *sweep).code == 0
    opened = open_store(store)
    retrained = next(iter(members(opened, "retrain").values()))
    assert "distance/feature_distance" in retrained.metrics
    out = tmp_path / "retrained.safetensors"
    assert indelible(store, "restore", retrained.run_id, "--output", out).code == 0
    assert "parts.body.1.running_mean" in load_file(out)  # buffers are trained again, too
    imported = indelible(store, "train", "--arch", arch, "--from-weights", out)
    assert imported.code == 0
    base = opened.run(imported.id)
    assert base.params["weights"] == out.name
    assert "epochs" not in base.params
    for arguments, said in (
        (("sweep", "--model", imported.id, "--algorithm", "retrain"), "imported"),
        (("train", "--from-weights", out), "do not fit"),
        (("train", "--arch", "module:own_nets:no_head"), "leave softmax out"),
        (("train", "--arch", "module:own_nets:in_place"), "change no image"),
        (("train", "--from-weights", out, "--epochs", 3), "--from-weights"),
    ):
        refused = indelible(store, *arguments)
        assert refused.code == 2
        assert said in refused.err
    models = json.loads(indelible(store, "models", "--format", "json").out)
    assert {row["run_id"] for row in models} == {trained.id, imported.id}
    (tmp_path / "own_nets.py").write_text(OWN.replace("nn.ReLU()", "nn.Tanh(), nn.Hardtanh()"))
    monkeypatch.delitem(sys.modules, "own_nets")
    refused = indelible(store, "sweep", "--model", trained.id, "--algorithm", "ga")
    assert (refused.code, refused.out) == (2, "")
    assert f"base model {trained.id} had the test loss" in refused.err
    assert f"its architecture '{arch}' has changed" in refused.err
