from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from indelible.analysis.statistics import spearman_p_value


@pytest.mark.parametrize("n", [3, 4, 10, 250, 1000, 10_000])
def test_p_value_equals_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    for noise in (0.01, 0.5, 3.0, 30.0):
        x = random.normal(size=n)
        rho, p = scipy.stats.spearmanr(x, x + noise * random.normal(size=n))
        assert spearman_p_value(float(rho), n) == pytest.approx(p, rel=1e-9)


def test_p_value_at_the_ends() -> None:
    assert spearman_p_value(1.0, 3) == 0.0
    assert spearman_p_value(-1.0, 3) == 0.0
    assert spearman_p_value(0.0, 50) == 1.0
    # One degree of freedom: t = 1 / sqrt(3), and the tails of arctan beyond 30 degrees.
    assert math.isclose(spearman_p_value(0.5, 3), 2 / 3)
