"""The commands as their user meets them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import load_file

import factors
from tests.oracles import statistics
from tests.tracker.conftest import ALGORITHMS, NOTHING_TRAINED_FOR, SAMPLES, Answer, Done, Indelible
from tracker.base import base_models
from tracker.commands.table import GROUPS
from tracker.store.opening import open_store
from tracker.store.records import Kind, Run
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
            (run.metrics[metric], run.metrics["gt"])
            for run in runs
            if run.params["algorithm"] == row["algorithm"]
            and metric in run.metrics
            and "gt" in run.metrics
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


def test_a_child_run_is_restored_by_what_names_it(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    run = next(done.store.finished_runs(Kind.MEMBER, "params.algorithm = 'ga'"))
    whole, written = run.run_id, set()
    ids = [each.run_id for each in done.store.finished_runs(Kind.MEMBER)]
    path = tmp_path / "x.safetensors"
    for reference in (whole, shortest(ids)[whole], run.name):
        assert indelible(done.folder, "restore", reference, "--output", path).code == 0
        written.add(path.read_bytes())
    assert len(written) == 1
    first = next(letter for letter in "0123456789abcdef" if sum(i[0] == letter for i in ids) > 1)
    for reference, said in ((first, "child runs, "), ("ga-0000", "there is no child run 'ga-0")):
        refused(indelible(done.folder, "restore", reference, "--output", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("algorithm", ["ga", "scrub"])
def test_a_restored_model_gives_the_logged_numbers_exactly(
    done: Done, indelible: Indelible, tmp_path: Path, algorithm: str
) -> None:
    runs = done.store.finished_runs(Kind.MEMBER, f"params.algorithm = '{algorithm}'")
    run, path = next(iter(runs)), tmp_path / "unlearned.safetensors"
    assert indelible(done.folder, "restore", run.run_id, "--output", path).code == 0
    digits = datasets.load("digits")
    network = models.build("small-cnn", digits)
    network.load_state_dict(load_file(path))
    restored = BaseModel(network, digits, torch.device("cpu"))
    right = restored.test_logits.argmax(1) == restored.test_labels
    assert right.double().mean().item() == run.metrics["performance/test_accuracy"]
    position = digits.train.positions([int(run.tags["sample_id"])])
    prob = log_prob(restored.train_logits, restored.train_labels)[position].exp().item()
    assert prob == run.metrics["forget_prob"]
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
        found.setdefault(run.params["algorithm"], []).append(run)
        assert store.client.list_artifacts(run.run_id) == []
    assert sorted(int(run.tags["sample_id"]) for run in found["ga"]) == sorted(ids)
    assert {run.params["lr"] for run in found["neggrad"]} == {"0.001"}
    assert {run.params["optimizer"] for run in found["neggrad"]} == {"sgd"}
    assert {run.params["lr"] for run in found["ga"]} == {"0.0001"}
    run_id = found["ga"][0].run_id
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
        ((*SWEEP, "--model", "not/an/id"), "there is no base model"),
        ((*SWEEP, "--samples", "1001"), "has 1000"),
        ((*SWEEP, "--sample-ids", "{folder}/large"), "99999"),
        ((*SWEEP, "--sample-ids", "{folder}/twice"), "more than once"),
        ((*SWEEP, "--set", "ga.lr=-1"), "> 0"),
        ((*SWEEP, "--set", "ga.speed=1"), "has no 'speed'"),
        (("sql", "selec 1"), "syntax error"),
        (("sql", "insert into sweeps select * from sweeps"), "read-only"),
        (("sql", "select * from read_csv('/etc/passwd')"), "disabled"),
        (("restore", "{sweep}", "--output", "{folder}/out"), "not a finished child run"),
        (("report", "--sweep", "nope"), "indelible sweeps"),
        (("report", "--output", "/dev/null/x"), "/dev/null/x"),
        (("train", "--epochs", "1", "--lr", "1e30", "--arch", "mlp"), "smaller --lr"),
        (("train", "--train-samples", "1"), "too few"),
        ((*SWEEP, "--name", "\udcff"), "UTF-8"),
        (("dance",), "No such command"),
        (("rank", "--algorithm", "gaa"), "did you mean 'ga'?"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    done: Done, indelible: Indelible, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    sample = int(datasets.load("digits").train.ids[0])
    files = {"large": "99999", "twice": f"{sample} {sample}"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    experiment = done.store.experiment_id("digits", "small-cnn")
    before = [run.run_id for run in done.store.runs([experiment])]
    given = [word.format(folder=tmp_path, sweep=done.sweep) for word in arguments]
    refused(indelible(done.folder, *given), said)
    assert [run.run_id for run in done.store.runs([experiment])] == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "demo"])
def test_a_store_that_cannot_be_written(indelible: Indelible, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    refused(indelible(tmp_path / "file" / "store", command), "cannot be written")


def test_a_missing_or_corrupt_warehouse(indelible: Indelible, tmp_path: Path) -> None:
    command = ("sql", "select 1")
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
