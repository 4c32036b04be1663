"""The best of many factors is held against the best that chance gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis.answers import ask
from analysis.chance import choice_p_values, held_against, induced, permutations
from analysis.findings import why
from tests.analysis.warehouses import Members, member, warehouse_of
from tests.oracles import statistics as plain

NOTHING = math.nan


def table(random: np.random.Generator, shape: Sequence[int], missing: float = 0) -> Any:
    """Numbers with ties, of which some are not there."""
    drawn = random.integers(0, 6, size=shape).astype(float)
    return np.where(random.random(shape) < missing, NOTHING, drawn)


def followed(order: Sequence[int], start: int, there: set[int]) -> int:
    """Where a sample is led by an order, past those that are not there."""
    place = order[start]
    while place not in there:
        place = order[place]
    return place


def known(gt: Any, values: Any) -> list[list[set[int]]]:
    """The samples that each factor is known for, for each algorithm."""
    both = ~np.isnan(values + gt)
    return [[set(np.flatnonzero(row).tolist()) for row in factor] for factor in both]


def strengths(gt: Any, values: Any, order: Sequence[int], plainly: bool = False) -> list[float]:
    """Mean |rho| of every factor where each sample has the GT of the one it is led to.

    Each |rho| counts as a multiple of its standard deviation by chance, (n - 1)^-1/2, over that of
    the factor that is known for most samples; unless `plainly`.
    """
    places, found = known(gt, values), []
    for factor, of_factor in zip(values, places, strict=True):
        rhos = []
        for a, (own, column, there) in enumerate(zip(gt, factor, of_factor, strict=True)):
            y = [own[followed(order, k, there)] for k in sorted(there)]
            rho = plain.spearman([column[k] for k in sorted(there)], y)
            most = max(len(of_other[a]) for of_other in places)
            spread = 1 if plainly else math.sqrt((most - 1) / max(1, len(there) - 1))
            rhos += [] if rho is None else [abs(rho) / spread]
        found.append(float(np.mean(rhos)) if rhos else NOTHING)
    return found


@pytest.mark.parametrize("missing", [0, 0.15])
@pytest.mark.parametrize("seed", [0])
def test_all_permutations_are_those_of_brute_force(seed: int, missing: float) -> None:
    random = np.random.default_rng(seed)
    gt, values = table(random, (2, 5), missing), table(random, (3, 2, 5), missing)
    values[2] = 1.0  # without an order
    if missing:
        values[1, 1] = NOTHING  # nobody has it
    every = np.array(list(itertools.permutations(range(5))))
    found, maxima = held_against(gt, values, [every[:50], every[50:]])
    assert found == pytest.approx(strengths(gt, values, range(5)), nan_ok=True)
    expected = [np.nanmax(strengths(gt, values, order)) for order in every.tolist()]
    assert maxima == pytest.approx(expected, abs=1e-12)


def test_induced_permutations_are_all_equally_likely() -> None:
    every = np.array(list(itertools.permutations(range(5))))
    found = induced(every, np.array([True, False, True, True, False]))
    assert {tuple(row) for row in found.tolist()} == set(itertools.permutations(range(3)))
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert set(counts) == {20}


def attempts_of(gt: Any, values: Any) -> list[list[float]]:
    return [
        [a, s, gt[a, s], *values[:, a, s]]
        for a, s in np.ndindex(gt.shape)
        if not math.isnan(gt[a, s])
    ]


def test_the_choice_of_one_is_an_ordinary_permutation_test() -> None:
    random = np.random.default_rng(1)
    gt, values = random.normal(size=(1, 7)), random.normal(size=(1, 1, 7))
    values[0, 0] += gt[0]
    (found,) = choice_p_values(attempts_of(gt, values))

    def statistic(x: Any) -> float:
        return abs(float(scipy.stats.spearmanr(x, values[0, 0]).statistic))

    exact = scipy.stats.permutation_test(
        (gt[0],), statistic, permutation_type="pairings", n_resamples=math.inf,
        alternative="greater",
    )  # fmt: skip
    assert found == pytest.approx(exact.pvalue, abs=0.02)


def test_a_factor_that_few_samples_have_hides_no_other() -> None:
    random = np.random.default_rng(3)
    gt = random.normal(size=(1, 60))
    values = 0.7 * gt + random.normal(size=(4, 1, 60))
    few = np.full((1, 1, 60), NOTHING)
    few[0, 0, :6] = random.normal(size=6)
    among = choice_p_values(attempts_of(gt, np.concatenate([values, few])))
    alone = choice_p_values(attempts_of(gt, values))
    assert [p is not None and p < 0.01 for p in alone] == [True] * 4
    assert among[:4] == pytest.approx(alone, abs=0.01)
    assert among[4] is not None
    assert among[4] > 0.05


def test_p_values_are_seeded_and_none_without_an_order() -> None:
    random = np.random.default_rng(2)
    gt, values = table(random, (2, 12)), table(random, (3, 2, 12))
    values[1] = 4.0
    found = choice_p_values(attempts_of(gt, values))
    assert found == choice_p_values(attempts_of(gt, values))
    assert found[1] is None
    assert choice_p_values([[1, 0, 0.5, 2.0, 3.0]]) == [None, None]
    drawn = np.concatenate(list(permutations(12, 20)))
    assert (np.sort(drawn, axis=1) == np.arange(12)).all()


# In sweeps


def sweep_of(seed: int, slope: float, n: int = 40) -> Members:
    """Members of which GT follows the first factor so much, with four more that are noise."""
    random = np.random.default_rng(seed)
    pre = random.normal(size=(5, n))
    return [
        member(
            k,
            f=0.5 + 0.05 * float(np.tanh(slope * pre[0, k] + random.normal())),
            u=90.0,
            algorithm=name,
            **{f"pre_{i}": pre[i, k] for i in range(5)},
        )
        for name in ("ga", "salun")
        for k in range(n)
    ]


FACTORS = [f"pre_{k}" for k in range(5)]


def test_strengths_of_a_sweep_are_those_of_its_correlations(tmp_path: Path) -> None:
    members = sweep_of(0, 0.3)
    for m in members[:7]:
        del m["metrics"]["pre_3"]
    with warehouse_of(tmp_path, members, FACTORS) as warehouse:
        rows = warehouse.report("strengths", sweep="s").records()
        outcomes = warehouse.query("from attempts order by algorithm, sample_id").records()
    gt = np.array([row["gt"] for row in outcomes]).reshape(2, 40)
    values = np.array([[m["metrics"].get(f, NOTHING) for m in members] for f in FACTORS])
    values = values.reshape(5, 2, 40)
    expected = dict(zip(FACTORS, strengths(gt, values, range(40), plainly=True), strict=True))
    p_values = dict(zip(FACTORS, choice_p_values(attempts_of(gt, values)), strict=True))
    for row in rows:
        assert row["strength"] == pytest.approx(expected[row["factor"]], abs=1e-12)
        assert row["p_choice"] == p_values[row["factor"]]
        assert (row["factors"], row["algorithms"]) == (5, 2)
    by_p = sorted(FACTORS, key=lambda name: (p_values[name], -expected[name]))
    assert [row["factor"] for row in rows] == by_p  # steps are all alike


@pytest.mark.parametrize("having", [19, 20])
def test_the_strongest_is_known_for_half_of_the_samples(tmp_path: Path, having: int) -> None:
    members = sweep_of(0, 2.0)
    for m in members:
        m["metrics"]["pre_4"] = m["metrics"]["pre_0"] + 0.3 * m["metrics"]["pre_3"]
        m["metrics"]["pre_1"] = m["metrics"]["forget_prob_diff"]  # |rho| is one
        if m["sample_id"] >= having:
            del m["metrics"]["pre_1"]
    with warehouse_of(tmp_path, members, FACTORS) as warehouse:
        answers = ask(warehouse, "s")
    rows = answers.rows("strengths")
    assert [row["factor"] for row in rows].count("pre_1") == (having >= 20)
    best = "pre_1" if having >= 20 else "pre_0"
    assert (rows[0]["factor"], f"“{best}”" in why(answers)) == (best, True)
