"""The interval of GT's reliability, against resampling by hand, and its coverage."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis import reliability
from analysis.reliability import mean_rho_interval
from tests.analysis.test_relations import repeats
from tests.analysis.warehouses import member, warehouse_of
from tests.oracles import statistics as plain


def drawn(n: int, resamples: int) -> np.ndarray:
    """The samples of each resample."""
    return np.random.default_rng(reliability.SEED).integers(n, size=(resamples, n))


@pytest.mark.parametrize("digits", [0, 6])
@pytest.mark.parametrize(("count", "n"), [(2, 8), (3, 30)])
def test_few_repeats_equal_resampling_samples_by_hand(
    count: int, n: int, digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliability, "RESAMPLES", 100)
    random = np.random.default_rng(n)
    gt = (random.normal(size=n) + random.normal(size=(count, n))).round(digits)
    rho = [plain.mean_pairwise(gt[:, row].tolist()) for row in drawn(n, 100)]
    ends = np.quantile([value for value in rho if value is not None], [0.025, 0.975])
    assert mean_rho_interval(gt.tolist()) == pytest.approx(ends, abs=1e-12)


def test_from_four_repeats_on_they_are_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "RESAMPLES", 60)
    random = np.random.default_rng(3)
    gt = (random.normal(size=12) + random.normal(size=(4, 12))).round(1)
    weights = np.random.default_rng([reliability.SEED, 4]).multinomial(4, [0.25] * 4, size=60)
    found = []
    for row, weight in zip(drawn(12, 60), weights, strict=True):
        chosen = [k for k in range(4) for _ in range(weight[k])]
        rho = [
            scipy.stats.spearmanr(gt[a, row], gt[b, row]).statistic
            for place, a in enumerate(chosen)
            for b in chosen[place + 1 :]
            if a != b
        ]
        found += [np.mean(rho)] if rho else []
    assert mean_rho_interval(gt.tolist()) == pytest.approx(np.quantile(found, [0.025, 0.975]))


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    gt = (random.normal(size=40) + random.normal(size=(4, 40))).tolist()
    whole = mean_rho_interval(gt)
    monkeypatch.setattr(reliability, "BLOCK", 999)
    assert mean_rho_interval(gt) == pytest.approx(whole, abs=1e-12)


def test_no_interval_of_too_little() -> None:
    line = list(map(float, range(8)))
    assert mean_rho_interval([line]) == []
    assert mean_rho_interval([line[:7], line[:7]]) == []
    assert mean_rho_interval([line, [0.5] * 8]) == []
    assert mean_rho_interval([line, line]) == pytest.approx([1.0, 1.0])
    assert mean_rho_interval([line, line[::-1]]) == pytest.approx([-1.0, -1.0])


def coverage(count: int, n: int, of_each: list[float], truth: float, trials: int) -> float:
    """How many intervals of simulated repeats of this reliability hold the true value."""
    random, inside = np.random.default_rng(count), 0
    for _ in range(trials):
        r = random.choice(of_each, size=count)[:, None]
        gt = np.sqrt(r) * random.normal(size=n) + np.sqrt(1 - r) * random.normal(size=(count, n))
        low, high = mean_rho_interval(gt.tolist())
        inside += low <= truth <= high
    return inside / trials


def spearman_of(r: float) -> float:
    """The population's Spearman of a normal pair with correlation r (Kruskal 1958)."""
    return 6 / math.pi * math.asin(r / 2)


@pytest.mark.parametrize("r", [0.05, 0.5, 0.9])
@pytest.mark.parametrize(("count", "n"), [(2, 50), (3, 100)])
def test_coverage_where_repeats_are_equally_good(
    count: int, n: int, r: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over 1,500 trials each: 94.1% to 96.1% in these six cases."""
    monkeypatch.setattr(reliability, "RESAMPLES", 400)
    assert 0.92 <= coverage(count, n, [r], spearman_of(r), 300) <= 0.98


@pytest.mark.slow
def test_coverage_where_seeds_differ_takes_more_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the seeds are much noisier than the others.

    Over 500 trials each: 50% with 2 repeats, 52% with 3, 85% with 4, 88% with 5, 91% with 8.
    """
    monkeypatch.setattr(reliability, "RESAMPLES", 400)
    levels = [0.25, 0.81]
    truth = float(np.mean([spearman_of(math.sqrt(a * b)) for a in levels for b in levels]))
    few, many = (coverage(count, 100, levels, truth, 200) for count in (3, 8))
    assert few < 0.75  # of samples alone
    assert many > 0.85


# In the warehouse


@pytest.mark.parametrize("what", ["unlearning seed", "base model seed"])
@pytest.mark.parametrize(("count", "n"), [(2, 5), (3, 25), (4, 25)])
def test_intervals_in_the_warehouse(tmp_path: Path, what: str, count: int, n: int) -> None:
    with warehouse_of(tmp_path, repeats(count + n, count, n, what)) as warehouse:
        (row,) = warehouse.query("from reliability").records()
        rows = warehouse.query("select * from outcomes order by sweep_id, sample_id").records()
        ceilings = warehouse.query("from ceilings").records()
    gt = [[r["gt"] for r in rows if r["sweep_id"] == f"s{k}"] for k in range(count)]
    low, high = mean_rho_interval(gt) or (None, None)
    assert (row["mean_rho_low"], row["mean_rho_high"]) == (low, high)
    if low is None or high is None:
        assert (n, row["ceiling_low"], row["ceiling_high"]) == (5, None, None)
    else:
        assert low < row["mean_rho"] < high
        assert row["ceiling_low"] == pytest.approx(math.sqrt(max(low, 0)))
        assert row["ceiling_high"] == pytest.approx(math.sqrt(max(high, 0)))
    for name in ("mean_rho_low", "mean_rho_high", "ceiling_low", "ceiling_high"):
        assert {c[name] for c in ceilings} == {row[name]}


def test_noise_is_not_distinguishable_from_zero(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    members = [
        member(k, f=float(random.uniform(0.1, 0.9)), u=0.9) | {"sweep": f"s{s}", "seed": s}
        for s in range(3)
        for k in range(60)
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        (row,) = warehouse.query("from reliability").records()
    assert row["mean_rho_low"] < 0 < row["mean_rho_high"]
    assert row["ceiling_low"] == 0
    assert 0 < row["ceiling_high"] < 0.6
