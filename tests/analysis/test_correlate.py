"""The macro `correlate` against scipy and exact fractions, on whatever hypothesis thinks of."""

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

from indelible.analysis.warehouse import SQL
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
        connection.execute(
            "create table factor_catalog as select * from (values "
            "('x', 0), ('margin', 1), ('gt', 2)) as c(factor, position)"
        )
        for file in [*sorted((SQL / "schema").glob("*.sql")), *(SQL / "marts").glob("6[56]*.sql")]:
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
@settings(max_examples=150, deadline=None)
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


def test_ten_thousand(shell: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(0)
    gt, x, margin = random.normal(size=(3, 10_000)).round(3)
    margin += gt
    row = correlate(
        shell, list(zip(gt.tolist(), x.tolist(), margin.tolist(), [0] * 10_000, strict=True))
    )
    assert row is not None
    assert agree(row["rho"], plain.spearman(x, gt))
    assert agree(row["within_class_rho"], row["rho"])
    assert agree(row["partial_rho"], plain.residual_spearman(x, gt, margin))
    assert row["ties"] == sum(c for c in np.unique(x, return_counts=True)[1] if c > 1)
