"""Rank correlation in SQL against scipy and exact fractions, on whatever hypothesis thinks of, and
the relation `correlations`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.connecting import extend
from analysis.meanings import SQL
from tests.analysis.warehouses import (
    ATTACK,
    EACH,
    attacked,
    member,
    mixed,
    records,
    strength,
    sweep_of,
    warehouse_of,
)
from tests.oracles import statistics as plain

Member = tuple[Any, Any, Any, int]  # gt, factor, margin, label

NUMBER = st.one_of(
    st.integers(-2, 2).map(float),
    st.floats(allow_nan=False, width=16),
    st.sampled_from([math.inf, -math.inf, 0.0, -0.0]),
)
MAYBE = st.one_of(st.none(), st.just(math.nan), NUMBER, NUMBER, NUMBER)
GT = st.one_of(st.none(), st.integers(0, 5).map(float), st.floats(0, 1))
MEMBERS = st.lists(st.tuples(GT, MAYBE, MAYBE, st.integers(0, 2)), max_size=14)


@pytest.fixture(scope="module")
def shell() -> Iterator[duckdb.DuckDBPyConnection]:
    """A plain DuckDB with our macros over empty relations."""
    with duckdb.connect() as connection:
        connection.execute("create schema internal")
        connection.execute("""
            create table internal.outcomes (sweep_id text, dataset text, algorithm text,
                run_id bigint, sample_id bigint, label bigint, status text, u double, f double,
                gt double, gt_mean_ratio double, gt_one double)
        """)
        connection.execute("create table factors (run_id bigint, factor text, value double)")
        connection.execute(
            "create table sweeps (sweep_id text, sweep text, base_run_id text, study text, "
            "started_at timestamp)"
        )
        connection.execute(
            "create table internal.targets (run_id bigint, target text, measured double)"
        )
        connection.execute(
            "create table internal.ingredients as select 'gt' as target, 'x0' as factor"
        )
        connection.execute(
            "create table internal.attacks "
            "(sweep_id text, algorithm text, better_than_chance boolean)"
        )
        connection.execute("""
            create table factor_catalog as
            select *, '' as family, factor as title, 'pre' as phase
            from (values ('x', 0), ('margin', 1), ('gt', 2), ('x0', 3), ('x1', 4), ('x2', 5),
                ('x3', 6), ('x4', 7)) as c(factor, position)
        """)
        extend(connection)
        for file in sorted((SQL / "schema").glob("*.sql")):
            # What comes later, or is named so, reads other relations than these.
            if file.name < "70" and file.stem != "05_logged":
                connection.execute(file.read_text("utf-8"))
        yield connection


def correlate(shell: duckdb.DuckDBPyConnection, members: Sequence[Member]) -> dict[str, Any] | None:
    """The macro's row for the factor x."""
    outcomes = pa.table(
        {
            "run_id": pa.array(range(len(members)), pa.int64()),
            "gt": pa.array([m[0] for m in members], pa.float64()),
            "label": pa.array([m[3] for m in members], pa.int64()),
        }
    )
    values = [
        (k, n, m[1 + j]) for k, m in enumerate(members) for j, n in enumerate(("x", "margin"))
    ]
    columns = zip(*values, strict=True) if values else ([], [], [])
    kinds = {"run_id": pa.int64(), "factor": pa.string(), "value": pa.float64()}
    factors = pa.table(
        {name: pa.array(own, kinds[name]) for name, own in zip(kinds, columns, strict=True)}
    )
    shell.register("incoming", outcomes).register("values_in", factors)
    shell.execute("truncate internal.outcomes; truncate factors")
    shell.execute("""
        insert into internal.outcomes by name
        select 's' as sweep_id, 'd' as dataset, 'ga' as algorithm, run_id, run_id as sample_id,
            label, 'flipped' as status, gt
        from incoming
    """)
    shell.execute("insert into factors from values_in where value is not null and not isnan(value)")
    found = shell.execute("from correlate('set_sizes', null, 'all') where factor = 'x'")
    names = [column[0] for column in found.description or []]
    rows = found.fetchall()
    return dict(zip(names, rows[0], strict=True)) if rows else None


def agree(found: float | None, expected: float | None) -> bool:
    """Both say undefined, or the same number."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=0, abs_tol=1e-12)


def check(row: dict[str, Any] | None, members: Sequence[Member]) -> None:
    """Compare a row of the macro with the oracles."""
    if not members:
        assert row is None
        return
    assert row is not None
    pairs = [m for m in members if m[0] is not None and m[1] is not None and not math.isnan(m[1])]
    gt, x = [m[0] for m in pairs], [m[1] for m in pairs]
    assert (row["n"], row["ties"]) == (len(pairs), plain.tied(x))
    assert agree(row["rho"], plain.spearman(x, gt))
    assert (row["rho"] is None) == (row["undefined"] is not None)
    triples = [m for m in pairs if m[2] is not None and not math.isnan(m[2])]
    assert row["partial_n"] == len(triples)
    sides = [[m[k] for m in triples] for k in (1, 0, 2)]
    assert agree(row["partial_rho"], plain.partial_spearman(*sides) if triples else None)
    within = plain.within_class_spearman(x, gt, [m[3] for m in pairs])
    assert agree(row["within_class_rho"], within[0])
    assert row["within_class_n"] == within[1]


@given(members=MEMBERS)
@settings(max_examples=75, deadline=None)
def test_correlate_equals_the_oracles(
    shell: duckdb.DuckDBPyConnection, members: list[Member]
) -> None:
    check(correlate(shell, members), members)


@pytest.mark.parametrize("kind", ["distinct", "tied", "constant factor", "constant gt", "gaps"])
def test_many_members_of_each_kind(shell: duckdb.DuckDBPyConnection, kind: str) -> None:
    random = np.random.default_rng(300)
    columns = random.normal(size=(3, 300))
    if kind == "tied":
        columns = columns.round()
    if kind == "gaps":
        columns[1:][random.random((2, 300)) < 0.3] = math.nan
    if kind.startswith("constant"):
        columns[["constant gt", "constant factor"].index(kind)] = 0.1
    members = list(zip(*columns.tolist(), random.integers(0, 3, 300).tolist(), strict=True))
    row = correlate(shell, members)
    check(row, members)
    if kind == "distinct":
        assert row is not None
        gt, x, margin = columns
        assert agree(row["partial_rho"], plain.residual_spearman(x, gt, margin))


# The relation


@pytest.mark.parametrize("n", [4, 60])
def test_intervals_and_corrections_equal_the_oracles(tmp_path: Path, n: int) -> None:
    rows = records(tmp_path, sweep_of(n, n), "from correlations")
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
        assert chosen
        for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
            if counted:
                expected_p = plain.corrected([row["p_value"] for row in counted], method)
                assert [r[column] for r in counted] == pytest.approx(expected_p, abs=1e-12)
            assert all(row[column] is None for row in chosen if row not in counted)


@pytest.mark.parametrize("flipped", [4, 5])
def test_mixed_members_have_the_interval_by_jackknife(tmp_path: Path, flipped: int) -> None:
    by = "jackknife" if 5 <= flipped <= 95 else "bonett-wright"
    members = mixed(100, flipped)
    with warehouse_of(tmp_path, members, ("x",)) as warehouse:
        rows = warehouse.query("from correlations where factor = 'x'").records()
        gt = [row[0] for row in warehouse.query("select gt from attempts order by sample_id").rows]
    found = {row["population"]: row for row in rows}
    row, x = found.pop("all"), [m["metrics"]["x"] for m in members]
    assert (row["flipped"], row["ci_by"]) == (flipped, by)
    expected = plain.jackknife(x, gt) if by == "jackknife" else plain.interval(row["rho"], 100)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected, abs=1e-6)
    for row in found.values():
        assert row["ci_by"] == ("bonett-wright" if row["n"] > 3 else None)


@pytest.mark.parametrize(("n", "side"), [(4, 1), (9, -1), (12_000, 1)])
def test_the_interval_of_one_is_no_point(
    shell: duckdb.DuckDBPyConnection, n: int, side: int
) -> None:
    ask = f"select interval_end({side}::double, {n}, -1), interval_end({side}::double, {n}, 1)"
    ((low, high),) = shell.execute(ask).fetchall()
    assert (low, high) == pytest.approx(plain.interval(float(side), n), abs=1e-12)
    inner, outer = (-low, -high) if side < 0 else (high, low)
    assert inner == 1
    assert outer < 1 - 12 / (n**3 - n)


def test_what_lambda_is_and_why_a_rho_is_undefined(tmp_path: Path) -> None:
    members = [member(k, f=0.1 * k, u=0.5, constant=1.0) for k in range(1, 5)]
    members[0]["metrics"]["once"] = 1.0
    why = {"constant": "constant factor", "absent": "no values", "once": "one value"}
    asked = {"sweep": "s", "population": "all", "target": "gt"}
    with warehouse_of(tmp_path, members, tuple(why)) as warehouse:
        read, same, other = (
            {row["factor"]: row for row in warehouse.report("correlate", **asked, **how).records()}
            for how in (
                *({"reading": "one", "fixed": None}, {"reading": "fixed", "fixed": 1.0}),
                {"reading": "fixed", "fixed": 0.3},
            )
        )
    assert read == same
    for factor, said in why.items():
        row = other[factor]
        assert (row["rho"], row["p_value"], row["undefined"]) == (None, None, said)


# Membership attacks


def test_p_value_of_an_attack_is_smirnovs_by_fisher(tmp_path: Path) -> None:
    of_class = [0.7, 0.62, 0.55, 0.81, 0.6]
    with warehouse_of(tmp_path, attacked({"ga": of_class}), ATTACK) as warehouse:
        (row,) = warehouse.query("from internal.attacks").records()
    each = [np.exp(-2 * strength(a, *EACH) ** 2) for a in of_class]
    expected = scipy.stats.combine_pvalues(each, method="fisher").pvalue
    assert row["p_value"] == pytest.approx(expected, rel=1e-9)
    assert (row["classes"], row["n"]) == (len(of_class), 40)
    assert row["accuracy"] == pytest.approx(np.mean(of_class))
