"""100,000 child runs of made-up values through the real writers, and what then reads them.

`scale[1000]` is as many as that, `scale[100000,postgres]` the same in PostgreSQL.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from tests.benchmarks.demo import run
from tests.postgres import server
from tracker.base import base_models
from tracker.base.base_models import BaseRun
from tracker.base.training import Request, train
from tracker.base.workers import THREADS, Clock, Pool, Stop
from tracker.store import views
from tracker.store.opening import open_store
from tracker.store.records import READ, Record
from tracker.store.write import Store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure
from tracker.sweep.chunks import ChunkRunner
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan
from tracker.sweep.retention import Retention
from unlearning.base_model import BaseModel
from unlearning.datasets import AS_IT_IS
from unlearning.execution import Execution
from unlearning.recipe import Recipe

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
TEMPLATES = 32  # real members of each algorithm that the others are like
TEST = 500  # test samples
PATIENCE_S = 120.0  # for MLflow's own search
SEARCH = """
import sys, time, mlflow
client, start = mlflow.MlflowClient(sys.argv[1]), time.perf_counter()
for what in ("first page", "again"):
    start = time.perf_counter()
    found = client.search_runs([sys.argv[2]], sys.argv[3], max_results=100, order_by=[sys.argv[4]])
    print(f"{what} of {len(found)} runs in {time.perf_counter() - start:.2f} s", end="; ")
"""
PARTS = 10  # of the sweep whose rates are told
SMALLEST: dict[str, object] = {}
WORDS = [("40",)]


@dataclass
class Canned:
    """An engine whose members are like a few that were computed.

    Attributes:
        times: when each member was handed over.
    """

    templates: dict[str, list[Record]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)

    def count(self, base: BaseModel) -> int:
        return 1

    def room(self, base: BaseModel) -> float:
        return THREADS.room(base)

    @contextmanager
    def pool(self, base: BaseModel, stop: Stop, most: int | None = None) -> Iterator[Pool]:
        yield Pool(1, self._map)

    def _map(
        self, compute: Callable[..., Any], work: Iterable[Any], clock: Clock | None = None
    ) -> Iterator[tuple[Any, Any]]:
        runner: ChunkRunner = compute.__self__  # type: ignore[attr-defined]
        templates, times = self.templates, self.times
        for algorithm, samples in work:
            if algorithm.name not in templates:
                first = list(runner.plan.sample_ids[:TEMPLATES])
                templates[algorithm.name] = runner.records(runner.base, (algorithm, first))
            own = templates[algorithm.name]
            keys = [runner.plan.key(algorithm, sample) for sample in samples]
            names = [f"{algorithm.name}-{sample:05d}" for sample in samples]
            tags = [{"key": k, "sample_id": str(s)} for k, s in zip(keys, samples, strict=True)]
            like = [own[sample % TEMPLATES] for sample in samples]
            yield (algorithm, samples), list(map(_like, like, names, tags))
            times += [time.perf_counter()] * len(samples)


def _like(template: Record, name: str, tags: dict[str, str]) -> Record:
    """A member like one that was computed, with values of its own, from which its GT follows."""
    chance = random.Random(name)
    metrics = {n: value * chance.uniform(0.5, 1.0) for n, value in template.metrics.items()}
    if metrics.get("gt"):
        u, f = 1 - metrics[READ["test_prob_diff"]], metrics[READ["forget_prob_diff"]]
        metrics["gt"] = u / TEST * f / (u / TEST + f)
    return replace(template, name=name, tags={**template.tags, **tags}, metrics=metrics)


def main(size: str = "100000", database: str = "") -> None:
    """Args: size: of the sweep, in members."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder / "postgres") if database else nullcontext(None) as uri:
            where = folder / "store", [] if uri is None else ["--tracking-uri", uri]
            store = open_store(where[0], uri)
            sweep_id = swept(store, made_up(store, folder, -(-int(size) // len(ALGORITHMS))))
            _read(*where)
            _searched(*where, sweep_id)


def made_up(store: Store, folder: Path, samples: int) -> BaseRun:
    """A network that has seen as many samples as that, which are small images of ten classes."""
    numbers = np.random.default_rng(0)
    classes, labels = numbers.uniform(0, 255, (10, 8, 8)), np.arange(samples + TEST) % 10
    noise = numbers.uniform(0, 255, (samples + TEST, 8, 8))
    images = (0.7 * classes[labels] + 0.3 * noise).astype("u1")
    np.savez(
        folder / "data.npz",
        images=images[:samples],
        labels=labels[:samples],
        test_images=images[-TEST:],
        test_labels=labels[-TEST:],
    )
    cpu, data = torch.device("cpu"), f"npz:{folder / 'data.npz'}"
    request = Request(data, "small-cnn", Recipe(epochs=2))
    run_id, *_ = train(store, request, AS_IT_IS, cpu)
    return base_models.load(store, run_id, cpu)


def swept(store: Store, base: BaseRun, checkpoints: str = "none") -> str:
    """Write the sweep, and call it again; its id."""
    ids = base.model.dataset.train.ids.tolist()
    algorithms = configure(ALGORITHMS, "digits", [])
    plan = Plan.on(base, algorithms, ids, 0, "synthetic", remaining_count=100)
    canned = Canned()
    options = Options(
        execution=Execution.STACKED,
        engine=canned,
        retention=Retention(checkpoints),
        chunk=TEMPLATES,
    )
    reporter, sweep_id = Reporter(), ""
    names = [c.name for family in plan.families if family.phase == "pre" for c in family.columns]
    zeros = {name: torch.zeros(len(ids), dtype=torch.float64) for name in names}
    for what in ("written", "called again"):
        started = time.perf_counter()
        with patch.object(sweep, "pre_factors", lambda *_: zeros):
            sweep_id = sweep.run(store, base, plan, options, reporter)
        seconds = time.perf_counter() - started
        print(f"{plan.size} members {what}: {seconds:.1f} s, {plan.size / seconds:.0f} a second")
    if plan.size >= PARTS * len(ALGORITHMS) * TEMPLATES:  # else a tenth is handed over at once
        rates = [len(part) / (part[-1] - part[0]) for part in np.array_split(canned.times, PARTS)]
        print(f"a second, in tenths: {', '.join(f'{rate:.0f}' for rate in rates)}", flush=True)
    return sweep_id


def _read(folder: Path, address: list[str]) -> None:
    """What every command that reads takes, in a process of its own."""
    reading = ("sweeps", "models", "correlate", "rank", "report", "check")
    for what in ("load --help", "load", "load", *reading):
        seconds, memory = run(folder, *address, *what.split())
        print(f"{what:12} {seconds:6.2f} s, {memory:5.0f} MB", flush=True)


def _searched(folder: Path, address: list[str], sweep_id: str) -> None:
    """What MLflow's own search takes for the page that our links open."""
    store = open_store(folder, address[1] if address else None)
    parent = store.run(sweep_id)
    tags = store.client.get_experiment(parent.experiment_id).tags
    view = json.loads(tags[f"{views.SHARED}{sweep_id}"])
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    asked = [store.address.uri, parent.experiment_id, view["searchFilter"], order]
    try:
        answer = subprocess.run(
            [sys.executable, "-c", SEARCH, *asked],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        print(f"MLflow, the page of our links: {answer.stdout.decode().strip()}", flush=True)
    except subprocess.TimeoutExpired:
        print(f"MLflow, the page of our links: no answer after {PATIENCE_S:.0f} s", flush=True)
