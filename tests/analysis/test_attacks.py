"""Attacks by hand, against scipy, and against what the published files give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis.attacks import (
    CAP,
    epsilon,
    epsilon_cap,
    klom,
    likelihood_ratio,
    permutation_p,
    pooled_auc,
    ratio_wins,
    tpr_at,
    wins,
)
from analysis.statistics import Counts, Floats
from tests.oracles import forgetting as oracle

NONE = np.empty(0)
# Models of each kind, mean and standard deviation of u (o is standard normal, the seed is the row),
# and what metric.py @ffae0ff, with its .cuda() taken away, and eval.py @eb261f9 make of them.
PUBLISHED = [
    (8, 0.0, 1.0, 1.945899, 5.722175685),
    (16, 0.0, 1.0, 2.302569, 4.901121194),
    (16, 1.0, 0.5, 2.564937, 5.394470411),
    (16, -2.0, 2.0, 50.0, 8.541100066),
    (32, 0.5, 0.3, 2.944422, 3.610549378),
    (16, -9.0, 1.0, 50.0, 9.758880132),
]


def of(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def auc(u: Floats, o: Floats) -> float:
    """The share of pairs in which u is the larger."""
    return float(wins(u[:, None], o).mean())


def drawn(seed: int, n: int, mean: float = 0.0, sd: float = 1.0) -> tuple[Floats, Floats]:
    """So many phi of each kind."""
    random = np.random.default_rng(seed)
    return random.normal(mean, sd, n), random.normal(size=n)


def test_auc() -> None:
    assert auc(of(3, 2, 1), of(2, 0)) == 0.75  # four of six pairs, and one is tied
    assert auc(of(1, 1), of(1)) == 0.5
    assert auc(of(1), of(0)) == 1
    assert np.isnan(wins(of(np.nan, 1), of(0, np.nan))).tolist() == [True, True]


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_auc_is_mann_and_whitneys(digits: int) -> None:
    for seed in range(20):
        u, o = (np.round(side, digits) for side in drawn(seed, 9, 0.5))
        expected = scipy.stats.mannwhitneyu(u, o[:6]).statistic / 54
        assert auc(u, o[:6]) == pytest.approx(expected, rel=1e-12)
        assert auc(o, u) == pytest.approx(1 - auc(u, o), rel=1e-12)


def test_tpr_at() -> None:
    u, o = of(5, 4, 3, 2), of(4.5, 1, 0, -1)
    assert tpr_at(u, o, 0.0) == 0.25
    assert tpr_at(u, o, 0.24) == 0.25
    assert tpr_at(u, o, 0.25) == 1
    assert tpr_at(of(1, 1), of(1, 0), 0.4) == 0  # the threshold that excludes the tied excludes all
    assert tpr_at(of(1, 1), of(1, 0), 0.5) == 1
    assert tpr_at(np.arange(100.0), np.arange(100.0), 0.01) == 0.01  # a share that is just allowed
    assert math.isnan(tpr_at(NONE, o, 0.5))
    assert math.isnan(tpr_at(u, NONE, 0.5))


def test_likelihood_ratio_leaves_each_out_of_its_own_fit() -> None:
    u, o = drawn(0, 7, 2.0, 0.5)
    normal = scipy.stats.norm

    def fitted(values: Floats) -> tuple[float, float]:
        return float(np.mean(values)), float(np.std(values, ddof=1))

    of_u, of_o = likelihood_ratio(u, o[:5])
    for k in range(7):
        mine = normal.logpdf(u[k], *fitted(np.delete(u, k)))
        assert of_u[k] == pytest.approx(mine - normal.logpdf(u[k], *fitted(o[:5])), rel=1e-9)
    for k in range(5):
        mine = normal.logpdf(o[k], *fitted(np.delete(o[:5], k)))
        assert of_o[k] == pytest.approx(normal.logpdf(o[k], *fitted(u)) - mine, rel=1e-9)


def test_likelihood_ratio_needs_three_of_each() -> None:
    for u, o in ((of(1, 2), of(1, 2, 3)), (of(1, 2, 3), of(1, 2))):
        of_u, of_o = likelihood_ratio(u, o)
        assert of_u.shape == u.shape
        assert of_o.shape == o.shape
        assert np.isnan(np.concatenate([of_u, of_o])).all()


def test_epsilon_of_single_thresholds() -> None:
    # From 15 to 20 one of u is missed and two of o are taken for it, which is the best; windows of
    # width 26 to 34 about 10 to 40 miss none, or one and mistake three.
    u, o = of(10, 20, 30, 40), of(0, 15, 25, 35)
    assert epsilon(u, o) == pytest.approx(math.log((0.5 - 1e-5) / 0.25), rel=1e-12)
    assert epsilon(o, u, delta=0.0) == pytest.approx(math.log(2), rel=1e-12)


def test_epsilon_of_double_thresholds() -> None:
    # No threshold does better than log 2. A window that misses 15 mistakes 0.
    u, o = of(-15, -1, 1, 15), of(-40, 0, 30, 40)
    assert epsilon(u, o, delta=0.0) == pytest.approx(math.log(3), rel=1e-12)
    assert epsilon(u, o, delta=0.0) == pytest.approx(epsilon_cap(4, 4), rel=1e-12)


def test_epsilon_at_its_ends() -> None:
    assert epsilon(of(5, 6, 7), of(0, 1, 2)) == CAP
    assert epsilon(of(-0.5, 0.5), of(-9, 9)) == CAP  # a window is around one kind
    assert epsilon(of(0, 1e-3, 2e-3), of(-5, 1e-3, 5)) == CAP  # on one spot
    assert epsilon(of(0, 0), of(1, 1)) == CAP
    assert epsilon(of(1, 1), of(1, 1)) == 0  # no rule is left
    assert epsilon(of(0, 1), of(0, 1)) == 0
    assert math.isnan(epsilon(NONE, of(1)))
    assert math.isnan(epsilon(of(1), NONE))
    assert math.isnan(epsilon_cap(1, 9))
    assert epsilon_cap(2, 2) == 0


@pytest.mark.parametrize(("few", "many"), [(2, 3), (4, 8), (3, 12)])
def test_of_other_numbers_too_no_rule_says_more(few: int, many: int) -> None:
    """One model of each kind is on the other's side, either way round."""
    u = of(*range(few - 1), many + 9)
    o = of(many + 8, *range(many + 10, 2 * many + 9))
    for one, other in ((u, o), (o, u), (-u, -o), (-o, -u)):
        found = epsilon(one, other, delta=0.0)
        assert found == pytest.approx(epsilon_cap(len(one), len(other)), rel=1e-12)


@pytest.mark.parametrize("seed", range(len(PUBLISHED)))
def test_epsilon_and_klom_are_the_published_ones(seed: int) -> None:
    n, mean, sd, of_challenge, of_bench = PUBLISHED[seed]
    u, o = drawn(seed, n, mean, sd)
    assert epsilon(u, o) == pytest.approx(of_challenge, abs=1e-6)
    assert epsilon(o, u) == pytest.approx(of_challenge, abs=1e-6)
    assert klom(u, o) == pytest.approx(of_bench, abs=1e-8)


def test_klom() -> None:
    # Bins [0, 2) and [2, 4): 4 is in none.
    expected = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert klom(of(0, 0, 3), of(0, 3, 4), bins=2) == pytest.approx(expected)
    # Nothing of o is in the second.
    expected = 2 / 3 * math.log(2 / 3 * (1 + 1e-5)) + 1 / 3 * math.log((1 + 1e-5) / 3e-5)
    assert klom(of(0, 0, 3), of(0, 1, 4), bins=2) == pytest.approx(expected)
    assert klom(of(0, 0, 3), of(0, 1, 99), bins=2, clip=4) == pytest.approx(expected)
    assert klom(of(7, 7), of(7)) == 0
    assert math.isnan(klom(of(4, 4), of(0, 1, 4)))
    assert math.isnan(klom(NONE, of(1)))


def test_permutation_p_by_hand() -> None:
    # Of six splits only the one that is there and its reverse are as far apart.
    assert permutation_p(of(0, 1), of(2, 3)) == pytest.approx(1 / 3)
    assert permutation_p(of(0, 4), of(1, 2)) == 1  # {0, 2} is as near, all else is further
    assert permutation_p(of(0), of(1)) == 1
    assert permutation_p(of(4, 4, 4), of(4, 4)) == 1
    assert math.isnan(permutation_p(NONE, of(1)))
    assert math.isnan(permutation_p(of(1), NONE))


@pytest.mark.parametrize("digits", [0, 9])
def test_permutation_p_is_scipys_where_it_is_exact(digits: int) -> None:
    for seed in range(4):
        u, o = (np.round(side, digits) for side in drawn(seed, 5, 0.7))
        sides, distance = (u, o[:4]), scipy.stats.energy_distance
        found = scipy.stats.permutation_test(sides, distance, alternative="greater")
        assert permutation_p(*sides) == pytest.approx(found.pvalue, rel=1e-9)


def test_permutation_p_of_draws_is_near_the_exact_one() -> None:
    for seed in range(5):
        u, o = drawn(seed, 7, 0.8)
        exact, found = permutation_p(u, o, draws=3431), permutation_p(u, o)
        assert abs(found - exact) <= 4 * math.sqrt(exact * (1 - exact) / 999) + 1e-3
    assert permutation_p(*drawn(0, 16, 9.0)) == 1 / 1000


def test_permutation_p_seldom_finds_what_is_not_there() -> None:
    # The p-value is exact: 50 of 1,000 trials are expected, and 67 or fewer in 99% of cases.
    found = [permutation_p(*drawn(seed, 16)) for seed in range(1000)]
    assert np.count_nonzero(np.array(found) <= 0.05) <= 67


def with_gaps(seed: int, samples: int, models: int, shift: float = 0.3) -> tuple[Floats, Floats]:
    """Scores with ties, of models of which a random half saw the sample."""
    random = np.random.default_rng(seed)
    scores, saw = random.normal(size=(samples, models)), random.random((samples, models)) < 0.5
    scores = (10 * (scores + shift * saw)).round() / 10
    return np.where(saw, scores, np.nan), np.where(saw, np.nan, scores)


def wins_of(u: Floats, o: Floats) -> Floats:
    return wins(u[:, :, None], o[:, None, :])


def test_pooled_auc_is_that_of_tables_drawn_row_by_row() -> None:
    u, o = with_gaps(0, 6, 8)
    random = np.random.default_rng(3)
    rows, columns = (random.multinomial(n, [1 / n] * n, size=60) for n in (6, 8))

    def pooled(times: Counts, of_models: Counts) -> float:
        won, pairs = 0.0, 0
        for a, b in zip(np.repeat(u, times, 0), np.repeat(o, times, 0), strict=True):
            ours, theirs = (np.repeat(side, of_models) for side in (a, b))
            ours, theirs = ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]
            won += float(wins(ours[:, None], theirs).sum())
            pairs += len(ours) * len(theirs)
        return won / pairs

    found = [pooled(*counts) for counts in zip(rows, columns, strict=True)]
    expected = np.quantile(found, [0.05, 0.95])
    middle, *ends = pooled_auc(wins_of(u, o), level=0.9, resamples=60, seed=3)
    once = np.ones(6, dtype=int), np.ones(8, dtype=int)
    assert middle == pytest.approx(pooled(*once))
    assert ends == pytest.approx(expected)


def test_pooled_auc_is_wider_the_fewer_models_there_are() -> None:
    widths = []
    for models in (8, 64):
        _, low, high = pooled_auc(wins_of(*with_gaps(1, 60, models)), resamples=200)
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_ratio_wins_are_those_of_the_oracle() -> None:
    for seed, (n, m) in enumerate([(3, 3), (7, 5), (24, 8)]):
        random = np.random.default_rng(seed)
        u, o = random.normal(1, 2, n), random.normal(size=m)
        assert ratio_wins(u, o).mean() == pytest.approx(
            oracle.leave_pair_out_auc(u.tolist(), o.tolist())
        )
    assert np.isnan(ratio_wins(u[:2], o)).all()
