"""Rank correlation in SQL against scipy and exact fractions, on whatever hypothesis thinks of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.connecting import extend
from analysis.meanings import SQL
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
        connection.execute("""
            create table outcomes (sweep_id text, dataset text, algorithm text, run_id bigint,
                sample_id bigint, label bigint, status text, u double, f double, gt double,
                gt_mean_ratio double, gt_one double)
        """)
        connection.execute("create table factors (run_id bigint, factor text, value double)")
        connection.execute("create table sweeps (sweep_id text)")
        connection.execute(
            "create table attacks (sweep_id text, algorithm text, better_than_chance boolean)"
        )
        connection.execute("""
            create table factor_catalog as
            select *, factor = 'x0' as ingredient, '' as family
            from (values ('x', 0), ('margin', 1), ('gt', 2), ('x0', 3), ('x1', 4), ('x2', 5),
                ('x3', 6), ('x4', 7)) as c(factor, position)
        """)
        extend(connection)
        for file in sorted((SQL / "schema").glob("*.sql")):
            if file.name < "70":  # what comes later reads other relations than these
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
    values = [(k, name, m[1 + j]) for k, m in enumerate(members) for j, name in enumerate("xm")]
    factors = pa.table(
        {
            "run_id": pa.array([row[0] for row in values], pa.int64()),
            "factor": pa.array([{"x": "x", "m": "margin"}[row[1]] for row in values], pa.string()),
            "value": pa.array([row[2] for row in values], pa.float64()),
        }
    )
    for name, table in (("incoming", outcomes), ("values_in", factors)):
        shell.register(name, table)
    shell.execute("truncate outcomes")
    shell.execute("truncate factors")
    shell.execute("""
        insert into outcomes by name
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


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 300])
@pytest.mark.parametrize("kind", ["distinct", "tied", "constant factor", "constant gt", "gaps"])
def test_sizes_and_kinds(shell: duckdb.DuckDBPyConnection, n: int, kind: str) -> None:
    random = np.random.default_rng(n)
    columns = random.normal(size=(3, n))
    if kind == "tied":
        columns = columns.round()
    if kind == "gaps":
        columns[1:][random.random((2, n)) < 0.3] = math.nan
    if kind.startswith("constant"):
        columns[["constant gt", "constant factor"].index(kind)] = 0.1
    labels = random.integers(0, 3, n)
    members = list(zip(*columns.tolist(), labels.tolist(), strict=True))
    row = correlate(shell, members)
    check(row, members)
    if n > 4 and kind == "distinct" and row:
        gt, x, margin = columns
        assert agree(row["partial_rho"], plain.residual_spearman(x, gt, margin))


SMALL = st.one_of(st.none(), st.integers(0, 3).map(float))
TABLE = st.integers(0, 9).flatmap(
    lambda n: st.lists(st.lists(SMALL, min_size=n, max_size=n), min_size=2, max_size=4)
)


@pytest.mark.slow
@given(gt=TABLE, values=st.lists(st.integers(0, 3), min_size=50, max_size=50))
@settings(max_examples=25, deadline=None)
def test_tests_and_agreement_equal_the_oracles(
    shell: duckdb.DuckDBPyConnection, gt: list[list[float | None]], values: list[int]
) -> None:
    """Tied p-values, missing GT, few samples: a row of `gt` an algorithm, five factors."""
    n, names = len(gt[0]), "abcd"[: len(gt)]
    outcomes = [(a * 10 + k, names[a], k, gt[a][k]) for a in range(len(gt)) for k in range(n)]
    factors = [(run, f"x{j}", values[10 * j + k]) for run, _, k, _ in outcomes for j in range(5)]
    fill(shell, outcomes, factors)
    found = shell.execute("""
        select p_value, p_holm, p_bh, ci_low, ci_high, rho, n, ingredient
        from correlate_and_test('set_sizes', null, 'all', null)
    """).fetchall()
    counted = [row for row in found if row[0] is not None and not row[7]]
    for column, method in ((1, "holm"), (2, "fdr_bh")):
        if counted:
            expected = plain.corrected([row[0] for row in counted], method)
            assert [row[column] for row in counted] == pytest.approx(expected, abs=1e-12)
    for row in found:
        assert (row[1] is None) == (row[2] is None) == (row not in counted)
        ends = None if row[5] is None else plain.interval(row[5], row[6])
        assert agree(row[3], ends and ends[0])
        assert agree(row[4], ends and ends[1])
    judged = [row for row in gt if any(value is not None for value in row)]
    whole = [k for k in range(n) if all(row[k] is not None for row in judged)] if judged else []
    table = [[float(row[k] or 0) for k in whole] for row in judged]
    w = plain.kendalls_w(table) if len(judged) > 1 and whole else None
    concordance = shell.execute("select w, n, rankings from concordance").fetchall()
    assert agree(concordance[0][0], w)
    if whole:
        assert concordance[0][1:] == (len(whole), len(judged))
    for a, b, rho, pairs in shell.execute(
        "select algorithm_a, algorithm_b, rho, n from agreement"
    ).fetchall():
        left, right = gt[names.index(a)], gt[names.index(b)]
        both = [(x, y) for x, y in zip(left, right, strict=True) if x is not None and y is not None]
        assert pairs == len(both)
        x, y = zip(*both, strict=True) if both else ((), ())
        assert agree(rho, plain.spearman(x, y))


def fill(
    shell: duckdb.DuckDBPyConnection,
    outcomes: list[tuple[int, str, int, float | None]],
    factors: list[tuple[int, str, int]],
) -> None:
    """Rows into the relations, and those that follow from them made anew."""
    for table in ("outcomes", "factors", "sweeps"):
        shell.execute(f"delete from {table}")
    for table in ("concordance", "agreement"):
        shell.execute(f"drop table if exists {table}")
    if outcomes:
        shell.executemany(
            "insert into outcomes by name select ? as run_id, ? as algorithm, ? as sample_id, "
            "? as gt, 's' as sweep_id, 'd' as dataset, 0 as label, 'flipped' as status",
            outcomes,
        )
        shell.executemany("insert into factors values (?, ?, ?)", factors)
    shell.execute("insert into sweeps values ('s')")
    for name in ("agreement", "concordance"):
        (file,) = (SQL / "marts").glob(f"[0-9][0-9]_{name}.sql")
        shell.execute(file.read_text("utf-8"))
