"""What was measured, and what was known before, of the samples of each base model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray

from analysis.atomic import write_atomically
from tests.benchmarks.prediction.settings import Case, Study
from tracker.base import base_models
from tracker.base.beforehand import forecasts, pre_factors
from tracker.base.workers import THREADS, Stop
from tracker.store.opening import open_store
from tracker.store.records import sha256_of
from tracker.store.write import Store
from tracker.sweep.plan import load_plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.datasets import AS_IT_IS
from unlearning.version import VERSION

Floats = NDArray[np.float64]
T = TypeVar("T")

REMAINING = 200  # training samples that stand for the remaining data: no target looks at them
TARGETS = ("gt", "prob_lost", "points_lost", "steps")
MEASURED = """
select
    seed, sample_id, gt, 1 - u as prob_lost, steps::double as steps,
    test_points_lost as points_lost, (status = 'flipped')::double as flips
from attempts
where sweep_id in (select unnest($sweep_ids))
order by seed, sample_id
"""


class Kept:
    """What takes long is computed once, and kept in the study's folder as JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "kept"
        self.folder.mkdir(parents=True, exist_ok=True)

    def once(self, name: str, inputs: object, compute: Callable[[], T]) -> T:
        """The result of `compute`; `inputs` is what it follows from, of which `repr` says all."""
        path = self.folder / f"{name}-{sha256_of(repr(inputs))[:16]}.json"
        if not path.is_file():
            write_atomically(path, json.dumps(compute()).encode())
        found: T = json.loads(path.read_text("utf-8"))
        return found


@dataclass(frozen=True)
class Cell:
    """One algorithm at one case: n samples, each unlearned under R seeds.

    Attributes:
        unlearner: the algorithm with its hyper-parameters.
        measured: by target, and `flips`, (R, n). predicted: by the index, by `FORECAST`, (n,).
        factors: all that are known before, by name, (n,). test_samples: of the test set.
    """

    case: Case
    unlearner: Algorithm
    sample_ids: tuple[int, ...]
    measured: Mapping[str, Floats]
    predicted: Mapping[str, Floats]
    factors: Mapping[str, Floats]
    test_samples: int

    @property
    def algorithm(self) -> str:
        """Its name."""
        return self.unlearner.name

    def mean(self, target: str) -> Floats:
        """A target's mean over the seeds, (n,)."""
        return np.asarray(self.measured[target].mean(axis=0))


def cells(study: Study) -> Iterator[Cell]:
    """Train, sweep and predict what is not there yet, and read all of it."""
    kept = Kept(study.folder)
    cases = [case for case in study.cases if case.is_there]
    swept = [
        (case, name, _sweep(study, case, name, kept)) for case in cases for name in case.repeats
    ]
    _run(study, None, "load")
    store = open_store(_store(study))
    for case, name, sweep_ids in swept:
        yield _cell(study, store, case, _model(study, case, kept), name, sweep_ids)


def base_of(study: Study, case: Case) -> BaseModel:
    """The base model of a case, which is trained if it is not in the store."""
    model, store = _model(study, case, Kept(study.folder)), open_store(_store(study))
    return base_models.load(store, model, torch.device("cpu"), _data(case)).model


def _store(study: Study) -> Path:
    return study.folder / "store"


def _data(case: Case) -> Path:
    return case.data_dir or AS_IT_IS.data_dir


def _run(study: Study, case: Case | None, *arguments: str) -> list[str]:
    """The lines of a command's answer. What it says beside them goes where ours does."""
    data = ["--data-dir", str(case.data_dir)] if case and case.data_dir else []
    command = [sys.executable, "-m", "indelible", "--store", str(_store(study)), *data]
    answer = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return answer.stdout.split()


def _model(study: Study, case: Case, kept: Kept) -> str:
    """The run id of the case's base model, which is trained if it is not in the store."""
    some = [("--train-samples", case.train_samples), ("--test-samples", case.test_samples)]
    options = [part for name, count in some if count for part in (name, str(count))]
    train = ("train", "--dataset", case.dataset, "--seed", str(case.seed), *options)
    ids = kept.once("base", (VERSION, *train), partial(_run, study, case, *train))
    return ids[0]


def _sweep(study: Study, case: Case, algorithm: str, kept: Kept) -> list[str]:
    """The ids of an algorithm's sweeps, one a seed, which are made if they are not there."""
    repeats = case.repeats[algorithm]
    print(f"{case.name}, {algorithm}: {repeats} seeds", file=sys.stderr, flush=True)
    options = ["--preset", case.preset] if case.preset else []
    options += ["--samples", str(case.samples), "--only-correct", "--checkpoints", "none"]
    of = ("--model", _model(study, case, kept), "--algorithm", algorithm)
    seen = ("--remaining", str(REMAINING), "--repeats", str(repeats))
    sweep = ("sweep", *of, *options, *seen)
    return kept.once("sweeps", (VERSION, *sweep), partial(_run, study, case, *sweep))


def _cell(
    study: Study, store: Store, case: Case, model: str, name: str, sweep_ids: list[str]
) -> Cell:
    base_run = base_models.load(store, model, torch.device("cpu"), _data(case))
    run = store.run(sweep_ids[0])
    plan = load_plan(store.artifacts, run.artifact_uri, sweep_ids[0], run.tags["key"])
    algorithm = algorithms.get(name)(**plan.settings[name])
    ids, measured = _measured(_store(study) / "analysis.duckdb", sweep_ids)
    found = pre_factors(store, base_run, ids)
    with THREADS.pool(base_run.model, Stop()) as pool:
        predicted = forecasts(store, base_run, algorithm, ids, pool)
    return Cell(
        case,
        algorithm,
        tuple(ids),
        measured,
        {name: values.numpy() for name, values in predicted.items()},
        {name: values.numpy() for name, values in found.items()},
        len(base_run.model.test_labels),
    )


def _measured(warehouse: Path, sweep_ids: Sequence[str]) -> tuple[list[int], dict[str, Floats]]:
    """The samples that have a GT under every seed, and what their attempts came to, (R, n)."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = connection.execute(MEASURED, {"sweep_ids": list(sweep_ids)}).fetchnumpy()
    columns = {name: np.ma.filled(column, np.nan) for name, column in found.items()}
    tables = {name: column.reshape(len(sweep_ids), -1) for name, column in columns.items()}
    whole = np.isfinite(tables["gt"]).all(axis=0)
    ids = tables.pop("sample_id")[0, whole].astype(int).tolist()
    tables.pop("seed")
    return ids, {name: table[:, whole].astype(np.float64) for name, table in tables.items()}
