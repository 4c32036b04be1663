"""Moments of reference models, and what follows from them, by hand and against the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import forgetting as oracle
from unlearning.references import Moments, References, moments

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


def test_an_error_of_z_is_what_further_sets_of_models_show() -> None:
    """Of 10 models whose moments are known up to chance, z of one phi scatters by its error."""
    random, phi, models = np.random.default_rng(1), 2.0, 10
    out = torch.from_numpy(random.normal(size=(models, 20_000)))
    sd, mean = torch.std_mean(out, dim=0)
    z = (phi - mean) / sd
    freedom = torch.full_like(mean, models - 1)
    found = Moments(mean, sd, torch.full_like(mean, models), freedom)
    error = found.z_error(torch.full_like(mean, phi), torch.arange(20_000))
    assert error.mean().item() == pytest.approx(z.std().item(), rel=0.2)


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


def test_a_shift_is_midway_between_the_middle_two() -> None:
    said = random_references(4)
    z = torch.tensor([0.0, 1.0, 3.0, 9.0, torch.nan])
    test_phi = said.test_phi.mean(dim=0) + z * said.test_phi.std(dim=0)
    assert said.seen_from(test_phi).shift == pytest.approx(2)


def test_what_is_told_of_some_models() -> None:
    said = random_references(5)
    few = said.only(torch.tensor([0, 3, 4]))
    assert (len(few), len(said)) == (3, 12)
    assert few.digest != said.digest
    assert few.phi.tolist() == said.phi[[0, 3, 4]].tolist()
    assert few.included.tolist() == said.included[[0, 3, 4]].tolist()


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
