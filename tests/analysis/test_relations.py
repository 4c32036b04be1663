"""Relations over correlations, repeats and the paper's table, against the oracles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from analysis.warehouse import Changes, changes, open_warehouse, rebuild
from tests.analysis.warehouses import member, staging, warehouse_of
from tests.oracles import statistics as plain
from unlearning.errors import UserError

Members = list[dict[str, Any]]
PRE = ("margin", "pre_noise", "pre_never", "smooth", "tied")


def sweep_of(
    seed: int, n: int, algorithms: tuple[str, ...] = ("ga", "salun"), **same: Any
) -> Members:
    """Members whose GT, margin and factors hang together, with ties and failures."""
    random = np.random.default_rng(seed)
    margin, noise = random.normal(size=(2, n))
    return [
        member(
            sample,
            f=float(np.round(np.clip(margin[sample] + random.normal(), -1, 3), 1)),
            u=0.9,
            status=str(random.choice(["flipped", "flipped", "max_steps"])),
            algorithm=algorithm,
            label=sample % 3,
            margin=margin[sample],
            pre_noise=noise[sample],
            smooth=margin[sample] + random.normal(),
            tied=float(random.integers(0, 3)),
        )
        | same
        for algorithm in algorithms
        for sample in range(n)
    ]


def records(folder: Path, members: Members, query: str) -> list[dict[str, Any]]:
    with warehouse_of(folder, members, PRE) as warehouse:
        return warehouse.query(query).records()


@pytest.mark.parametrize("n", [4, 60])
def test_intervals_and_corrections_equal_the_oracles(tmp_path: Path, n: int) -> None:
    rows = records(tmp_path, sweep_of(n, n), "from correlations")
    assert {row["population"] for row in rows} == {"all", "flipped", "not_flipped"}
    for row in rows:
        expected = None if row["rho"] is None else plain.interval(row["rho"], row["n"])
        if expected is None:
            assert (row["ci_low"], row["ci_high"], row["ci_by"]) == (None, None, None)
        elif row["ci_by"] == "jackknife":
            assert 0.05 * row["n"] <= row["flipped"] <= 0.95 * row["n"]
            assert row["ci_low"] < row["rho"] < row["ci_high"]
        else:
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected, abs=1e-12)
    for population in ("all", "flipped", "not_flipped"):
        chosen = [row for row in rows if row["population"] == population]
        counted = [r for r in chosen if r["p_value"] is not None and not r["ingredient"]]
        for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
            found = [row[column] for row in counted]
            if counted:
                expected_p = plain.corrected([row["p_value"] for row in counted], method)
                assert found == pytest.approx(expected_p, abs=1e-12)
            assert all(row[column] is None for row in chosen if row not in counted)


def test_samples_have_a_column_for_each_factor_known_before(tmp_path: Path) -> None:
    members = sweep_of(1, 5)
    del members[3]["metrics"]["margin"], members[8]["metrics"]["margin"]  # sample 3, both
    rows = records(tmp_path, members, "from samples")
    columns = ["base_run_id", "sample_id", "split_position", "sample_path", "label"]
    assert [list(row) for row in rows] == [[*columns, "margin", "pre_noise", "pre_never"]] * 5
    for row, expected in zip(rows, members, strict=False):
        metrics = expected["metrics"]
        assert list(row.values())[1:] == [
            expected["sample_id"],
            expected["sample_id"] + 5,
            "",
            expected["label"],
            metrics.get("margin"),
            metrics["pre_noise"],
            None,
        ]


@pytest.mark.parametrize(("algorithms", "n"), [(("a",), 2), (("a", "b"), 1), (("a", "b", "c"), 30)])
def test_concordance_is_kendalls_w(tmp_path: Path, algorithms: tuple[str, ...], n: int) -> None:
    members = sweep_of(2, n, algorithms)
    members.append(member(n, f=0.5, u=0.9, algorithm="a"))  # no GT with the others
    (row,) = records(tmp_path, members, "from concordance")
    assert (row["rankings"], row["n"]) == (len(algorithms), n + (len(algorithms) == 1))
    table = [
        [max(0.0, m["metrics"]["forget_prob_diff"]) for m in members[:-1] if m["algorithm"] == name]
        for name in algorithms
    ]
    expected = plain.kendalls_w(table) if len(algorithms) > 1 else None
    assert row["w"] == pytest.approx(expected, abs=1e-12)
    if expected is not None:
        from scipy.stats import chi2

        statistic = len(algorithms) * (n - 1) * expected
        assert row["p_value"] == pytest.approx(chi2.sf(statistic, n - 1), abs=1e-12)


def test_top_overlap_beside_chance(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(30)
    members = [member(k, f=0.1 + k / 50, u=0.9, algorithm="ga") for k in range(30)]
    members += [member(k, f=0.1 + order[k] / 50, u=0.9, algorithm="salun") for k in range(30)]
    (row,) = records(tmp_path, members, "from agreement")
    common = set(range(3)) & set(np.argsort(order)[:3].tolist())
    assert (row["top_k"], row["top_overlap"]) == (3, len(common))
    assert row["top_overlap_by_chance"] == pytest.approx(0.3)


def test_class_difficulty(tmp_path: Path) -> None:
    members = sweep_of(4, 30, ("ga",))
    members[0] |= {"status": "already_wrong"}
    rows = records(tmp_path, members, "from class_difficulty")
    for row in rows:
        own = [m for m in members if m["label"] == row["label"]]
        tried = [m for m in own if m["status"] != "already_wrong"]
        assert row["n"] == len(tried)
        flipped = sum(m["status"] == "flipped" for m in tried)
        assert row["flip_rate"] == pytest.approx(flipped / len(tried))
    query = "select avg(percentile), avg(gt) from difficulty where label = 1"
    percentile, gt = records(tmp_path, members, query)[0].values()
    assert rows[1]["mean_percentile"] == pytest.approx(percentile)
    assert rows[1]["mean_gt"] == pytest.approx(gt)


def test_attempts_have_all_of_an_attempt_on_one_row(tmp_path: Path) -> None:
    where = {"sweep": "t", "base": "c", "base_seed": 4, "seed": 7}
    lost = [member(1, f=0.5, u=0.9, label=3, test_accuracy=0.65) | where]
    with warehouse_of(tmp_path, lost, ("test_accuracy",)) as warehouse:
        (row,) = warehouse.query("from attempts").records()
    expected = {
        **{"sweep_id": "t", "sweep": "t", "base_run_id": "c", "base_model": "c", "base_seed": 4},
        **{"dataset": "d", "arch": "a", "recipe": "epochs=30", "data_fingerprint": None},
        **{"algorithm": "ga", "settings": {"lr": "0.1"}, "seed": 7, "sample_id": 1, "label": 3},
        **{
            "engine_version": 1,
            "precision": "float32",
            "split_position": 6,
            "sample_path": "",
            "start_time": None,
            "key": "k0",
        },
        **{"status": "flipped", "steps": 2, "f": 0.5, "u": 0.9, "run_id": "m0", "provider": None},
        **{"test_accuracy_before": 0.9, "test_accuracy_after": 0.65},
        **{"is_damaged": True, "is_unchanged": False},
    }
    assert row.pop("gt") == pytest.approx(0.009 * 0.5 / 0.509)
    assert row.pop("test_points_lost") == pytest.approx(25)
    assert row == expected


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


# Repeats


def test_designs_are_of_what_repeats_share(tmp_path: Path) -> None:
    members = sweep_of(0, 3)
    other_seed = [m | {"sweep": "seed", "seed": 1} for m in members]
    other_base = [m | {"sweep": "base", "base": "c", "base_seed": 5} for m in members]
    rows = records(tmp_path, [*members, *other_seed, *other_base], "from designs")
    by_design: dict[tuple[str, str, object], set[tuple[str, int]]] = {}
    for row in rows:
        fixed = row["seed"] if row["varied"] == "base model seed" else row["base_run_id"]
        key = (row["varied"], row["algorithm"], fixed)
        by_design.setdefault(key, set()).add((row["sweep_id"], row["repeat_seed"]))
    assert by_design == {
        key: sweeps
        for name in ("ga", "salun")
        for key, sweeps in {
            ("unlearning seed", name, "b"): {("s", 0), ("seed", 1)},
            ("unlearning seed", name, "c"): {("base", 0)},
            ("base model seed", name, 0): {("s", 0), ("base", 5)},
            ("base model seed", name, 1): {("seed", 0)},
        }.items()
    }
    assert {row["design"] for row in rows} == set(range(1, len(by_design) + 1))
    assert all((row["seed"] is None) != (row["base_run_id"] is None) for row in rows)


def repeats(seed: int, count: int, n: int, what: str, noise: float = 1.0) -> Members:
    """Sweeps of one algorithm that differ in one seed only."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    members: Members = []
    for repeat in range(count):
        gt = np.round(2 + truth + noise * random.normal(size=n), 1)
        where = {"sweep": f"s{repeat}", "seed": repeat}
        if what == "base model seed":
            where = {"sweep": f"s{repeat}", "base": f"b{repeat}", "base_seed": repeat}
        members += [member(k, f=float(max(gt[k], 0.1)), u=0.9) | where for k in range(n)]
    return members


def table_of(rows: list[dict[str, Any]], count: int) -> list[list[float]]:
    """GT by repeat from outcomes in order."""
    return [[row["gt"] for row in rows if row["sweep_id"] == f"s{k}"] for k in range(count)]


@pytest.mark.parametrize(
    ("what", "count", "n"),
    [("unlearning seed", 2, 3), ("unlearning seed", 5, 12), ("base model seed", 3, 25)],
)
def test_reliability_equals_the_oracles(tmp_path: Path, what: str, count: int, n: int) -> None:
    members = repeats(count + n, count, n, what)
    with warehouse_of(tmp_path, members) as warehouse:
        (row,) = warehouse.query("from reliability").records()
        gt = table_of(
            warehouse.query("from outcomes order by sweep_id, sample_id").records(), count
        )
        ceilings = warehouse.query("from ceilings").records()
        shown = warehouse.report(
            "correlate", sweep="s0", reading="set_sizes", fixed=None, population="all"
        ).records()
    assert (row["varied"], row["repeats"], row["n"]) == (what, count, n)
    assert (row["algorithm"], row["settings"]) == ("ga", {"lr": "0.1"})
    assert row["base_run_id"] == ("b" if what == "unlearning seed" else None)
    mean = plain.mean_pairwise(gt)
    assert mean is not None
    assert row["mean_rho"] == pytest.approx(mean, abs=1e-12)
    stepped = count * mean / (1 + (count - 1) * mean)
    assert row["spearman_brown"] == pytest.approx(stepped, abs=1e-12)
    assert row["split_half"] == pytest.approx(plain.split_half(gt), abs=1e-12)
    assert row["icc"] == pytest.approx(plain.icc(gt), abs=1e-12)
    ceiling = math.sqrt(mean) if mean > 0 else None
    assert row["ceiling"] == pytest.approx(ceiling, abs=1e-12)
    assert [(c["sweep_id"], c["ceiling"]) for c in ceilings] == [
        (f"s{k}", row["ceiling"]) for k in range(count)
    ]
    column = f"ceiling_{what.replace(' ', '_')}"
    assert {r[column] for r in shown} == {row["ceiling"]}


@pytest.mark.parametrize(("count", "n"), [(2, 3), (3, 40)])
def test_base_correlations_are_of_means_over_repeats(tmp_path: Path, count: int, n: int) -> None:
    random = np.random.default_rng(n)
    members = repeats(count + n, count, n, "unlearning seed")
    for m in members:
        m["status"] = str(random.choice(["flipped", "flipped", "flipped", "max_steps"]))
        m["metrics"]["smooth"] = m["metrics"]["forget_prob_diff"] + random.normal()
    del members[0]["metrics"]["smooth"]  # of one repeat: the sample has no mean
    with warehouse_of(tmp_path, members, ("smooth",)) as warehouse:
        found = warehouse.query("from base_correlations where factor = 'smooth'").records()
        gt = warehouse.query("from outcomes order by sweep_id, sample_id").records()
        (reliability,) = warehouse.query("from reliability").records()
        shown = warehouse.report("heat_map_repeats", sweep="s1").records()
    mean_gt = np.array(table_of(gt, count)).mean(0)
    values = np.array([m["metrics"].get("smooth", math.nan) for m in members]).reshape(count, n)
    flipped = np.array([m["status"] == "flipped" for m in members]).reshape(count, n)
    assert [row["population"] for row in found] == ["all", "flipped"]
    for row, chosen in zip(found, (np.full(n, True), flipped.all(0)), strict=True):
        both = chosen & ~np.isnan(values.mean(0))
        x, y = values.mean(0)[both], mean_gt[both].round(15)
        assert (row["base_run_id"], row["repeats"], row["n"]) == ("b", count, both.sum())
        rho = plain.spearman(x.tolist(), y.tolist())
        assert row["rho"] == pytest.approx(rho, abs=1e-12)
        ends = (row["ci_low"], row["ci_high"])
        expected = None if rho is None else plain.interval(rho, int(both.sum()))
        if row["ci_by"] == "jackknife":
            expected = plain.jackknife(x.tolist(), y.tolist())
        assert (row["ci_by"] == "jackknife") == (n == 40 and row["population"] == "all")
        assert ends == ((None, None) if expected is None else pytest.approx(expected, abs=1e-6))
    stepped = reliability["spearman_brown"]
    assert found[0]["ceiling"] == (math.sqrt(stepped) if stepped > 0 else None)
    assert found[1]["ceiling"] is None
    assert {(r["factor"], r["mean_rho"]) for r in shown} >= {("smooth", found[0]["rho"])}


def test_repeats_share_everything_but_the_seed(tmp_path: Path) -> None:
    members = repeats(0, 2, 6, "unlearning seed")
    other_settings = [m | {"lr": 0.2} if m["seed"] else m for m in members]
    assert records(tmp_path, other_settings, "from reliability") == []
    other_base = [m | {"base": "b1", "base_seed": 1} if m["seed"] else m for m in members]
    assert records(tmp_path, other_base, "from reliability") == []
    apart = [m | {"sample_id": m["sample_id"] + 6 * m["seed"]} for m in members]
    assert records(tmp_path, apart, "from reliability") == []


def test_a_member_of_two_sweeps_counts_once(tmp_path: Path) -> None:
    tables = staging(repeats(0, 2, 6, "unlearning seed"), ())
    again = [{"run_id": "s1", "key": key} for key in tables["plans"]["key"].to_pylist()[:6]]
    more = pa.Table.from_pylist(again, schema=tables["plans"].schema)
    tables["plans"] = pa.concat_tables([tables["plans"], more])
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        (row,) = warehouse.query("from reliability").records()
    assert (row["repeats"], row["n"]) == (2, 6)


# The paper


def test_the_papers_table_has_our_names(tmp_path: Path) -> None:
    rows = records(tmp_path, sweep_of(0, 4), "from paper_table")
    assert len(rows) == 108
    assert len({row["factor"] for row in rows}) == 9
    (remark,) = [row for row in rows if row["remark"]]
    (copied,) = [
        row
        for row in rows
        if (row["against"], row["algorithm"], row["factor"]) == ("svhn", "ga", "model_distance_abs")
    ]
    assert (remark["against"], remark["factor"]) == ("svhn", "test_loss_diff")
    assert remark["paper_p_value"] == copied["paper_p_value"]


# What there may not be


def test_an_older_warehouse_is_said_and_made_anew(tmp_path: Path) -> None:
    path, tables = tmp_path / "w.duckdb", staging(sweep_of(0, 4), PRE)
    rebuild(path, tables)
    assert changes(path, tables["runs"]) == Changes([], [])
    with duckdb.connect(str(path)) as shell:
        shell.execute("alter table staging.runs drop column end_time")
        shell.execute("update staging.made_by set sha256 = 'of another version'")
        shell.execute("alter table sweeps drop column planned")
    with open_warehouse(path) as warehouse:
        with pytest.raises(UserError, match="indelible load"):
            warehouse.report("sweeps")
        assert warehouse.query("select count(*) from outcomes").rows == [(8,)]
    assert changes(path, tables["runs"]) is None
    with duckdb.connect(str(path)) as shell:
        shell.execute("drop table staging.made_by")
    assert changes(path, tables["runs"]) is None
