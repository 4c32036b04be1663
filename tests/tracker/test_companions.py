"""Models beside a base model: what chance alone gives, and those of an earlier version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch

from tests.tracker.conftest import opened, own_copy
from tests.tracker.test_claims import base_of
from tracker.base import companions
from tracker.base.parts import IDS, LEFT_OUT
from tracker.store.bulk import SqlStore
from tracker.store.records import as_tag
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, logits
from unlearning.version import VERSION


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> SqlStore:
    """A store with a base model."""
    own_copy(trained, tmp_path)
    return opened(SqlStore, tmp_path)


def nothing(*_: object) -> None:
    """Progress that nobody looks at."""


def plain_gap(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = (scipy.special.softmax(each.numpy().astype(np.float64), axis=1) for each in (one, other))
    return float(np.mean(np.sqrt(((a - b) ** 2).sum(axis=1))))


@pytest.mark.slow
def test_what_chance_alone_gives_is_logged_once(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "SEEDS_FOR", 3)
    base = base_of(store)
    run_id, model = base.run_id, base.model
    ids = model.dataset.train.ids[:5].tolist()
    for some in (ids[:2], ids):  # the second time goes on where the first one stopped
        companions.leave_out(store, run_id, base_of(store).model, some, nothing)
        companions.measure_chance(store, run_id, model, some, nothing)
    known = base_of(store).model.companions.left_out
    assert model.origin is not None
    further = replace(model.origin.recipe, seed=model.origin.recipe.seed + 1)
    other = replace(model.origin, recipe=further)
    replica = BaseModel(model.network, model.dataset, model.device, other)
    states = left_out_models(replica, torch.arange(3))
    each = [{name: stacked[k] for name, stacked in states.items()} for k in range(3)]
    again = [logits(replica.model.at(state), replica.test_inputs) for state in each]
    seeds = [plain_gap(known[sample], again[k]) for k, sample in enumerate(ids[:3])]
    untouched = [plain_gap(model.test_logits, known[sample]) for sample in ids]
    assert np.mean(seeds) > 2 * np.mean(untouched)
    found = store.run(run_id)
    assert found.metrics["reference/untouched_gap"] == pytest.approx(np.mean(untouched))
    second = found.metrics["reference/second_seed_gap"]
    assert second == pytest.approx(np.mean(seeds), rel=1e-3)  # of so many threads
    companions.measure_chance(store, run_id, model, ids, nothing)
    assert store.run(run_id).tags == found.tags
    history = store.client.get_metric_history(run_id, "reference/second_seed_gap")
    assert len(history) == 2  # one each time that it became another


def test_leave_one_out_models_of_another_version_are_passed_over(
    store: SqlStore,
) -> None:
    base = base_of(store)
    ids = base.model.dataset.train.ids[:3].tolist()
    for sample in ids:
        logits = torch.zeros(1, *base.model.test_logits.shape)
        content = {IDS: torch.tensor([sample]), "logits": logits}
        says = as_tag({LEFT_OUT.kind: str(VERSION + 1)})
        store.attach(base.run_id, *LEFT_OUT.made_of(content, says))
    assert base_of(store).model.companions.left_out == {}
    companions.leave_out(store, base.run_id, base_of(store).model, ids[:1], nothing)
    found = base_of(store).model.companions
    assert found.left_out.keys() == {ids[0]}
    assert found.left_out[ids[0]].any()
