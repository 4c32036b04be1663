"""The SQL against scipy and the plain oracles, on warehouses made by hand."""

from __future__ import annotations

import math
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from analysis import connecting
from analysis import warehouse as sources
from analysis.limits import Limits
from analysis.meanings import statements
from analysis.warehouse import Warehouse, audit, open_warehouse, rebuild
from tests.analysis.warehouses import TEST_SAMPLES, member, staging, warehouse_of
from tests.oracles import statistics
from tests.oracles.factors import outcome
from unlearning.errors import Failure, UserError

SET_SIZES = 1 / TEST_SAMPLES
ARTIFACTS = ("run_id", "problem", "repair")


def correlations(warehouse: Warehouse, **changes: Any) -> dict[str, dict[str, Any]]:
    asked = {"reading": "set_sizes", "fixed": None, "population": "all"} | changes
    rows = warehouse.report("correlate", sweep="s", **asked).records()
    return {row["factor"]: row for row in rows}


def random_members(seed: int, n: int) -> list[dict[str, Any]]:
    """Outcomes with ties and failures, and factors with ties, gaps and a constant."""
    random = np.random.default_rng(seed)
    return [
        member(
            sample,
            f=float(random.integers(-2, 10)) / 10,
            u=float(random.integers(1, 10)) / 10,
            status=str(random.choice(["flipped", "max_steps"])),
            smooth=random.normal(),
            tied=float(random.integers(0, 3)),
            gaps=random.normal() if random.random() < 0.6 else math.nan,
            constant=1.5,
            infinite=random.choice([1.0, math.inf, -math.inf]),
        )
        for sample in range(n)
    ]


FACTORS = ("smooth", "tied", "gaps", "constant", "infinite")


@pytest.mark.parametrize(("n", "population"), [(2, "all"), (5, "all"), (40, "flipped")])
def test_correlations_equal_scipys(tmp_path: Path, n: int, population: str) -> None:
    members = random_members(n, n)
    with warehouse_of(tmp_path, members, FACTORS) as warehouse:
        found = correlations(warehouse, population=population)
    chosen = [m for m in members if population == "all" or m["status"] == "flipped"]
    for factor in (*FACTORS, "test_prob_diff", "forget_prob_diff", "steps"):
        pairs = [
            (metrics[factor], gt_of(metrics, SET_SIZES))
            for metrics in (m["metrics"] for m in chosen)
            if factor in metrics
        ]
        row = found[factor]
        assert row["n"] == len(pairs)
        x, y = zip(*pairs, strict=True) if pairs else ((), ())
        if len(set(x)) < 2 or len(set(y)) < 2:
            assert row["rho"] is None
            assert row["p_value"] is None
            assert row["undefined"]
            continue
        ranks = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
        rho = scipy.stats.spearmanr(*ranks).statistic
        assert row["rho"] == pytest.approx(rho, abs=1e-12)
        assert row["undefined"] is None
        if len(pairs) < 3:
            assert row["p_value"] is None
        elif abs(rho) < 1 or len(pairs) < 10:
            assert row["p_value"] == pytest.approx(statistics.p_value(x, y), rel=1e-9, abs=1e-300)
        else:
            assert row["p_value"] > 0


def gt_of(metrics: dict[str, float], lam: float) -> float:
    found = outcome.gt(1 - metrics["test_prob_diff"], metrics["forget_prob_diff"], lam)
    assert found is not None
    return found


def test_undefined_correlations_say_why(tmp_path: Path) -> None:
    members = [member(k, f=0.1 * k, u=0.5, constant=1.0) for k in range(1, 5)]
    members[0]["metrics"]["once"] = 1.0
    why = {"constant": "constant factor", "absent": "no values", "once": "one value"}
    with warehouse_of(tmp_path, members, tuple(why)) as warehouse:
        found = correlations(warehouse)
    for factor, said in why.items():
        row = found[factor]
        assert (row["rho"], row["p_value"], row["undefined"]) == (None, None, said)


def test_readings_of_lambda(tmp_path: Path) -> None:
    members = random_members(1, 30)
    u = [1 - m["metrics"]["test_prob_diff"] for m in members]
    f = [m["metrics"]["forget_prob_diff"] for m in members]
    readings = {
        "gt": SET_SIZES,
        "gt_mean_ratio": outcome.lambda_mean_ratio(u, f),
        "gt_one": outcome.lambda_one(),
    }
    with warehouse_of(tmp_path, members, FACTORS) as warehouse:
        rows = warehouse.query("select * from outcomes order by sample_id").records()
        for column, lam in readings.items():
            for row, m in zip(rows, members, strict=True):
                assert row[column] == pytest.approx(gt_of(m["metrics"], lam or 0), rel=1e-12)
        one, fixed = (
            correlations(warehouse, reading="one"),
            correlations(warehouse, reading="fixed", fixed=1.0),
        )
        assert one == fixed
        other = correlations(warehouse, reading="fixed", fixed=0.3)
        assert other["smooth"]["rho"] != one["smooth"]["rho"]


def test_gt_is_null_where_nothing_was_run_or_numbers_were_lost(tmp_path: Path) -> None:
    members = [
        member(0, f=0.5, u=0.5),
        member(1, f=0.5, u=0.5, status="non_finite"),
        member(2, f=math.nan, u=math.nan, status="already_wrong"),
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        gt = warehouse.query("select gt, gt_one, gt_mean_ratio from outcomes order by sample_id")
    assert [value is None for value in gt.rows[0]] == [False] * 3
    assert gt.rows[1:] == [(None, None, None)] * 2


ENDS = ("flipped", "rewound", "max_steps", "non_finite", "already_wrong")
WITH_GT = ENDS[:3]


def one_of_each_end() -> list[dict[str, Any]]:
    """Two members a status; those that were not run have no numbers."""
    return [
        member(k, *(math.nan, math.nan) if status == "already_wrong" else (0.1 * k, 0.5), status)
        for k, status in enumerate(ENDS * 2, 1)
    ]


def test_every_end_is_counted_and_only_a_kept_flip_is_a_flip(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, one_of_each_end()) as warehouse:
        (row,) = warehouse.report("statuses", sweep="s").records()
        (rate,) = warehouse.query("select sum(flip_rate * n) / sum(n) from class_difficulty").rows[
            0
        ]
        found = {p: correlations(warehouse, population=p)["steps"]["n"] for p in ("all", "flipped")}
    assert {status: row["ended"][status] for status in ENDS} == dict.fromkeys(ENDS, 2)
    assert row["members"] == 10
    assert rate == pytest.approx(2 / 8)
    assert found == {"all": 6, "flipped": 2}


def test_the_audit_misses_a_gt_where_the_status_promises_one() -> None:
    members = [member(k, 0.5, 0.5, status) for k, status in enumerate(ENDS)]
    tables = staging(members, ())  # they have steps, but no gt
    facts = {
        "artifacts": pa.table({name: pa.array([], pa.string()) for name in ARTIFACTS}),
        "files": pa.table({name: pa.array([], pa.string()) for name in ("run_id", "path")}),
        "folders": pa.table({name: pa.array([], pa.string()) for name in ("run_id", "path")}),
    }
    found = audit(tables, lambda: facts).records()
    missed = {row["run_id"] for row in found if row["problem"] == "finished without gt"}
    assert missed == {f"m{ENDS.index(status)}" for status in WITH_GT}


def test_difficulty_ranks_ascending_and_ties_share_a_rank(tmp_path: Path) -> None:
    members = [member(k, f=f, u=0.5) for k, f in enumerate([0.4, 0.1, 0.4, 0.9, 0.2])]
    with warehouse_of(tmp_path, members) as warehouse:
        rows = warehouse.query(
            "select difficulty_rank, average_rank, percentile from difficulty order by sample_id"
        ).rows
    assert [row[0] for row in rows] == [3, 1, 3, 5, 2]
    assert [row[1] for row in rows] == [3.5, 1.0, 3.5, 5.0, 2.0]
    assert [row[2] for row in rows] == [40.0, 90.0, 40.0, 10.0, 70.0]


def test_agreement_is_spearmans_rho_over_shared_samples(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    f = random.integers(1, 8, size=(2, 20)) / 8
    members = [member(k, f=f[0, k], u=0.5, algorithm="ga") for k in range(20)]
    members += [member(k, f=f[1, k], u=0.5, algorithm="salun") for k in range(5, 20)]
    with warehouse_of(tmp_path, members) as warehouse:
        (row,) = warehouse.query("select * from agreement").records()
    rho, p = scipy.stats.spearmanr(f[0, 5:], f[1, 5:])
    assert (row["algorithm_a"], row["algorithm_b"], row["n"]) == ("ga", "salun", 15)
    assert row["rho"] == pytest.approx(rho, abs=1e-12)
    assert row["p_value"] == pytest.approx(p, rel=1e-9)


def test_the_file_needs_nothing_of_ours(tmp_path: Path) -> None:
    rebuild(tmp_path / "w.duckdb", staging(random_members(0, 20), FACTORS))
    with duckdb.connect(str(tmp_path / "w.duckdb"), read_only=True) as plain_shell:
        rows = plain_shell.execute("select rho, p_value from correlations").fetchall()
        again = plain_shell.execute("select rho from correlate('set_sizes', null, 'all')")
        assert 3 * len(again.fetchall()) == len(rows) == 24
        for wrong in ("'bogus', null, 'all'", "'one', null, 'bogus'"):
            with pytest.raises(duckdb.Error, match=r"all, flipped|set_sizes, mean_ratio"):
                plain_shell.execute(f"from correlate({wrong})").fetchall()


def test_queries_can_only_read_the_warehouse(tmp_path: Path) -> None:
    secret_rows = {"python": ["variables are no tables"]}
    with warehouse_of(tmp_path, random_members(0, 3)) as warehouse:
        for query in (
            *("selec 1", "select * from nowhere", "insert into sweeps select * from sweeps"),
            *("create table t as select 1", "drop table outcomes", "from '/etc/passwd'"),
            *("select * from read_csv('/etc/passwd')", "copy outcomes to '/tmp/stolen.csv'"),
            *("attach '/tmp/other.duckdb'", "install httpfs", "set enable_external_access = true"),
            *("select content from read_text('/etc/hostname')", "from secret_rows"),
        ):
            with pytest.raises(UserError, match="the query failed") as refusal:
                warehouse.query(query)
            assert "\n" not in str(refusal.value)
        assert warehouse.query("select count(*) from outcomes").rows == [(3,)]
    assert secret_rows


def test_rebuild_leaves_the_old_warehouse_whole_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.duckdb"
    rebuild(path, staging(random_members(0, 3), ()))
    before = path.read_bytes()
    files = statements()

    def one_that_is_not_there() -> list[Path]:
        (tmp_path / "broken.sql").write_text("create table x as from nothing_at_all")
        return [*files, tmp_path / "broken.sql"]

    monkeypatch.setattr(sources, "statements", one_that_is_not_there)
    with pytest.raises(duckdb.Error):
        rebuild(path, staging(random_members(0, 4), ()))
    (tmp_path / "broken.sql").unlink()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def opened_twice(path: Path) -> None:
    with open_warehouse(path), open_warehouse(path, Limits(memory=2**30)) as again:
        assert again.query("select count(p_value) from correlations").columns


@pytest.mark.parametrize("how", ["in a thread", "beside a reader", "beside a writer"])
def test_a_warehouse_that_is_open_is_opened_again_or_said_to_be_open(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "w.duckdb"
    rebuild(path, staging(random_members(0, 3), ()))
    if how == "in a thread":
        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(opened_twice, path) for _ in range(4)]:
                done.result()
    else:
        with duckdb.connect(str(path), read_only=how == "beside a reader"):
            if how == "beside a reader":
                opened_twice(path)
                return
            with pytest.raises(Failure, match="open for writing in this very process") as said:
                opened_twice(path)
            assert "delete" not in str(said.value)


def test_missing_and_corrupt_files_are_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with pytest.raises(UserError, match="indelible load"), open_warehouse(path):
        pass
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(UserError, match="not a warehouse") as refusal, open_warehouse(path):
        pass
    assert "\n" not in str(refusal.value)


def test_sweeps_are_found_by_id_or_as_the_latest(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, random_members(0, 3)) as warehouse:
        assert warehouse.sweep_id("latest") == warehouse.sweep_id("s") == "s"
        with pytest.raises(UserError, match="indelible sweeps"):
            warehouse.sweep_id("t")


def test_a_signal_while_duckdb_is_at_work(tmp_path: Path) -> None:
    """DuckDB makes a RuntimeError of what the handler raises, as of Ctrl-C."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()

    def work() -> None:
        with connecting.writing(tmp_path / "w") as connection:
            connection.execute("select count(*) from range(1000000000000)")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
