"""Relations over outcomes, difficulty, classes and the paper's table, against the oracles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis.statistics import signs_by_chance
from analysis.warehouse import Warehouse
from analysis.words import under_other_seeds
from tests.analysis.warehouses import (
    PRE,
    TEST_SAMPLES,
    labelled,
    member,
    records,
    sweep_of,
    warehouse_of,
)
from tests.oracles import statistics as plain
from tests.oracles.factors import outcome

PAPERS = ("ga", "neggrad", "salun", "scrub")
MEMBERS = sweep_of(5, 40, PAPERS)
MEMBERS[0] |= {"status": "already_wrong"}
del MEMBERS[3]["metrics"]["margin"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse of MEMBERS."""
    with warehouse_of(tmp_path_factory.mktemp("whole"), MEMBERS, PRE) as warehouse:
        yield warehouse


# Outcomes


def gt_of(m: dict[str, Any], lam: float) -> float:
    metrics = m["metrics"]
    found = outcome.gt(1 - metrics["test_prob_diff"], metrics["forget_prob_diff"], lam)
    assert found is not None
    return found


def test_readings_of_lambda(whole: Warehouse) -> None:
    members = MEMBERS[40:80]
    u = [1 - m["metrics"]["test_prob_diff"] for m in members]
    f = [m["metrics"]["forget_prob_diff"] for m in members]
    readings = {"gt": 1 / TEST_SAMPLES, "gt_one": outcome.lambda_one()}
    readings["gt_mean_ratio"] = outcome.lambda_mean_ratio(u, f) or 0
    query = "from attempts where algorithm = 'neggrad' order by sample_id"
    for row, m in zip(whole.query(query).records(), members, strict=True):
        expected = {column: gt_of(m, lam) for column, lam in readings.items()}
        assert {column: row[column] for column in readings} == pytest.approx(expected, rel=1e-12)


def test_regimes_by_hand(tmp_path: Path) -> None:
    """Lambda is 1/100."""
    members = [
        member(0, f=0.5, u=0.5),  # lambda U = .005 < F
        member(1, f=0.002, u=0.5),  # F < lambda U
        member(2, f=2**-8, u=100 * 2**-8),  # equal but for rounding: in either
        member(3, f=-0.5, u=0.5),
        member(4, f=0.0, u=0.5),
        member(5, f=0.5, u=-0.1),
        member(6, f=0.5, u=0.5, status="non_finite"),
        member(7, f=math.nan, u=math.nan, status="already_wrong"),
        member(8, f=0.9, u=1.25),  # the test set gained
    ]
    rows = records(tmp_path, members, "from attempts order by sample_id")
    regimes = [row["regime"] for row in rows if row["sample_id"] != 2]
    assert regimes == ["utility", "forgetting", *[None] * 5, "utility"]
    shares = [0.25 / 0.505, 0.001 / 0.007, rows[2]["u"] / 2, 0.0, 0.0, 0.0]
    assert [row["gt_share"] for row in rows[:6]] == pytest.approx(shares, rel=1e-9)
    for row in rows[6:8]:  # nothing was run, or numbers were lost
        assert [row[c] for c in ("gt", "gt_one", "gt_mean_ratio", "gt_share")] == [None] * 4
    assert rows[8]["gt_share"] == pytest.approx(1.125 / 0.9125)


def test_attempts_have_all_of_an_attempt_on_one_row(tmp_path: Path) -> None:
    where = {"sweep": "t", "base": "c", "base_seed": 4, "seed": 7}
    lost = [member(1, f=0.5, u=0.9, label=3, test_accuracy=0.65) | where]
    with warehouse_of(tmp_path, lost, ("test_accuracy",)) as warehouse:
        (row,) = warehouse.query("from attempts").records()
    assert row.pop("gt") == pytest.approx(0.009 * 0.5 / 0.509)
    assert row.pop("test_points_lost") == pytest.approx(25)
    assert row.pop("gt_share") == pytest.approx(0.9 * 0.5 / 0.509)
    assert row.pop("gt_mean_ratio") == pytest.approx(0.25)
    assert row.pop("gt_one") == pytest.approx(0.9 * 0.5 / 1.4)
    assert row.pop("test_prob_diff") == pytest.approx(0.1)
    assert row == {
        **{"sweep_id": "t", "sweep": "t", "base_run_id": "c", "base_model": "c", "base_seed": 4},
        **{"dataset": "d", "arch": "a", "recipe": "epochs=30", "data_fingerprint": None},
        **{"algorithm": "ga", "settings": {"lr": "0.1"}, "seed": 7, "sample_id": 1, "label": 3},
        **{"engine_version": 1, "precision": "float32", "split_position": 6, "sample_path": ""},
        **{"start_time": None, "key": "k0", "run_id": "m0", "provider": None},
        **{"status": "flipped", "steps": 2, "f": 0.5, "u": 0.9},
        **{"test_accuracy_before": 0.9, "test_accuracy_after": 0.65},
        **{"is_damaged": True, "is_unchanged": False},
        **{"z": None, "z_error": None, "verdict": None, "forgotten": None, "until": "flip"},
        **{"class_name": "3", "flipped_to": None, "seconds": None, "regime": "utility"},
        **{"difficulty_rank": 1, "percentile": 50, "tied": 0},
        **{"test_accuracy": 0.65, "forget_prob_diff": 0.5},
    }


def test_damage_is_what_a_flip_costs_beyond_a_limit(tmp_path: Path) -> None:
    ends = (
        *(("flipped", 5), ("flipped", 5.01), ("flipped", -1), ("max_steps", 40)),
        *(("rewound", 30), ("already_wrong", 0)),
    )
    members = [
        member(k, f=0.5, u=0.9, status=status, test_accuracy=0.9 - lost / 100, elapsed_s=k / 10)
        for k, (status, lost) in enumerate(ends)
    ]
    ways = ("max_steps", "unchanged", "non_finite")
    same = [member(k, f=0, u=1, status=status) for k, status in enumerate(ways, start=7)]
    factors = ("test_accuracy", "elapsed_s")
    with warehouse_of(tmp_path, [*members, *same], factors) as warehouse:
        asked = "select sample_id from attempts where {} order by sample_id"
        damaged = warehouse.query(asked.format("is_damaged")).rows
        stricter = warehouse.query(asked.format("is_damaged(test_points_lost, max_loss := 4)")).rows
        unchanged = warehouse.query(asked.format("is_unchanged")).rows
        (row,) = warehouse.query("from summaries()").records()
        (strict,) = warehouse.report("summary", sweep="s", max_loss=4).records()
    assert (damaged, stricter) == ([(1,), (3,), (4,)], [(0,), (1,), (3,), (4,)])
    assert unchanged == [(7,), (8,)]
    counts = [row[name] for name in ("attempts", "flipped", "damaged", "unchanged")]
    assert (counts, strict["damaged"]) == ([8, 3, 1, 2], 2)
    assert row["worst_points_lost"] == pytest.approx(40)
    assert row["mean_points_lost"] == pytest.approx((5 + 5.01 - 1 + 40 + 30) / 5)
    assert row["flipped_accuracy"] == pytest.approx(0.9 - (5 + 5.01 - 1) / 300)
    assert (row["mean_seconds"], row["mean_gap"]) == (pytest.approx(0.2), None)


def test_samples_have_a_column_for_each_factor_known_before(whole: Warehouse) -> None:
    rows = whole.query("from samples order by sample_id").records()
    for row, m in zip(rows, MEMBERS[:40], strict=True):
        assert row == {
            **{"base_run_id": "b", "sample_id": m["sample_id"], "label": m["label"]},
            **{"split_position": m["sample_id"] + 5, "sample_path": "", "pre_never": None},
            "class_name": str(m["label"]),
            "margin": MEMBERS[40 + m["sample_id"]]["metrics"]["margin"],
            "pre_noise": m["metrics"]["pre_noise"],
        }


# Difficulty


def test_ranks_ascend_and_ties_are_placed_by_how_far_they_fell(tmp_path: Path) -> None:
    falls = (-0.1, 0.4, -0.5, -0.5, 0.4, -0.2, 0.2)
    members = [member(k, f=fall, u=0.5) for k, fall in enumerate(falls)]
    rows = records(tmp_path, members, "from internal.difficulty order by sample_id")
    averages = [2.5, 6.5, 2.5, 2.5, 6.5, 2.5, 5.0]
    expected = {
        "tied": [3, 1, 3, 3, 1, 3, 0],
        "difficulty_rank": [1, 6, 1, 1, 6, 1, 5],
        "average_rank": averages,
        "percentile": pytest.approx([100 * (7.5 - rank) / 7 for rank in averages]),
        "place": [4, 6, 1, 1, 6, 3, 5],
        "ordered_by": ["f", "gt", "f", "f", "gt", "f", "gt"],
    }
    assert {name: [row[name] for row in rows] for name in expected} == expected


def test_places_equal_a_plain_loop(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    members = [
        member(k, f=float(random.integers(-6, 5)) / 10, u=0.5, algorithm=algorithm)
        for algorithm in ("ga", "scrub")
        for k in range(60)
    ]
    query = "select d.*, o.f from internal.difficulty as d join attempts as o using (run_id)"
    rows = records(tmp_path, members, query)
    assert len(rows) == 120
    for own in rows:
        others = [row for row in rows if row["algorithm"] == own["algorithm"]]
        assert own["tied"] == sum(row["gt"] == own["gt"] for row in others) - 1
        harder = [
            row
            for row in others
            if row["gt"] < own["gt"] or (row["gt"] == own["gt"] == 0 and row["f"] < own["f"])
        ]
        assert own["place"] == len(harder) + 1


UP = (1, 2, 3, 4, 5, 6, 7, 8)
FAR = (5, 1, 7, 2, 8, 3, 6, 4)  # rho with UP is 1 / 7
OUT, MAY = "Left out, since another", "Another"
DIGITS = "between two seeds on digits; one seed here"


@pytest.mark.parametrize(
    ("orders", "counted", "head", "said"),
    [
        ({"ga": [UP], "neggrad": [FAR]}, ["ga", "neggrad"], "", ""),
        ({"ga": [UP], "scrub": [FAR]}, ["ga"], OUT, f"scrub (ρ 0.14 {DIGITS})"),
        (
            {"ga": [UP, UP], "neggrad": [UP, FAR]},
            ["ga"],
            OUT,
            "neggrad (ρ 0.14 between two of 2 repeats)",
        ),
        (
            {"salun": [UP], "ft": [FAR]},
            ["ft", "salun"],
            MAY,
            f"ft (one seed) and salun (ρ 0.53 {DIGITS})",
        ),
    ],
)
def test_orders_by_chance_are_left_out_of_the_order_over_all(
    tmp_path: Path,
    orders: dict[str, list[tuple[int, ...]]],
    counted: list[str],
    head: str,
    said: str,
) -> None:
    members = [
        member(k, f=0.1 * place, u=0.9, algorithm=name)
        | {"sweep": "st"[seed], "seed": seed, "draws": name != "ga"}
        for name, own in orders.items()
        for seed, order in enumerate(own)
        for k, place in enumerate(order)
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        seeds = warehouse.report("seed_agreement", sweep="s").records()
        asked = {"sweep": "s", "by": "gt", "easiest": False, "top": 8}
        ranked = warehouse.report("rank_overall", **asked).records()
        overall = warehouse.report("overall", sweep="s", max_loss=5).records()
    assert [row["algorithm"] for row in seeds if row["is_counted"]] == counted
    sentence = f"{head} seed may well give another order: {said}." if said else ""
    assert under_other_seeds(seeds) == sentence
    assert {row["algorithm"] for row in ranked} == set(counted)
    assert {row["attempts"] for row in overall} == {len(counted)}
    if counted == ["ga"]:
        assert [row["sample_id"] for row in ranked] == list(range(8))


# Agreement


def test_agreement_is_spearmans_rho_over_shared_samples(tmp_path: Path) -> None:
    f = np.random.default_rng(0).permuted(np.arange(1, 31) // 2 + np.zeros((2, 1)), axis=1) / 16
    members = [member(k, f=f[0, k], u=0.5, algorithm="ga") for k in range(30)]
    members += [member(k, f=f[1, k], u=0.5, algorithm="salun") for k in range(5, 30)]
    (row,) = records(tmp_path, members, "from agreement")
    rho, p = scipy.stats.spearmanr(f[0, 5:], f[1, 5:])
    assert (row["algorithm_a"], row["algorithm_b"], row["n"]) == ("ga", "salun", 25)
    assert row["rho"] == pytest.approx(rho, abs=1e-12)
    assert row["p_value"] == pytest.approx(p, rel=1e-9)


def test_top_overlap_beside_chance(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(30)
    members = [member(k, f=0.1 + k / 50, u=0.9, algorithm="ga") for k in range(30)]
    members += [member(k, f=0.1 + order[k] / 50, u=0.9, algorithm="salun") for k in range(30)]
    (row,) = records(tmp_path, members, "from agreement")
    common = set(range(3)) & set(np.argsort(order)[:3].tolist())
    assert (row["top_k"], row["top_overlap"]) == (3, len(common))
    assert row["top_overlap_by_chance"] == pytest.approx(0.3)


@pytest.mark.parametrize(("algorithms", "n"), [(("a",), 2), (("a", "b", "c"), 30)])
def test_concordance_is_kendalls_w(tmp_path: Path, algorithms: tuple[str, ...], n: int) -> None:
    members = sweep_of(2, n, algorithms)
    members.append(member(n, f=0.5, u=0.9, algorithm="a"))  # no GT with the others
    (row,) = records(tmp_path, members, "from internal.concordance")
    assert (row["rankings"], row["n"]) == (len(algorithms), n + (len(algorithms) == 1))
    table = [
        [max(0.0, m["metrics"]["forget_prob_diff"]) for m in members[:-1] if m["algorithm"] == name]
        for name in algorithms
    ]
    expected = plain.kendalls_w(table) if len(algorithms) > 1 else None
    assert row["w"] == pytest.approx(expected, abs=1e-12)
    if expected is not None:
        statistic = len(algorithms) * (n - 1) * expected
        assert row["p_value"] == pytest.approx(scipy.stats.chi2.sf(statistic, n - 1), abs=1e-12)


# Classes


def test_class_difficulty(whole: Warehouse) -> None:
    query = """
        select * exclude (n), c.n from class_difficulty as c
        join (select label, avg(percentile), avg(gt), count(*) as n from internal.difficulty
            where algorithm = 'ga' group by label) as d using (label)
        where algorithm = 'ga'
    """
    for row in whole.query(query).records():
        own = [m for m in MEMBERS[:40] if m["label"] == row["label"]]
        tried = [m for m in own if m["status"] != "already_wrong"]
        assert row["n"] == len(tried)
        flipped = sum(m["status"] == "flipped" for m in tried)
        assert row["flip_rate"] == pytest.approx(flipped / len(tried))
        assert row["mean_percentile"] == pytest.approx(row["avg(percentile)"])
        assert row["mean_gt"] == pytest.approx(row["avg(gt)"])


@pytest.mark.parametrize(("n", "classes", "digits"), [(2, 2, 9), (60, 3, 1)])
def test_the_test_of_classes_is_scipys(tmp_path: Path, n: int, classes: int, digits: int) -> None:
    members = labelled(n, {"ga": 0.0, "salun": 0.02, "scrub": 0.1}, n, classes, digits)
    members.append(member(n, f=float("nan"), u=0.9, status="non_finite", label=99))  # has no GT
    with warehouse_of(tmp_path, members) as warehouse:
        outcomes = warehouse.query("from attempts where gt is not null").records()
        rows = warehouse.query("from internal.class_tests").records()
    assert [row["algorithm"] for row in rows] == ["ga", "salun", "scrub"]
    for row in rows:
        own = [o for o in outcomes if o["algorithm"] == row["algorithm"]]
        groups = [[o["gt"] for o in own if o["label"] == label] for label in range(classes)]
        assert (row["classes"], row["n"], row["df"]) == (classes, n, classes - 1)
        if len({o["gt"] for o in own}) == 1:
            assert (row["h"], row["p_value"], row["p_holm"]) == (None, None, None)
            continue
        h, p = scipy.stats.kruskal(*groups)
        assert row["h"] == pytest.approx(h, abs=1e-12, rel=1e-12)
        assert row["p_value"] == pytest.approx(p, abs=1e-12)
    defined = [row for row in rows if row["p_value"] is not None]
    if defined:
        expected = plain.corrected([row["p_value"] for row in defined], "holm")
        assert [row["p_holm"] for row in defined] == pytest.approx(expected, abs=1e-12)


# The paper

U = ("test_accuracy", "test_loss_diff", "test_prob_diff")  # a part of GT, by three names


def test_the_papers_table_has_our_names(whole: Warehouse) -> None:
    rows = whole.query("from internal.paper_table").records()
    assert len(rows) == 108
    assert len({row["factor"] for row in rows}) == 9
    by_key = {(row["against"], row["algorithm"], row["factor"]): row for row in rows}
    (remark,) = [key for key, row in by_key.items() if row["remark"]]
    copied = by_key["svhn", "ga", "model_distance_abs"]
    assert remark == ("svhn", "ga", "test_loss_diff")
    assert by_key[remark]["paper_p_value"] == copied["paper_p_value"]


def test_signs_by_chance_are_the_middle_of_the_binomial() -> None:
    for n in (*range(1, 40), 108, 1000):
        low, high = scipy.stats.binom.interval(0.95, n, 0.5)
        assert (signs_by_chance(0.025, n), signs_by_chance(0.975, n)) == (low, high)


def test_each_population_is_compared_on_its_own(whole: Warehouse) -> None:
    rows = whole.query("from comparison").records()
    correlations = whole.query("from correlations").records()
    both, flipped = (
        whole.report("compare", population=population, sweep="s", against=None).records()
        for population in (None, "flipped")
    )
    summary = whole.report("compare_algorithms", sweep="s", against="mnist").records()
    assert {row["population"] for row in rows} == {"all", "flipped"}
    by_key = {(r["algorithm"], r["factor"], r["population"]): r for r in correlations}
    for row in rows:
        own = by_key[row["algorithm"], row["factor"], row["population"]]
        assert (row["rho"], row["n"], row["ci_low"]) == (own["rho"], own["n"], own["ci_low"])
    assert len(both) == len(rows)
    assert flipped == [row for row in both if row["population"] == "flipped"]
    places = [(row["population"], row["against"], row["algorithm"]) for row in summary]
    assert places == [(p, "mnist", name) for p in ("all", "flipped") for name in PAPERS]
    for row in summary:
        keys = ("population", "against", "algorithm")
        own_rows = [
            r
            for r in rows
            if all(r[key] == row[key] for key in keys)
            and r["rho"] is not None
            and r["factor"] not in U
        ]
        agreeing = sum(r["rho"] * r["paper_rho"] > 0 for r in own_rows)
        assert (row["signs_agree"], row["factors"]) == (agreeing, len(own_rows))
        interval = scipy.stats.binom.interval(0.95, len(own_rows), 0.5)
        assert (row["chance_low"], row["chance_high"]) == interval
        assert row["excluded"] == sum(r["excludes"] for r in own_rows)
        rho = plain.spearman([r["rho"] for r in own_rows], [r["paper_rho"] for r in own_rows])
        assert row["rho_of_rhos"] == (None if rho is None else pytest.approx(rho))
