"""Attacks against the oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.attacks import epsilon, klom, likelihood_ratio, permutation_p, tpr_at
from tests.analysis.test_attacks import auc, drawn, of
from tests.oracles import forgetting as oracle

SIDES = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=9)
THREE = st.lists(st.floats(-30, 30), min_size=3, max_size=9)


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([0.0, 0.01, 0.2, 0.5, 1.0]))
def test_auc_and_tpr_are_the_oracles(u: list[float], o: list[float], fpr: float) -> None:
    assert auc(of(*u), of(*o)) == pytest.approx(oracle.auc(u, o), abs=1e-6)
    assert tpr_at(of(*u), of(*o), fpr) == pytest.approx(oracle.tpr_at(u, o, fpr), abs=1e-6)


@settings(deadline=None)
@given(THREE, THREE)
def test_likelihood_ratio_is_the_oracles(u: list[float], o: list[float]) -> None:
    for found, expected in zip(
        likelihood_ratio(of(*u), of(*o)), oracle.leave_one_out_ratio(u, o), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([1, 2, 20]), st.sampled_from([3.0, 100.0]))
def test_klom_is_the_oracles(u: list[float], o: list[float], bins: int, clip: float) -> None:
    expected = oracle.klom(u, o, bins, clip)
    assert klom(of(*u), of(*o), bins, clip) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(deadline=None, max_examples=30)
@given(*[st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=4)] * 2)
def test_permutation_p_is_the_oracles(u: list[float], o: list[float]) -> None:
    assert permutation_p(of(*u), of(*o)) == pytest.approx(oracle.permutation_p(u, o), abs=1e-6)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(SIDES, SIDES, st.sampled_from([1e-5, 0.1]))
def test_epsilon_is_the_oracles(u: list[float], o: list[float], delta: float) -> None:
    """phi in eighths: the grid of hundredths has a threshold between any two."""
    found = epsilon(of(*u), of(*o), delta)
    assert found == pytest.approx(oracle.challenge_epsilon(u, o, delta, 1), abs=1e-6)
    assert found <= oracle.challenge_epsilon(u, o, delta) + 1e-6


def test_epsilon_of_phi_at_random_is_near_the_oracles() -> None:
    """The grid may miss a cut between two phi that are nearer than a hundredth."""
    for seed in range(40):
        u, o = drawn(seed, 16, *((0.0, 1.0), (1.0, 0.5), (-3.0, 2.0))[seed % 3])
        found, best = epsilon(u, o), oracle.challenge_epsilon([*u], [*o], orientations=1)
        assert best - 0.3 <= found <= best + 1e-6
