"""What factors and predictions take, from the store to the list of factors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import factors
from analysis.warehouse import open_warehouse
from tests.tracker.conftest import SAMPLES, Done, Indelible
from tracker.cli._output import plain

Rows = list[dict[str, Any]]


def costs_of(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    with open_warehouse(folder / "analysis.duckdb") as warehouse:
        rows = warehouse.query("from internal.factor_costs").records()
    return {(row["kind"], row["name"]): row for row in rows}


@pytest.mark.slow
def test_every_family_and_prediction_has_its_cost(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(done.folder, folder)
    families = {family.name for family in factors.families() if family.phase == "pre"}
    before = costs_of(folder)
    assert before.keys() == {("factors", name) for name in families}
    assert indelible(folder, "predict", "--algorithm", "ga", "--samples", 3, "--seed", 5).code == 0
    assert indelible(folder, "load").code == 0  # sees it without --deep
    after = costs_of(folder)
    assert after.keys() - before.keys() == {("index", "ga")}
    assert after["index", "ga"]["n"] == 3
    assert {row["n"] for row in before.values()} == {SAMPLES}
    for row in after.values():
        assert row["seconds"] > 0
        assert row["of_attempt"] == row["seconds"] / row["attempt_s"]
    (lost,) = folder.glob("artifacts/*/*/artifacts/forecasts-*")
    lost.write_bytes(b"lost")
    assert indelible(folder, "load", "--deep").code == 0
    assert costs_of(folder) == before


def test_the_list_of_factors_says_what_they_cost(done: Done, indelible: Indelible) -> None:
    costs = costs_of(done.folder)
    listed: Rows = json.loads(indelible(done.folder, "factors", "--format", "json").out)
    every = factors.columns(factors.every())
    assert {row["name"] for row in listed} == {column.name for column in every}
    for row in listed:
        own = costs.get(("factors", row["family"])) if row["phase"] == "pre" else None
        assert row["cost"] == (str(own["of_attempt"]) if own else None)
    table = indelible(done.folder, "factors").out
    assert f" {plain(costs['factors', 'density']['of_attempt'])} " in table
