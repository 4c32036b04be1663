"""What a command does not need it does not import, and the layers stay apart at run time too."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

OURS = ("unlearning", "factors", "tracker", "analysis")
HEAVY = {
    *("torch", "mlflow", "duckdb", "matplotlib", "optuna", "sklearn", "scipy", "pandas", "pyarrow"),
}


def _printed(code: str, *arguments: str) -> Any:
    """What a fresh process prints in its last line, which is JSON."""
    run = [sys.executable, "-c", code, *arguments]
    answer = subprocess.run(run, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules in a fresh process after running the code."""
    report = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in _printed(report, *arguments)}


def test_help_imports_nothing_heavy() -> None:
    code = """
from tracker.cli import run
for words in (["--help"], ["--version"], *([name, "--help"] for name in ("sweep", "correlate"))):
    run(words)
"""
    assert not imported_by(code) & HEAVY


def test_the_warehouse_needs_neither_torch_nor_mlflow(tmp_path: object) -> None:
    code = """
from tracker.cli import run
import tracker.cli.ask  # what prints ranks, and much else
for name in ("correlate", "load"):
    run(["--store", sys.argv[1], name])
"""
    loaded = imported_by(code, str(tmp_path))
    assert not loaded & {"torch", "mlflow", "matplotlib", "pandas", "sklearn"}


def test_statuses_and_columns_need_no_torch() -> None:
    assert "torch" not in imported_by("import unlearning.outcome, factors.family")


@pytest.mark.slow
def test_unlearning_and_factors_run_without_the_rest() -> None:
    code = """
names = ("mlflow", "duckdb", "click", "rich", "pyarrow", "matplotlib")
for name in names:
    sys.modules[name] = None  # an import of it fails
import torch
import factors
from factors.evaluation import evaluate
from factors.family import post_values, pre_values
from unlearning import algorithms, checkpoints, datasets, presets, training
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.recipe import Recipe
digits, cpu = datasets.load("digits"), torch.device("cpu")
network = training.train(digits, "small-cnn", Recipe(epochs=1), cpu)
base, positions = BaseModel(network, digits, cpu), torch.arange(3)
for name in algorithms.names():
    settings = presets.load("digits").get(name, {})
    unlearned = unlearn(base, algorithms.get(name).from_text(settings), positions, 0)
    chunk = evaluate(base, positions, unlearned, base.some(None))
    found = pre_values(base, factors.families(), positions) | post_values(chunk, factors.families())
    assert len(found) == len(factors.columns())
for name in names:
    del sys.modules[name]
"""
    assert not imported_by(code) & {"mlflow", "duckdb", "click", "rich", "pyarrow", "matplotlib"}


def test_the_first_optimiser_has_nothing_left_to_import() -> None:
    code = """
import json, sys, torch
from unlearning.execution import make_ready
make_ready(torch.device("cpu"))
there = set(sys.modules)
torch.optim.Adam([torch.zeros(1)])
print(json.dumps(["torch._dynamo" in there, sorted({*sys.modules} - there)]))
"""
    assert _printed(code) == [True, []]
