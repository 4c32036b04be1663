"""Moments of reference models, and moderated variances: by hand and against the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, polygamma

from tests.oracles import forgetting as oracle
from unlearning.references import Moments, References, moderated, moments

ALL = torch.arange(4)


def random_references(seed: int, models: int = 12, samples: int = 4) -> References:
    random = np.random.default_rng(seed)
    included = random.random((models, samples)) < 0.5
    phi = random.normal(0, 3, samples) + random.normal(size=(models, samples))
    test_phi = random.normal(size=(models, 5))
    tables = (included, phi, phi > 0, test_phi)
    seen, log_odds, correct, of_tests = map(torch.from_numpy, tables)
    return References(seen, log_odds, correct, of_tests)


def of_many(mean: float, sd: float) -> Moments:
    """Of one sample and so many models that nothing is left open."""
    each = (mean, sd, 1e12, math.inf)
    return Moments(*(torch.tensor([value], dtype=torch.float64) for value in each))


@settings(max_examples=60, deadline=None)
@given(
    phi=st.floats(-50, 50),
    mean=st.floats(-20, 20),
    sd=st.floats(0.01, 10),
    models=st.integers(2, 100),
    freedom=st.one_of(st.floats(1, 200), st.just(math.inf)),
)
def test_z_and_its_limit_equal_the_oracle(
    phi: float, mean: float, sd: float, models: int, freedom: float
) -> None:
    row = torch.tensor([0])
    each = (mean, sd, models, freedom)
    found = Moments(*(torch.tensor([value], dtype=torch.float64) for value in each))
    z = found.z(torch.tensor([phi], dtype=torch.float64), row)
    assert z.item() == pytest.approx(oracle.z_score(phi, mean, sd), rel=1e-9)
    limit = found.limit(row).item()
    assert oracle.is_forgotten(limit * (1 - 1e-9), models, freedom)
    assert not oracle.is_forgotten(limit * (1 + 1e-9), models, freedom)


def test_of_many_models_z_is_offline_liras() -> None:
    out = torch.from_numpy(np.random.default_rng(0).normal(2, 3, 200))
    mean, sd = out.mean().item(), out.std().item()
    for phi in (-4.0, 2.0, 9.0):
        z = of_many(mean, sd).z(torch.tensor([phi]).double(), torch.tensor([0])).item()
        p = math.erfc(z / math.sqrt(2)) / 2
        assert p == pytest.approx(oracle.offline_lira(phi, out.tolist()), rel=1e-6)
    assert of_many(mean, sd).limit(torch.tensor([0])).item() == pytest.approx(1.6448536)


def test_ninety_of_a_hundred_further_models_are_within_the_limit() -> None:
    random, models, samples = np.random.default_rng(2), 6, 20_000
    spread = np.exp(random.normal(0, 0.5, samples))
    phi = torch.from_numpy(spread * random.normal(size=(models, samples)))
    further = torch.from_numpy(spread * random.normal(size=samples))
    found, rows = moments(phi, torch.ones_like(phi).bool()), torch.arange(samples)
    inside = found.z(further, rows).abs() <= found.limit(rows)
    assert inside.double().mean().item() == pytest.approx(0.9, abs=0.01)


def test_the_map_keeps_a_models_place_among_its_kind() -> None:
    said = random_references(0)
    phi = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    inside, out = said.inside, said.outside
    for k in range(4):
        moments_of = [each[k].item() for each in (inside.mean, inside.sd, out.mean, out.sd)]
        expected = oracle.mapped_target(phi[k].item(), *moments_of)
        assert said.mapped(phi, ALL)[k].item() == pytest.approx(expected)
    torch.testing.assert_close(out.z(said.mapped(phi, ALL), ALL), inside.z(phi, ALL))


def test_a_shift_raises_both_kinds_and_is_that_of_the_test_samples() -> None:
    said = random_references(3)
    z = torch.tensor([0.5, 0.5, -9.0, 4.0, 0.5])
    test_phi = said.test_phi.mean(dim=0) + z * said.test_phi.std(dim=0)
    seen = said.seen_from(test_phi)
    assert seen.shift == pytest.approx(0.5)
    assert seen.digest == said.digest
    for before, after in ((said.outside, seen.outside), (said.inside, seen.inside)):
        torch.testing.assert_close(after.mean, before.mean + 0.5 * before.sd)
        torch.testing.assert_close(after.sd, before.sd)


def test_of_one_model_of_a_kind_nothing_is_known() -> None:
    said = random_references(6)
    included = said.included.clone()
    included[:, 0], included[1:, 1] = True, True
    included[0, 1] = False
    out = moments(said.phi, ~included)
    assert out.models[:2].tolist() == [0, 1]
    for part in (out.mean, out.sd, out.z(torch.zeros(4).double(), ALL)):
        assert part.isnan().tolist()[:2] == [True, True]
        assert part[2:].isfinite().all()


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


def test_one_variance_stays_and_none_is_nothing() -> None:
    prior_dof, prior, shrunk = moderated(np.array([2.0, np.nan]), np.array([3.0, 0.0]))
    assert (prior_dof, prior, *shrunk) == (0, 2, 2, 2)
    nothing = moderated(np.array([np.nan]), 0)
    assert np.isnan([nothing[0], nothing[1], *nothing[2]]).all()


@pytest.mark.parametrize("spread", [1e-9, 3000.0])
def test_moments_of_any_size_have_a_solution(spread: float) -> None:
    """The equation is solved from variances that hardly differ to those that could not more."""
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
