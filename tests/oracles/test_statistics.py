"""The rank correlation of the statistics, by hand and by its definition."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats

from tests.oracles import statistics


def average_ranks(values: Sequence[float]) -> list[float]:
    """1 + (number of smaller values) + half the number of other values that are equal."""
    ranks = []
    for a in values:
        smaller = sum(1 for b in values if b < a)
        equal = sum(1 for b in values if b == a)
        ranks.append(1 + smaller + (equal - 1) / 2)
    return ranks


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Covariance over the product of the standard deviations."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread_x = sum((a - mean_x) ** 2 for a in x)
    spread_y = sum((b - mean_y) ** 2 for b in y)
    return covariance / math.sqrt(spread_x * spread_y)


def test_spearman_by_hand() -> None:
    # Ranks (1, 2, 3, 4) and (1, 3, 2, 4): rho = 1 - 6 * 2 / (4 * 15) = 0.8. Of the 24 orders the
    # sorted one and three with two neighbours exchanged have as large a rho, backwards -rho: 8.
    x, y = [1, 2, 3, 4], [10, 30, 20, 40]
    assert statistics.spearman(x, y) == pytest.approx(0.8)
    assert statistics.p_value(x, y) == pytest.approx(8 / 24)
    assert average_ranks([5.0, 1.0, 5.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def ordinary(rng: np.random.Generator) -> list[float]:
    """Thirty distinct numbers."""
    return [float(v) for v in rng.normal(size=30)]


def tied(rng: np.random.Generator) -> list[float]:
    """Thirty numbers with many ties."""
    return [float(v) for v in rng.integers(0, 4, size=30)]


@pytest.mark.parametrize("draw", [ordinary, tied])
@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_pearson_of_the_average_ranks(
    draw: Callable[[np.random.Generator], list[float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = draw(rng), draw(rng)
    rho = pearson(average_ranks(x), average_ranks(y))
    assert statistics.spearman(x, y) == pytest.approx(rho)
    # Two-sided p of t = rho sqrt((n - 2) / (1 - rho^2)), t distribution, n - 2 degrees.
    t = rho * math.sqrt(28 / (1 - rho**2))
    assert statistics.p_value(x, y) == pytest.approx(2 * scipy.stats.t.sf(abs(t), 28))


def test_spearman_edges() -> None:
    assert statistics.spearman([], []) is None
    assert statistics.spearman([1.0], [2.0]) is None
    assert statistics.spearman([1.0, 2.0], [4.0, 3.0]) == pytest.approx(-1.0)
    assert statistics.spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert statistics.spearman([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]) == pytest.approx(1.0)
