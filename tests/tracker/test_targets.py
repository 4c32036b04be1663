"""`correlate --target` against scipy on what MLflow has of the attempts, read by plain Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import factors
import indelible as library
from tests.tracker.conftest import Indelible
from tests.tracker.test_cli import refused
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind

METRICS = {"z": "forgetting/z", "unlearning_gap": "reference/unlearning_gap"}
ACCURACY = "performance/test_accuracy"
SAMPLES = "2,5,13,15,42,90,97,101,117,159"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with reference models, leave-one-out models, and a sweep of ga with a repeat."""
    folder = tmp_path_factory.mktemp("store")
    recipe = ("--arch", "mlp", "--epochs", "4", "--references", "8")
    train = ("train", *recipe, "--leave-out", SAMPLES)
    sweep = ("sweep", "--algorithm", "ga", "--sample-ids", SAMPLES, "--repeats", "2")
    for words in (train, sweep):
        assert run(["--store", str(folder), *words, "--workers", "1"]) == 0
    return folder


def attempts(store: Path, seed: str) -> list[dict[str, float]]:
    """The metrics of a sweep's child runs, with the points that each lost."""
    opened = open_store(store)
    (base,) = opened.finished_runs(Kind.BASE_MODEL)
    found = []
    for each in opened.finished_runs(Kind.MEMBER):
        if each.params["seed"] == seed:
            found.append(dict(each.metrics))
            if ACCURACY in found[-1]:  # else the base model gets the sample wrong
                lost = base.metrics["test_accuracy"] - found[-1][ACCURACY]
                found[-1]["points_lost"] = 100 * lost
    return found


@pytest.mark.parametrize("target", ["z", "unlearning_gap", "points_lost"])
def test_rho_with_a_target_is_scipys(store: Path, indelible: Indelible, target: Any) -> None:
    sweep = library.open(store).find_sweep()
    seed = open_store(store).run(sweep.run_id).params["seed"]
    here = sweep.correlations(target=target)
    columns = ("target", "factor", "rho", "n")
    found = here.project(", ".join(columns)).fetchall()
    rows: list[dict[str, Any]] = [dict(zip(columns, row, strict=True)) for row in found]
    runs, told = attempts(store, seed), 0
    names = {column.name: column.metric for column in factors.columns()}
    for row in rows:
        metric, measured = names[row["factor"]], METRICS.get(target, target)
        pairs = [(run[metric], run[measured]) for run in runs if {metric, measured} <= {*run}]
        assert (row["target"], row["n"]) == (target, len(pairs))
        if row["rho"] is not None:
            x, y = np.array(pairs).T
            assert row["rho"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
            told += 1
    assert told > 40
    assert target not in {row["factor"] for row in rows}


def test_the_table_says_which_end_is_hard(store: Path, indelible: Indelible) -> None:
    asked = ("correlate", "--target", "z", "--bootstrap", 100)
    answer = indelible(store, *asked)
    assert "interval with z (all)" in answer.out
    assert "high is hard" in answer.err
    assert "z is made of this factor" in answer.err
    assert "ceiling (unlearning seed)" in answer.out
    rows = json.loads(indelible(store, *asked, "--format", "json").out)
    found = library.open(store).find_sweep().correlations(target="z")
    assert {r["factor"]: r["rho"] for r in rows} == dict(found.project("factor, rho").fetchall())


def test_mistakes_with_targets_are_one_line(store: Path, indelible: Indelible) -> None:
    for words, said in (
        (("--target", "z", "--lambda", "one"), "--lambda has no effect with --target z"),
        (("--target", "loss"), "points_lost"),
        (("--target", "auc"), "no attempt that is asked about has auc: see 'indelible audit'"),
    ):
        refused(indelible(store, "correlate", *words), said)
    with pytest.raises(library.UserError, match="the target is 'loss': choose gt, z"):
        library.open(store).find_sweep().correlations(target="loss")  # type: ignore[arg-type]
