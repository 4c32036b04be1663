"""Features: normal scores of ranks within a base model."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

import factors
from analysis.warehouse import FORECAST
from tests.oracles.ridge import normal_score
from tests.tracker.conftest import Done, own_copy
from tracker.base import base_models
from tracker.base.forecasts import forecasts
from tracker.base.workers import Stop, Threads
from tracker.record.opening import open_store
from tracker.sweeping import features
from tracker.sweeping.choosing import misclassified
from tracker.sweeping.features import INDEX, Known, known_of, reference_samples
from tracker.sweeping.ranks import from_normal_scores, normal_scores
from unlearning import algorithms


def test_by_hand() -> None:
    """Of four values the one beyond all has 4.5 of 5 below it, and the second lowest 2 of 5."""
    found = normal_scores(np.array([9.0, 2, 1.5, np.nan]), np.array([3.0, 1, 2, 4]))
    quantile = NormalDist().inv_cdf
    expected = [quantile(4.5 / 5), quantile(2 / 5), quantile(1.5 / 5), np.nan]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("digits", [0, 1, 5])
def test_against_counting(digits: int) -> None:
    random = np.random.default_rng(digits)
    values, reference = random.normal(size=50).round(digits), random.normal(size=30).round(digits)
    expected = [normal_score(value, reference.tolist()) for value in values]
    np.testing.assert_allclose(normal_scores(values, reference), expected, rtol=0, atol=1e-12)
    gaps = np.append(reference, np.nan)
    np.testing.assert_array_equal(normal_scores(values, gaps), normal_scores(values, reference))
    assert np.isnan(normal_scores(values, np.full(3, np.nan))).all()


def test_scale_and_shift_of_a_base_model_play_no_part() -> None:
    values, reference = np.random.default_rng(0).normal(size=(2, 40))
    found = normal_scores(np.exp(3 * values + 1), np.exp(3 * reference + 1))
    np.testing.assert_array_equal(found, normal_scores(values, reference))


def test_scores_lead_back_to_values() -> None:
    """Halfway between the scores of 2 and 4 lies 3; beyond the ends are the ends."""
    random = np.random.default_rng(0)
    reference = random.exponential(size=50).round(1)
    found = from_normal_scores(normal_scores(reference, reference), reference)
    np.testing.assert_allclose(found, reference, rtol=1e-12)
    few = np.array([2.0, 4, 2, 8])
    low, high = normal_scores(np.array([2.0, 4]), few)
    scores = np.array([(low + high) / 2, -9, 9, np.nan])
    np.testing.assert_allclose(from_normal_scores(scores, few), [3, 2, 8, np.nan], rtol=1e-12)


def test_a_sample_does_not_depend_on_others(
    done: Done, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(features, "REFERENCE", 12)
    store = open_store(own_copy(done.folder, tmp_path / "copy"))
    base = base_models.load(store, done.model, torch.device("cpu"))
    ga, influence = algorithms.get("ga")(), algorithms.get("influence")()
    families = [f for f in factors.families() if f.name in ("initial", "memorization")]
    reference = reference_samples(base.model)
    assert len(reference) == 12
    assert not {*reference} & misclassified(base.model)
    ids = base.model.dataset.train.ids[:6].tolist()

    def known(some: list[int]) -> Known:
        both = (ga, influence)
        return known_of(store, base, both, some, families, Threads(1), lambda count, doing: None)

    all_six, one = known(ids), known(ids[4:5])
    names = tuple(all_six.scores["ga"])
    np.testing.assert_array_equal(all_six.table("ga", names)[4:5], one.table("ga", names))
    assert {f"{INDEX}{name}" for name in FORECAST} < {*names}
    assert np.isnan(all_six.table("ga", ["memorization", "unheard_of"])).all()
    assert np.isnan(all_six.table("influence", [f"{INDEX}gt"])).all()
    margin = all_six.table("influence", ["margin"])
    np.testing.assert_array_equal(margin, all_six.table("ga", ["margin"]))
    assert np.isfinite(margin).all()
    with Threads(1).pool(base.model, Stop()) as pool:
        said = forecasts(store, base, ga, [*ids, *reference], pool)["steps"].numpy()
    expected = [normal_score(value, said[6:].tolist()) for value in said[:6]]
    found = all_six.table("ga", [f"{INDEX}steps"])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(all_six.forecasts["ga"]["steps"], said[:6])
