"""Others can read what we write: DuckDB's shells, the newest and the first that is to be read."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.warehouse import STAGING, open_warehouse, rebuild
from tests.analysis.test_predictions import NOON, about, attempts
from tests.analysis.warehouses import staging

OLD = "INDELIBLE_OLD_DUCKDB"  # a folder with the Python package duckdb 1.0.0
READ = """
import csv, sys, duckdb
found = duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2])
rows = csv.writer(sys.stdout)
rows.writerow(name for name, *_ in found.description)
rows.writerows(found.fetchall())
"""


def new_shell() -> Callable[[Path, str], str]:
    """The executable of the package duckdb-cli."""
    beside = Path(sys.executable).with_name("duckdb")
    shell = str(beside) if beside.exists() else shutil.which("duckdb")
    if shell is None:
        pytest.skip("needs DuckDB's shell (pip install duckdb-cli)")
    return lambda path, query: said(shell, "-readonly", "-csv", str(path), query)


def old_shell() -> Callable[[Path, str], str]:
    """The Python package of that version, which has the same library."""
    if OLD not in os.environ:
        pytest.skip(f"needs duckdb 1.0.0 in a folder that {OLD} names")
    environment = {**os.environ, "PYTHONPATH": os.environ[OLD]}
    version = said(sys.executable, "-c", "print(__import__('duckdb').__version__)", env=environment)
    assert version.strip() == "1.0.0"
    return lambda path, query: said(sys.executable, "-c", READ, str(path), query, env=environment)


def said(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def plain(row: dict[str, Any]) -> dict[str, object]:
    """Numbers as numbers, and nothing as nothing, however they are printed."""
    return {name: number(value) for name, value in row.items()}


def number(value: object) -> object:
    if value in (None, "", "NULL"):
        return None
    try:
        return pytest.approx(float(str(value)), rel=1e-12)
    except ValueError:
        return value


# The questions of docs/questions.md, in the oldest DuckDB and the newest

PAGE = Path(__file__).parent.parent.parent / "docs" / "questions.md"
QUESTIONS = re.findall(r"^## (.*?)$.*?```sql\n(.*?)```", PAGE.read_text("utf-8"), re.M | re.S)


NAMES = ["even", "odd"]
SWEEPS = {"s0": ("b", 0, 0), "s1": ("b", 0, 1), "t": ("c", 1, 1)}  # base model, its seed, seed
FACTORS = ("test_accuracy", "margin", "z", "forgotten")


@pytest.fixture(scope="module")
def logged() -> dict[str, list[dict[str, Any]]]:
    """What MLflow has of three sweeps: two from one base model differ in the seed, and the later of
    these was predicted; the third is from another base model."""
    members = [
        m
        | {"algorithm": name, "sweep": sweep}
        | dict(zip(("base", "base_seed", "seed"), of, strict=True))
        for k, (sweep, of) in enumerate(SWEEPS.items())
        for name, flips in (("ga", 0.7), ("scrub", 0.4))
        for m in attempts(30, k + round(10 * flips), flips)
    ]
    for number, m in enumerate(members):
        z = float(number * 11 % 7 - 3)
        m["metrics"] |= {"margin": float(number * 7 % 31), "z": z, "forgotten": float(abs(z) < 2)}
    tables = {n: t.to_pylist() for n, t in staging(members, FACTORS).items()}
    tables["tags"].append({"run_id": "b", "key": "class_names", "value": json.dumps(NAMES)})
    tables["tags"] += [
        {"run_id": f"m{number}", "key": "flipped_to", "value": str(1 - m["label"])}
        for number, m in enumerate(members)
        if m["status"] == "flipped"
    ]
    for run in tables["runs"]:
        is_late = run["run_id"] == "s1" or run["run_id"] in {f"m{k}" for k in range(60, 120)}
        run["start_time"] = NOON + timedelta(hours=is_late)
    own = {"run_id": "p", "name": "p", "experiment": "e", "kind": "prediction"}
    tables["runs"].append(own | {"status": "FINISHED", "end_time": NOON})
    tables["params"] += [{"run_id": "p", "key": "base_run_id", "value": "b"}]
    tables["predictions"] += [{"run_id": "p", **row} for row in about(members, 0)[60:120]]
    tables["histories"] = [
        {"run_id": f"m{number}", "step": k, "forget_prob": 1 / (k + 1), "forget_loss": k / 9}
        for number, m in enumerate(members)
        for k in range(int(m["metrics"]["steps"]) + 1)
    ]
    return tables


@pytest.fixture(scope="module")
def answered(
    logged: dict[str, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The warehouse of these."""
    path = tmp_path_factory.mktemp("questions") / "w.duckdb"
    rebuild(path, {n: pa.Table.from_pylist(logged[n], schema=s) for n, s in STAGING.items()})
    return path


def answer(path: Path, query: str) -> list[dict[str, Any]]:
    with open_warehouse(path) as warehouse:
        return warehouse.query(query).records()


class Plain:
    """The answers by pandas, from the rows of MLflow alone."""

    def __init__(self, logged: dict[str, list[dict[str, Any]]]) -> None:
        wide: dict[str, dict[str, Any]] = {}
        for table in ("params", "tags", "metrics"):
            for row in logged[table]:
                wide.setdefault(row["run_id"], {})[row["key"]] = row["value"]
        runs = pd.DataFrame.from_dict(wide, orient="index").rename_axis("run_id").reset_index()
        of = runs.set_index("run_id")
        m = runs[runs["key"].notna() & runs["mlflow.parentRunId"].notna()].copy()
        m = m.rename(columns={"mlflow.parentRunId": "sweep", "forget_prob_diff": "f"})
        whole = ["sample_id", "label", "split_position", "steps", "flipped_to"]
        m[whole] = m[whole].astype("Float64").astype("Int64")
        m["base"] = m["sweep"].map(of["base_run_id"])
        names = m["base"].map(of["class_names"]).map(json.loads, na_action="ignore")
        pairs = zip(names, m["label"], strict=True)
        m["class_name"] = [n[k] if isinstance(n, list) else str(k) for n, k in pairs]
        u, f = 1 - m["test_prob_diff"], m["f"]
        lam = 1 / m["base"].map(of["test_samples"]).astype(float)
        gt = (lam * u * f / (lam * u + f)).where((u > 0) & (f > 0), 0.0)
        m["gt"] = gt.where(m["status"] != "already_wrong")
        m["gt_share"] = m["gt"] / lam
        before = m["base"].map(of["test_accuracy"])
        m["test_points_lost"] = 100 * (before - m["test_accuracy"])
        by = m.groupby(["sweep", "algorithm"])["gt"]
        m["difficulty_rank"] = by.rank(method="min")
        m["percentile"] = 100 * (by.transform("count") - by.rank() + 0.5) / by.transform("count")
        self.logged, self.all = logged, m
        self.latest = m[m["sweep"] == "s1"]
        self.graded = self.latest[self.latest["gt"].notna()]

    def harder(self) -> pd.DataFrame:
        rows = self.graded.sort_values(["margin", "sample_id"])
        near = rows.groupby("algorithm")["percentile"].transform(
            lambda p: p.rolling(21, center=True, min_periods=1).mean()
        )
        by = rows.assign(harder=rows["percentile"] - near).groupby("class_name")["harder"]
        return by.agg(harder_than_its_margin="mean", n="size").reset_index()

    def flips(self) -> pd.DataFrame:
        both = self.latest.merge(self.latest, on=["sample_id", "class_name"])
        is_one = (both["status_x"] == "flipped") & ~both["status_y"].isin(
            ["flipped", "already_wrong"]
        )
        names = {"algorithm_x": "flips", "algorithm_y": "does_not", "steps_x": "steps"}
        return both[is_one].rename(columns={**names, "status_y": "status"})

    def steps(self) -> pd.DataFrame:
        tenth = self.graded.assign(percentile_from=10 * (self.graded["percentile"] // 10))
        wide = tenth.pivot_table("steps", "percentile_from", "algorithm")
        return wide.astype(float).reset_index()

    def damage(self) -> pd.DataFrame:
        by = self.graded.groupby("algorithm")
        lost = by["test_points_lost"].mean()
        r = by[["f", "test_points_lost"]].corr().iloc[::2, 1].droplevel(1)
        found = {"probability_lost": by["f"].mean(), "points_lost": lost, "r": r, "n": by.size()}
        return pd.DataFrame(found).reset_index()

    def best(self) -> pd.DataFrame:
        first = self.graded.sort_values("gt").groupby("sample_id").tail(1)
        return first.rename(columns={"algorithm": "best"})

    def seeds(self) -> pd.DataFrame:
        rows = []
        for algorithm, found in self.all.groupby("algorithm"):
            for varied, sweeps in {
                "base model seed": ["s1", "t"],
                "unlearning seed": ["s0", "s1"],
            }.items():
                gt = found[found["sweep"].isin(sweeps)].pivot_table("gt", "sample_id", "sweep")
                both = gt.dropna()
                assert 10 * len(both) >= 9 * gt.count().min()  # else they are no repeats
                rho = both.corr("spearman").iloc[0, 1]
                rows.append((algorithm, varied, 2, len(both), rho))
        columns = ["algorithm", "varied", "repeats", "n", "mean_rho"]
        return pd.DataFrame(rows, columns=columns)

    def bases(self) -> pd.DataFrame:
        known = self.all[self.all["gt"].notna()]
        both = known[known["base"] == "b"].merge(
            known[known["base"] == "c"], on=["algorithm", "sample_id"], suffixes=("_a", "_b")
        )
        by = both.groupby(["sweep_a", "sweep_b", "algorithm"])
        r = by[["difficulty_rank_a", "difficulty_rank_b"]].corr().iloc[::2, 1].droplevel(-1)
        return pd.DataFrame({"r": r, "n": by.size()}).reset_index()

    def falls(self) -> pd.DataFrame:
        steps = pd.DataFrame(self.logged["histories"]).merge(
            self.latest[["run_id", "algorithm"]], on="run_id"
        )
        by = steps.groupby(["algorithm", "step"])["forget_prob"]
        return by.agg(probability="mean", still_there="size").reset_index()

    def costs(self) -> pd.DataFrame:
        by = self.latest.groupby("algorithm")["test_points_lost"]
        is_ruined = (self.latest["status"] == "flipped") & (self.latest["test_points_lost"] > 5)
        found = by.agg(mean="mean", worst="max")
        ruined = is_ruined.groupby(self.latest["algorithm"]).sum()
        return found.assign(flipped_and_damaged=ruined).reset_index()

    def hard(self) -> pd.DataFrame:
        by = self.graded.groupby(["sample_id", "class_name"])["percentile"]
        found = by.agg(at_least="min", at_most="max", n="size").reset_index()
        return found.sort_values(["at_least", "sample_id"], ascending=[False, True]).head(10)

    def factors(self) -> pd.DataFrame:
        by = self.graded.groupby("algorithm")
        rho = by[["margin", "gt"]].corr("spearman").iloc[::2, 1].droplevel(1)
        return pd.DataFrame({"title": "margin", "rho": rho, "n": by.size()}).reset_index()

    def taken_for(self) -> pd.DataFrame:
        by = self.latest.groupby(["class_name", "flipped_to"])["sample_id"]
        return by.agg(n="size", samples="nunique").reset_index()

    def forgotten(self) -> pd.DataFrame:
        rows = self.latest[self.latest["status"] == "flipped"]
        outside = np.where(rows["z"] < 0, "over_forgotten", "remembered")
        rows = rows.assign(verdict=np.where(rows["forgotten"] == 1, "forgotten", outside))
        by = rows.groupby(["algorithm", "verdict"])
        lost = by["test_points_lost"].mean()
        found = {"n": by.size(), "mean_z": by["z"].mean(), "points_lost": lost}
        return pd.DataFrame(found).reset_index()

    def predicted(self) -> pd.DataFrame:
        said = pd.DataFrame(self.logged["predictions"])[["key", "steps", "gt"]]
        said = said.add_prefix("predicted_")
        return self.graded.merge(said, left_on="key", right_on="predicted_key")

    def hardest(self) -> pd.DataFrame:
        return self.graded[self.graded["difficulty_rank"] <= 5].assign(sample_path="")


ASKED = dict(
    zip(
        [title for title, _ in QUESTIONS],
        (
            *(Plain.harder, Plain.flips, Plain.steps, Plain.damage, Plain.best, Plain.seeds),
            *(Plain.bases, Plain.falls, Plain.costs, Plain.hard, Plain.factors, Plain.taken_for),
            *(Plain.forgotten, Plain.predicted, Plain.hardest),
        ),
        strict=True,
    )
)
ELSEWHERE = {"mean_rho_low", "mean_rho_high", "ci_low", "ci_high"}  # have oracles of their own


@pytest.mark.parametrize(("title", "query"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_a_question_is_answered_as_pandas_answers_it(
    logged: dict[str, list[dict[str, Any]]], answered: Path, title: str, query: str
) -> None:
    with open_warehouse(answered) as warehouse, warehouse.arrow(query) as found:
        rows = pa.Table.from_batches(found.batches, found.schema).to_pandas()
    assert len(rows)
    assert rows.notna().any().all()
    columns = [name for name in rows if name not in ELSEWHERE]
    assert {*rows} - {*columns} <= ELSEWHERE
    expected = ASKED[title](Plain(logged))
    pd.testing.assert_frame_equal(
        *(in_order(each[columns]) for each in (rows, expected)), check_dtype=False
    )


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows sorted by all their columns, numbers as floats."""
    plain = {n: c.astype(float) if pd.api.types.is_numeric_dtype(c) else c for n, c in rows.items()}
    keys = pd.DataFrame(plain).round(9).sort_values([*rows])
    return pd.DataFrame(plain).loc[keys.index].reset_index(drop=True)


def test_every_question_is_of_one_sweep_or_tells_base_models_apart() -> None:
    for title, query in QUESTIONS:
        assert "find_sweep('latest')" in query or "base_run_id" in query, title


MORE = (
    "select factor, algorithm, rho from correlate('one', null, 'flipped') order by all",
    "from correlate('set_sizes', null, 'all', target := 'points_lost') order by all",
    "select table_name, column_name, comment from duckdb_columns() where not internal "
    "and schema_name = 'main' order by all",
    "select algorithm, flipped, damaged, mean_gt from summaries(max_loss := 2) order by all",
)


@pytest.mark.parametrize("shell", [new_shell, old_shell])
def test_shells_answer_as_the_command_does(
    answered: Path, shell: Callable[[], Callable[[Path, str], str]]
) -> None:
    ask = shell()
    for title, query in (*QUESTIONS, *zip(MORE, MORE, strict=True)):
        found = csv.DictReader(io.StringIO(ask(answered, query)))
        assert [plain(row) for row in found] == [plain(row) for row in answer(answered, query)], (
            title
        )
