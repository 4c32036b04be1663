"""Reference models by hand."""

import math

import pytest

from tests.oracles.factors import forgetting as oracle
from tests.oracles.factors.forgetting import Models

# Two samples, of which models 0 to 2 did not see the first and 3 to 5 not the second. Of what they
# did not see both variances are 1: as alike as no chance makes them, so both get the prior.
OUT = [[1.0, 2, 3], [11.0, 12, 13]]
IN = [[5.0, 7, 9], [20.0, 22, 24]]
FIRST = [False] * 3 + [True] * 3
EULER = 0.5772156649015329
SAID = Models(
    phi=[[a, b] for a, b in zip(OUT[0] + IN[0], IN[1] + OUT[1], strict=True)],
    included=[[saw, not saw] for saw in FIRST],
    # z of the base model are 2, 1 / 2 and 0.
    test_phi=[[0.0, 0, 0], [0.0, 0, 0], [2.0, 2, 2], [2.0, 2, 2], [1.0, 1, 1], [1.0, 1, 1]],
    base_test_phi=[1 + 2 * math.sqrt(0.8), 1 + math.sqrt(0.8) / 2, 1.0],
)
SD = math.exp(EULER / 2)  # d = 2: log s0^2 = mean log s^2 - digamma(1) + log 1


def test_shift() -> None:
    assert oracle.shift(SAID) == pytest.approx(0.5)


def test_moments_are_moderated_and_shifted() -> None:
    for sample, mean in enumerate((2, 12)):
        assert oracle.reference_sd(SAID, sample) == pytest.approx(SD)
        assert oracle.reference_phi(SAID, sample) == pytest.approx(mean + SD / 2)
    inside = oracle.kind(SAID, 0, saw=True)
    assert (inside.mean, inside.sd) == pytest.approx((7 + SD, 2 * SD))
    assert (inside.models, inside.freedom) == (3, math.inf)


def test_z() -> None:
    phi = 2 + SD / 2 - 3 * SD
    assert oracle.z(phi, SAID, 0) == pytest.approx(-3)
    assert oracle.z_untouched(phi, SAID, 0) == pytest.approx(-3)
    assert oracle.z_error(phi, SAID, 0) == pytest.approx(math.sqrt(1 / 3))  # of sd nothing is open
    limit = 1.6448536269514722 * math.sqrt(4 / 3)
    for z, expected in ((limit - 1e-6, 1), (limit + 1e-6, 0), (1e-6 - limit, 1), (-3, 0)):
        assert oracle.forgotten(2 + SD / 2 + z * SD, SAID, 0) == expected


def test_target() -> None:
    # 1 sd above those that saw it: 1 sd above those that did not.
    assert oracle.target(7 + SD + 2 * SD, SAID, 0) == pytest.approx(2 + SD / 2 + SD)


def test_of_one_model_there_is_nothing() -> None:
    few = Models(
        [[*row, float(k)] for k, row in enumerate(SAID.phi)],
        [[*row, k > 0] for k, row in enumerate(SAID.included)],  # only model 0 did not see the last
        SAID.test_phi,
        SAID.base_test_phi,
    )
    for of in (oracle.z, oracle.z_error, oracle.forgotten, oracle.target):
        assert math.isnan(of(0, few, 2))
        assert not math.isnan(of(0, few, 0))
