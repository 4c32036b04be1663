"""Every relation, column and macro says what it is, and columns of one name mean the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.meanings import LATEST, header, shared, statements
from analysis.warehouse import Warehouse, described, open_warehouse, rebuild
from tests.analysis.test_relations import PRE, sweep_of
from tests.analysis.warehouses import staging

FACTORS = {("samples", name) for name in PRE}
HEADERS = {h.bare_name: h for h in (header(file.read_text("utf-8")) for file in statements())}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse with a factor whose description has to be quoted."""
    tables = staging(sweep_of(0, 6), PRE)
    names = tables["catalogs"]["description"].to_pylist()
    at = tables["catalogs"].column_names.index("description")
    said = [['it\'s "quoted"'] * len(names)]
    tables["catalogs"] = tables["catalogs"].set_column(at, "description", said)
    path = tmp_path_factory.mktemp("meanings") / "w.duckdb"
    rebuild(path, tables)
    with open_warehouse(path) as opened:
        yield opened


def test_everything_has_a_comment(warehouse: Warehouse) -> None:
    commented = {
        "table": "select table_name, comment from duckdb_tables()",
        "view": "select view_name, comment from duckdb_views() where not internal",
        "column": "select table_name || '.' || column_name, comment from duckdb_columns() "
        "where schema_name = 'main' and not internal",
        "macro": "select function_name, comment from duckdb_functions() "
        "where not internal and function_type in ('macro', 'table_macro')",
    }
    for kind, query in commented.items():
        found = warehouse.query(query).rows
        assert found, kind
        assert [name for name, comment in found if not comment] == [], kind


def test_schema_says_what_the_comments_say(warehouse: Warehouse) -> None:
    comments = dict(
        warehouse.query(
            "select table_name || '.' || column_name, comment from duckdb_columns() "
            "where schema_name = 'main' and not internal"
        ).rows
    )
    told = {f"{r.name}.{c.name}": c.meaning for r in described(warehouse) for c in r.columns}
    assert {name: told[name] for name in comments} == comments
    assert told["samples.margin"] == 'margin: it\'s "quoted"'
    assert told["latest_difficulty.tied"] == told["difficulty.tied"]


def test_what_a_relation_is_ends_with_a_sentence() -> None:
    cut = {name for name, found in HEADERS.items() if not found.meaning.endswith(".")}
    assert cut == set()


def columns_of(warehouse: Warehouse) -> dict[str, list[str]]:
    """The columns of each relation, without views of the latest sweep and columns of factors."""
    rows = warehouse.query(
        "select table_name, column_name from duckdb_columns() "
        "where schema_name = 'main' and not internal"
    ).rows
    found: dict[str, list[str]] = {}
    for relation, column in rows:
        if not relation.startswith(LATEST) and (relation, column) not in FACTORS:
            found.setdefault(relation, []).append(column)
    return found


def test_columns_of_one_name_mean_the_same(warehouse: Warehouse) -> None:
    """Else a natural join, and `using`, would ask that different things be equal."""
    relations = columns_of(warehouse)
    for name, columns in relations.items():
        said = HEADERS[name].entries
        assert set(said) <= set(columns), name
        assert not set(said) & set(shared()["same"]), name
        for column in set(said) - set(shared()["of_the_row"]):
            others = [other for other, theirs in relations.items() if column in theirs]
            assert others == [name], column


def test_nothing_is_described_that_is_not_there(warehouse: Warehouse) -> None:
    there = {column for columns in columns_of(warehouse).values() for column in columns}
    assert set(shared()["same"]) | set(shared()["of_the_row"]) <= there
    tables = warehouse.query("select table_name from duckdb_tables() where schema_name = 'staging'")
    assert set(shared()["staging"]) == {name for (name,) in tables.rows}


def test_a_header_is_taken_apart() -> None:
    text = (
        "-- a(x): one row\n-- per thing: good.\n-- b, c: their\n-- sum.\n-- example: from a\nselect"
    )
    found = header(text)
    assert (found.name, found.bare_name, found.example) == ("a(x)", "a", "from a")
    assert found.meaning == "one row per thing: good."
    assert found.entries == {"b": "their sum", "c": "their sum"}
    assert header("select 1").meaning == ""


def test_the_views_of_the_latest_sweep_have_its_rows(tmp_path: Path) -> None:
    """Of two sweeps that began at once the one with the first id, as `latest` is for commands."""
    late = [m | {"sweep": "t", "sample_id": m["sample_id"] + 9} for m in sweep_of(1, 5)]
    rebuild(tmp_path / "w.duckdb", staging([*sweep_of(0, 6), *late], PRE))
    with open_warehouse(tmp_path / "w.duckdb") as opened:
        latest = opened.sweep_id("latest")
        assert opened.query("select sweep_id from latest_sweeps").rows == [(latest,)]
        views = "select view_name from duckdb_views() where view_name like 'latest_%'"
        runs = f"select run_id from outcomes where sweep_id = '{latest}'"
        for (view,) in opened.query(views).rows:
            relation = view.removeprefix(LATEST)
            where = f"sweep_id = '{latest}'"
            if relation in ("factors", "histories"):
                where = f"run_id in ({runs})"
            elif relation == "samples":
                where = f"sample_id in (select sample_id from outcomes where {where})"
            whole = opened.query(f"from {relation} where {where} order by all").rows
            assert opened.query(f"from {view} order by all").rows == whole, view
            assert whole or relation == "histories"
