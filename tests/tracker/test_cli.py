"""The commands as their user meets them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import duckdb
import numpy as np
import pytest
import scipy.stats
import torch
from mlflow.entities import Run
from safetensors.torch import load_file

import factors
from tests.oracles import statistics
from tests.tracker.conftest import ALGORITHMS, NOTHING_TRAINED_FOR, SAMPLES, Answer, Done, Indelible
from tracker.base import base_models
from tracker.commands.table import GROUPS
from tracker.store.opening import open_store
from tracker.store.records import Kind
from unlearning import datasets, models
from unlearning.base_model import BaseModel
from unlearning.losses import log_prob
from unlearning.naming import shortest


def test_every_command_is_in_its_group_with_a_sentence_and_an_example(
    tmp_path: Path, indelible: Indelible
) -> None:
    text = indelible(tmp_path / "none", "--help").out
    assert indelible(tmp_path / "none").out == text
    parts = re.split(rf"\n(?:{'|'.join(GROUPS)}):\n", text)[1:]
    for part, commands in zip(parts, GROUPS.values(), strict=True):
        for command in commands:
            assert re.search(rf"^  {command} +\w", part, re.MULTILINE)
            answer = indelible(tmp_path / "none", command, "--help")
            assert answer.code == 0
            assert "Example:\n    indelible" in answer.out
            assert f"indelible {command}" in answer.out
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_correlate_equals_scipy_on_the_raw_mlflow_metrics(done: Done, indelible: Indelible) -> None:
    answer = indelible(done.folder, "correlate", "--format", "json")
    rows = json.loads(answer.out)
    runs = list(done.store.finished_runs(Kind.MEMBER))
    names, defined = {column.name: column.metric for column in factors.columns()}, 0
    for row in rows:
        metric = names[row["factor"]]
        pairs = [
            (run.data.metrics[metric], run.data.metrics["gt"])
            for run in runs
            if run.data.params["algorithm"] == row["algorithm"]
            and metric in run.data.metrics
            and "gt" in run.data.metrics
        ]
        assert row["n"] == len(pairs)
        if row["factor"] in NOTHING_TRAINED_FOR:
            assert (row["n"], row["undefined"]) == (0, "no values")
            continue
        assert row["n"] == SAMPLES
        x, y = np.array(pairs).T
        if len(set(x)) == 1:
            assert (row["rho"], row["undefined"]) == (None, "constant factor")
            continue
        defined += 1
        assert row["rho"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
        assert row["p_value"] == pytest.approx(statistics.exact_p(x, y), rel=1e-9)
    assert defined >= 40
    assert {row["algorithm"] for row in rows} == set(ALGORITHMS)


def test_formats_hold_the_same_data(done: Done, indelible: Indelible) -> None:
    objects = json.loads(indelible(done.folder, "correlate", "--format", "json").out)
    text = indelible(done.folder, "correlate", "--format", "csv").out
    rhos = [row["rho"] for row in csv.DictReader(io.StringIO(text))]
    assert [float(rho) if rho else None for rho in rhos] == [row["rho"] for row in objects]
    table = indelible(done.folder, "correlate").out
    assert "Test Accuracy (TPS)" in table
    assert all(name in table for name in ALGORITHMS)
    assert "Unlearning Gap" not in table  # of nothing that nobody measured


def test_correlate_takes_populations_and_readings(done: Done, indelible: Indelible) -> None:
    default = json.loads(indelible(done.folder, "correlate", "--format", "json").out)
    for lam, population in (("mean_ratio", "all"), ("0.5", "flipped")):
        arguments = ("--lambda", lam, "--population", population, "--format", "json")
        rows = json.loads(indelible(done.folder, "correlate", *arguments).out)
        assert len(rows) == len(default)
        assert rows != default


def test_rank_over_all_algorithms(done: Done, indelible: Indelible) -> None:
    rows = json.loads(indelible(done.folder, "rank", "--format", "json").out)
    assert len(rows) == SAMPLES
    for row in rows:
        ranks = [row[f"rank_{name}"] for name in ("ga", "neggrad")]  # steady under other seeds
        assert "rank_scrub" not in row
        share = np.mean([100 * (SAMPLES - rank + 0.5) / SAMPLES for rank in ranks])
        assert row["mean_percentile"] == pytest.approx(share)
    percentiles = [row["mean_percentile"] for row in rows]
    assert percentiles == sorted(percentiles, reverse=True)


def test_sweeps_and_models_are_listed(done: Done, indelible: Indelible) -> None:
    (sweep,) = json.loads(indelible(done.folder, "sweeps", "--format", "json").out)
    (model,) = json.loads(indelible(done.folder, "models", "--format", "json").out)
    assert (sweep["run_id"], sweep["base_run_id"]) == (done.sweep, done.model)
    assert (model["run_id"], model["arch"]) == (done.model, "small-cnn")


def test_what_a_stopped_sweep_came_to_is_not_said_to_be_nothing(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(done.folder, tmp_path / "copy"))
    with closing(sqlite3.connect(copy / "mlflow.db")) as database, database:
        for table in ("metrics", "latest_metrics"):  # they are written when a sweep ends
            database.execute(f"delete from {table} where run_uuid = ?", (done.sweep,))
    answer = indelible(copy, "sweeps", "--max-loss", 4, "--format", "json")
    (sweep,) = json.loads(answer.out)
    assert [sweep[name] for name in ("attempts", "flipped", "damaged")] == [None] * 3


def test_a_child_run_is_restored_by_what_names_it(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    run = next(done.store.finished_runs(Kind.MEMBER, "params.algorithm = 'ga'"))
    whole, written = run.info.run_id, set()
    ids = [each.info.run_id for each in done.store.finished_runs(Kind.MEMBER)]
    path = tmp_path / "x.safetensors"
    for reference in (whole, shortest(ids)[whole], run.info.run_name):
        assert indelible(done.folder, "restore", reference, "--output", path).code == 0
        written.add(path.read_bytes())
    assert len(written) == 1
    first = next(letter for letter in "0123456789abcdef" if sum(i[0] == letter for i in ids) > 1)
    for reference, said in ((first, "child runs, "), ("ga-0000", "there is no child run 'ga-0")):
        refused(indelible(done.folder, "restore", reference, "--output", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_restored_model_gives_the_logged_numbers_exactly(
    done: Done, indelible: Indelible, tmp_path: Path, algorithm: str
) -> None:
    runs = done.store.finished_runs(Kind.MEMBER, f"params.algorithm = '{algorithm}'")
    run, path = next(iter(runs)), tmp_path / "unlearned.safetensors"
    assert indelible(done.folder, "restore", run.info.run_id, "--output", path).code == 0
    digits = datasets.load("digits")
    network = models.build("small-cnn", digits)
    network.load_state_dict(load_file(path))
    restored = BaseModel(network, digits, torch.device("cpu"))
    right = restored.test_logits.argmax(1) == restored.test_labels
    assert right.double().mean().item() == run.data.metrics["performance/test_accuracy"]
    position = digits.train.positions([int(run.data.tags["sample_id"])])
    prob = log_prob(restored.train_logits, restored.train_labels)[position].exp().item()
    assert prob == run.data.metrics["forget_prob"]
    base = base_models.load(done.store, done.model, torch.device("cpu")).model
    moved = [not torch.equal(base.params[name], restored.params[name]) for name in base.params]
    assert any(moved)


def test_sample_ids_settings_and_names(done: Done, indelible: Indelible, tmp_path: Path) -> None:
    ids = datasets.load("digits").train.ids[[5, 2]].tolist()
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    assert indelible(tmp_path / "s", "train", "--epochs", 1).code == 0
    answer = indelible(
        tmp_path / "s",
        *("sweep", "--algorithm", "neggrad", "--algorithm", "ga", "--checkpoints", "none"),
        *("--sample-ids", tmp_path / "ids.txt", "--preset", "paper", "--name", "mine"),
        *("--set", "neggrad.lr=1e-3", "--set", "neggrad.optimizer=sgd", "--chunk", 1),
    )
    assert answer.code == 0
    indelible(tmp_path / "s", "load")
    sweeps = json.loads(indelible(tmp_path / "s", "sweeps", "--format", "json").out)
    assert [(s["run_id"], s["name"]) for s in sweeps] == [(answer.id, "mine")]
    store = Done(tmp_path / "s", "", answer.id).store
    found: dict[str, list[Run]] = {}
    for run in store.finished_runs(Kind.MEMBER):
        found.setdefault(run.data.params["algorithm"], []).append(run)
        assert store.client.list_artifacts(run.info.run_id) == []
    assert sorted(int(run.data.tags["sample_id"]) for run in found["ga"]) == sorted(ids)
    assert {run.data.params["lr"] for run in found["neggrad"]} == {"0.001"}
    assert {run.data.params["optimizer"] for run in found["neggrad"]} == {"sgd"}
    assert {run.data.params["lr"] for run in found["ga"]} == {"0.0001"}
    run_id = found["ga"][0].info.run_id
    missing = indelible(tmp_path / "s", "restore", run_id, "--output", tmp_path / "out")
    refused(missing, "has no checkpoint")


# Bad input: one clear line, nothing half-written


def refused(answer: Answer, said: str, code: int = 2) -> None:
    assert (answer.code, answer.out) == (code, ""), answer
    (line,) = (line for line in answer.err.splitlines() if line.startswith("indelible:"))
    assert said in line
    assert "Traceback" not in answer.err


SWEEP = ("sweep", "--algorithm", "ga")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sweep", "--algorithm", "gradient"), "'gradient': choose"),
        (("sweep",), "--algorithm"),
        ((*SWEEP, "--model", "0" * 32), "indelible models"),
        ((*SWEEP, "--model", "not/an/id"), "there is no base model"),
        ((*SWEEP, "--samples", "1001"), "has 1000"),
        ((*SWEEP, "--sample-ids", "{folder}/words"), "'seven'"),
        ((*SWEEP, "--sample-ids", "{folder}/empty"), "it takes ids of samples"),
        ((*SWEEP, "--sample-ids", "{folder}/large"), "99999"),
        ((*SWEEP, "--sample-ids", "{folder}/twice"), "more than once"),
        ((*SWEEP, "--sample-ids", "{folder}/twice", "--samples", "3"), "exclude each other"),
        ((*SWEEP, "--preset", "mine"), "'mine': choose"),
        ((*SWEEP, "--set", "ga.lr=-1"), "> 0"),
        ((*SWEEP, "--set", "ga.speed=1"), "has no 'speed'"),
        ((*SWEEP, "--set", "salun.lr=1"), "(ga)"),
        ((*SWEEP, "--device", "tpu"), "device is 'tpu': choose"),
        (("train", "--dataset", "imagenet"), "'imagenet': choose"),
        (("correlate", "--lambda", "big"), "set_sizes"),
        (("sql", "selec 1"), "syntax error"),
        (("sql", "insert into sweeps select * from sweeps"), "read-only"),
        (("sql", "select * from read_csv('/etc/passwd')"), "disabled"),
        (("restore", "0" * 32, "--output", "{folder}/out"), "there is no run"),
        (("restore", "{sweep}", "--output", "{folder}/out"), "not a finished child run"),
        (("report", "--sweep", "nope"), "indelible sweeps"),
        (("report", "--output", "/dev/null/x"), "/dev/null/x"),
        (("report", "--ui", "localhost"), "begins with http:// or https://"),
        (("train", "--epochs", "1", "--lr", "1e30", "--arch", "mlp"), "smaller --lr"),
        (("train", "--train-samples", "1"), "too few"),
        (("train", "--leave-out", "2,99999"), "99999 is not a training sample"),
        ((*SWEEP, "--name", "\udcff"), "UTF-8"),
        ((*SWEEP, "--remaining", "1001"), "from 1 to 1000"),
        ((*SWEEP, "--set", "ga.lr=1e39"), "ga.lr is 1e+39: at most 2147483647"),
        ((*SWEEP, "--set", "ga.lr=inf"), "ga.lr is inf: at most 2147483647"),
        (("dance",), "No such command"),
        (("sampel",), "did you mean 'sample'?"),
        (("measure", "--factor", "margn"), "did you mean 'margin'?"),
        (("rank", "--algorithm", "gaa"), "did you mean 'ga'?"),
        (("schema", "attempt"), "did you mean 'attempts'?"),
        (("sample", "7", "--all", "--format", "json"), "json has all factors already"),
        (("correlate", "--sideways"), "--sideways"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    done: Done, indelible: Indelible, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    sample = int(datasets.load("digits").train.ids[0])
    files = {"words": "1 seven", "empty": " ", "large": "99999", "twice": f"{sample} {sample}"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    experiment = done.store.experiment_id("digits", "small-cnn")
    before = [run.info.run_id for run in done.store.runs([experiment])]
    given = [word.format(folder=tmp_path, sweep=done.sweep) for word in arguments]
    refused(indelible(done.folder, *given), said)
    assert [run.info.run_id for run in done.store.runs([experiment])] == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "demo"])
def test_a_store_that_cannot_be_written(indelible: Indelible, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    refused(indelible(tmp_path / "file" / "store", command), "cannot be written")


@pytest.mark.parametrize("command", [("correlate",), ("sql", "select 1")])
def test_a_missing_or_corrupt_warehouse(
    indelible: Indelible, tmp_path: Path, command: tuple[str, ...]
) -> None:
    refused(indelible(tmp_path, *command), "there is no store in")
    (tmp_path / "analysis.duckdb").write_bytes(b"no database" * 999)
    refused(indelible(tmp_path, *command), "delete it")
    assert (tmp_path / "analysis.duckdb").read_bytes() == b"no database" * 999


def test_an_empty_store_loads_and_says_what_is_missing(
    indelible: Indelible, tmp_path: Path
) -> None:
    open_store(tmp_path)
    assert indelible(tmp_path, "load").code == 0
    refused(indelible(tmp_path, "correlate"), "indelible sweep")
    refused(indelible(tmp_path, *SWEEP), "indelible train")


def test_a_database_that_is_none_is_a_failure(indelible: Indelible, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 999)
    refused(indelible(tmp_path, "models"), "put a backup in its place", code=1)


def test_a_full_disk_is_no_damaged_database(
    indelible: Indelible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").touch()
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE  # no room for the file -shm
    with monkeypatch.context() as patch:
        patch.setattr("tracker.store.database.sqlite3.connect", Mock(side_effect=error))
        answer = indelible(tmp_path, "models")
    refused(answer, "its disk is full or failing", code=1)


def test_the_warehouse_reads_in_a_plain_duckdb(done: Done) -> None:
    with duckdb.connect(str(done.folder / "analysis.duckdb"), read_only=True) as shell:
        assert shell.execute("select count(*) from correlations").fetchone() == (
            (len(factors.columns()) - 1) * 4 * 3,
        )
