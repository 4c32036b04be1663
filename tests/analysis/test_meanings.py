"""Every relation, column and macro says what it is, and columns of one name mean the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from analysis.meanings import INTERNAL, header, headers, shared, statements
from analysis.warehouse import Warehouse, described, open_warehouse, rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from unlearning.errors import UserError

COLUMNS = "duckdb_columns() where schema_name in ('main', 'internal') and not internal"
CATALOG = {*PRE, "test_prob_diff", "forget_prob_diff"}
NAME = f"if(schema_name = 'main', '', '{INTERNAL}') || table_name"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse of two sweeps that began at once, with a factor whose description has to be
    quoted."""
    late = [m | {"sweep": "t", "sample_id": m["sample_id"] + 9} for m in sweep_of(1, 5)]
    tables = staging([*sweep_of(0, 6), *late], PRE)
    catalog = tables["catalogs"]
    said = [['it\'s "quoted"'] * len(catalog)]
    at = catalog.column_names.index("description")
    tables["catalogs"] = catalog.set_column(at, "description", said)
    path = tmp_path_factory.mktemp("meanings") / "w.duckdb"
    rebuild(path, tables)
    with open_warehouse(path) as opened:
        yield opened


def test_every_file_makes_what_its_header_describes() -> None:
    for file in statements():
        statement = file.read_text("utf-8")
        found = header(statement)
        ((kind, made),) = re.findall(
            r"^create (table|view|macro) ([\w.]+)", statement, re.MULTILINE
        )
        assert found.bare_name == made
        assert made.removeprefix(INTERNAL) == file.stem[3:]
        assert file.parent.name == ("schema" if kind == "macro" else "marts")
        assert found.meaning.endswith("."), made
        assert found.example or kind == "macro", file.name


def test_everything_has_a_comment(warehouse: Warehouse) -> None:
    commented = {
        "table": "select table_name, comment from duckdb_tables()",
        "view": "select view_name, comment from duckdb_views() where not internal",
        "column": f"select {NAME} || '.' || column_name, comment from {COLUMNS}",
        "macro": "select function_name, comment from duckdb_functions() "
        "where not internal and function_type in ('macro', 'table_macro')",
    }
    for kind, query in commented.items():
        found = warehouse.query(query).rows
        assert found, kind
        assert [name for name, comment in found if not comment] == [], kind
    comments = dict(warehouse.query(commented["column"]).rows)
    told = {f"{r.name}.{c.name}": c.meaning for r in described(warehouse) for c in r.columns}
    assert {name: told[name] for name in comments} == comments
    assert told["samples.margin"] == 'margin: it\'s "quoted"'
    assert told["attempts.tied"] == told["internal.difficulty.tied"]


def test_columns_of_one_name_mean_the_same_and_are_there(warehouse: Warehouse) -> None:
    """Else a natural join, and `using`, would ask that different things be equal."""
    relations: dict[str, list[str]] = {}
    for relation, column in warehouse.query(f"select {NAME}, column_name from {COLUMNS}").rows:
        if not (relation in ("samples", "attempts") and column in CATALOG):
            relations.setdefault(relation, []).append(column)
    for name, columns in relations.items():
        said = headers()[name].entries
        assert set(said) <= set(columns), name
        assert not set(said) & set(shared()["same"]), name
        for column in set(said) - set(shared()["of_the_row"]):
            others = [other for other, theirs in relations.items() if column in theirs]
            assert others == [name], f"say what {column} means in analysis/data/columns.toml alone"
    there = {column for columns in relations.values() for column in columns}
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


def test_find_sweep_takes_what_commands_take(warehouse: Warehouse) -> None:
    """Of two sweeps that began at once `latest` is the one with the first id."""
    for reference in ("latest", "s", "t"):
        found = warehouse.query(f"select find_sweep('{reference}')").rows
        assert found == [(warehouse.sweep_id(reference),)]
    for reference, said in (("none", "0 sweeps"), ("", "2 sweeps")):
        with pytest.raises(UserError, match=said):
            warehouse.query(f"from attempts where sweep_id = find_sweep('{reference}')")
