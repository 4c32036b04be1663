"""Moderated variances by hand, and against the distribution that they are meant for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import digamma

from tests.oracles import forgetting as oracle
from unlearning.moderation import moderated


def test_a_prior_of_two_degrees_of_freedom() -> None:
    # With d = 2, e = log s^2 + Euler's constant, and trigamma(1) = pi^2 / 6: the variance of e is
    # twice that, so trigamma(d0 / 2) is pi^2 / 6 as well, and s0^2 the geometric mean.
    variances = 3 * np.exp(np.array([1, -1]) * math.pi / math.sqrt(6))
    prior_dof, prior, shrunk = moderated(variances, 2)
    assert prior_dof == pytest.approx(2, rel=1e-9)
    assert prior == pytest.approx(3, rel=1e-9)
    assert shrunk == pytest.approx((3 + variances) / 2, rel=1e-9)


def test_variances_that_differ_by_chance_only_become_one() -> None:
    prior_dof, prior, shrunk = moderated(np.array([2.0, 2.0, 2.1]), 7)
    expected = (2 * 2 * 2.1) ** (1 / 3) * math.exp(math.log(3.5) - digamma(3.5))
    assert prior_dof == math.inf
    assert prior == pytest.approx(expected, rel=1e-12)
    assert shrunk == pytest.approx([expected] * 3, rel=1e-12)


@pytest.mark.parametrize("prior_dof", [0.5, 4.0, 40.0])
def test_the_prior_is_found_again(prior_dof: float) -> None:
    random = np.random.default_rng(0)
    dof = random.integers(3, 16, size=50_000).astype(np.float64)
    true = 0.3 * prior_dof / random.chisquare(prior_dof, len(dof))
    variances = true * random.chisquare(dof) / dof
    found_dof, found, shrunk = moderated(variances, dof)
    assert found_dof == pytest.approx(prior_dof, rel=0.1)
    assert found == pytest.approx(0.3, rel=0.05)
    assert np.mean(np.log(shrunk / true) ** 2) < np.mean(np.log(variances / true) ** 2)


def test_what_cannot_be_fitted_gets_the_prior() -> None:
    variances, dof = np.array([1.0, 9.0, 0.2, np.nan, 5.0, 0.0]), np.array([4.0, 4, 6, 0, 0, 4])
    prior_dof, prior, shrunk = moderated(variances, dof)
    of_fitted = moderated(variances[:3], dof[:3])
    assert (prior_dof, prior) == of_fitted[:2]
    assert shrunk[:3] == pytest.approx(of_fitted[2])
    assert shrunk[3] == shrunk[4] == prior
    assert shrunk[5] == pytest.approx(prior_dof * prior / (prior_dof + 4))


def test_one_variance_stays_and_none_is_nothing() -> None:
    prior_dof, prior, shrunk = moderated(np.array([2.0, np.nan]), np.array([3.0, 0.0]))
    assert (prior_dof, prior, *shrunk) == (0, 2, 2, 2)
    nothing = moderated(np.array([np.nan]), 0)
    assert np.isnan([nothing[0], nothing[1], *nothing[2]]).all()


@pytest.mark.parametrize("spread", [1e-9, 1e-3, 30.0, 3000.0])
def test_moments_of_any_size_have_a_solution(spread: float) -> None:
    """The equation is solved from variances that hardly differ to those that could not more."""
    from scipy.special import polygamma

    half = math.sqrt((polygamma(1, 50) + spread) / 2)
    prior_dof, *_ = moderated(np.exp(np.array([half, -half])), 100)
    assert polygamma(1, prior_dof / 2) == pytest.approx(spread, rel=1e-5)


@pytest.mark.parametrize("spread", [0.0, 0.2, 1.5])
def test_random_variances_equal_the_oracle(spread: float) -> None:
    for seed in range(8):
        random = np.random.default_rng(seed)
        dof = random.integers(0, 9, size=30).astype(np.float64)
        true = np.exp(random.normal(0, spread, 30))
        variances = np.where(dof > 0, true * random.chisquare(dof + 1e-9) / (dof + 1e-9), np.nan)
        *found, shrunk = moderated(variances, dof)
        *expected, wanted = oracle.moderated(variances.tolist(), dof.tolist())
        assert found == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(shrunk, wanted, rtol=1e-6)
