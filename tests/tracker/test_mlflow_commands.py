"""MLflow's own commands work on a store of ours, and ours go on after them."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from tests import forked
from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible, own_copy
from tracker.store.opening import open_reader
from tracker.store.records import Kind

SWEEP = ("sweep", *(word for name in ALGORITHMS for word in ("--algorithm", name)))
SWEEP = (*SWEEP, "--samples", str(SAMPLES))


def mlflow(folder: Path, *arguments: str) -> str:
    """What a command of MLflow's prints, with the store as its own."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    answer = forked.run(*arguments, env=environment, program="mlflow")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def whole(folder: Path, indelible: Indelible) -> None:
    """The sweep does what was deleted again, and the store is whole."""
    assert indelible(folder, *SWEEP).code == 0
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 0
    counts = "select count(*) as n, count(distinct run_id) as runs from attempts"
    (row,) = json.loads(indelible(folder, "sql", counts, "--format", "json").out)
    assert row == {"n": SAMPLES * len(ALGORITHMS), "runs": SAMPLES * len(ALGORITHMS)}


@pytest.mark.slow
def test_a_store_is_read_and_upgraded_and_what_was_deleted_is_done_again(
    done: Done, tmp_path: Path, indelible: Indelible
) -> None:
    copy = own_copy(done.folder, tmp_path / "copy")
    assert indelible(copy, "load").code == 0
    uri = f"sqlite:///{copy / 'mlflow.db'}"
    run, *others = open_reader(copy).of_kind(Kind.MEMBER)
    (sweep,) = open_reader(copy).of_kind(Kind.SWEEP)
    out = copy / "runs.csv"
    mlflow(copy, "experiments", "csv", "--experiment-id", sweep.experiment_id, "-o", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(rows) == SAMPLES * len(ALGORITHMS) + 2
    gts = {row["run_id"]: row["metrics.gt"] for row in rows}
    assert float(gts[run.run_id]) == run.metrics["gt"]
    listed = json.loads(mlflow(copy, "artifacts", "list", "--run-id", run.run_id))
    checkpoint = f"checkpoint-{run.tags['checkpoint'][:16]}.safetensors"
    assert checkpoint in [file["path"] for file in listed]
    mlflow(copy, "db", "upgrade", uri)
    for run_id in (run.run_id, others[0].run_id):
        mlflow(copy, "runs", "delete", "--run-id", run_id)
    assert indelible(copy, "load").code == 0
    whole(copy, indelible)
    for run_id in (run.run_id, done.model):
        mlflow(copy, "runs", "delete", "--run-id", run_id)
        mlflow(copy, "gc", "--backend-store-uri", uri, "--run-ids", run_id)
        assert not list(copy.glob(f"artifacts/*/{run_id}/artifacts/*"))
    assert indelible(copy, "models", "--format", "json").out == "[]\n"
    assert indelible(copy, "train").id == done.model
    whole(copy, indelible)
