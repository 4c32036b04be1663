"""Numbers of two versions of the engine, or of two precisions, are told apart and never mixed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tracker.conftest import Indelible, own_copy
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep import plan
from tracker.sweep.choosing import configure
from tracker.sweep.plan import PLAN, Plan
from unlearning.errors import UserError
from unlearning.models import weights_sha256
from unlearning.version import VERSION

CPU = torch.device("cpu")
SWEEP = ("sweep", "--algorithm", "ga", "--algorithm", "ssd", "--samples", 4)


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    own_copy(trained, tmp_path)
    return tmp_path


def test_version_precision_and_architecture_are_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (ga,) = configure(["ga"], "digits", [])
    planned = Plan("w", "f", "net", "float32", (ga,), (1,), seed=0, name="s")
    double = dataclasses.replace(planned, precision="float64")
    other = dataclasses.replace(planned, arch="other")
    keys = {p.key(ga, 1) for p in (planned, double, other)}
    monkeypatch.setattr(plan, "VERSION", VERSION + 1)
    assert len(keys | {dataclasses.replace(planned, name="t").key(ga, 1)}) == 4


def test_a_sweep_and_its_members_say_their_version_and_precision(
    store: Path, indelible: Indelible
) -> None:
    asked = ((), ("--precision", "float64"))
    ids = [indelible(store, *SWEEP, *more).id for more in asked]
    assert len(set(ids)) == 2
    opened = open_store(store)
    for sweep_id, precision, options in zip(ids, base_models.PRECISIONS, asked, strict=True):
        run = opened.run(sweep_id)
        kept = json.loads(opened.artifacts.read(run.artifact_uri, PLAN) or b"")
        assert (kept["engine_version"], kept["precision"]) == (VERSION, precision)
        assert kept["arch"] == "small-cnn"
        of_it = f"tags.`mlflow.parentRunId` = '{sweep_id}'"
        members = list(opened.finished_runs(Kind.MEMBER, of_it))
        assert len(members) == 8
        for each in (run, *members):
            said = each.params
            assert (said["engine_version"], said["precision"]) == (str(VERSION), precision)
        command = members[0].tags["command"]
        assert [o for o in asked if o and " ".join(o) in command] == ([options] if options else [])
    for sweep_id, options in zip(ids, asked, strict=True):
        assert indelible(store, *SWEEP, *options).id == sweep_id
    assert len(list(opened.finished_runs(Kind.MEMBER))) == 16


@pytest.mark.slow
def test_a_model_unlearned_in_float64_comes_back_to_the_last_bit(
    store: Path, indelible: Indelible, tmp_path: Path
) -> None:
    sweep = indelible(store, *SWEEP, "--precision", "float64")
    assert sweep.code == 0
    found = open_store(store)
    run = next(r for r in found.finished_runs(Kind.MEMBER) if r.params["algorithm"] == "ga")
    path = tmp_path / "unlearned.safetensors"
    assert indelible(store, "restore", run.run_id, "--output", path).code == 0
    state = load_file(path)
    assert {t.dtype for t in state.values()} == {torch.float64}
    assert weights_sha256(state) == run.tags["weights_sha256"]
    base = base_models.load(found, "latest", CPU, precision="float64")
    assert {p.dtype for p in base.model.params.values()} == {torch.float64}
    assert {t.dtype for t in base.weights.values()} == {torch.float32}
    assert all((p != p.float().double()).any() for p in state.values())  # no float32


@pytest.mark.parametrize("given", ["float16", "float32/float16", "", None, 32])
def test_other_precisions_are_refused(store: Path, given: Any) -> None:
    with pytest.raises(UserError, match="'mps' has no float64: use --device cpu"):
        base_models.load(open_store(store), "latest", torch.device("mps"), precision="float64")
    with pytest.raises(UserError, match=f"precision is {given!r}: choose float32, float64"):
        base_models.load(open_store(store), "latest", CPU, precision=given)
