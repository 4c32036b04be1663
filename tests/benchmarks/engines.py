"""Threads against a Ray cluster on the same cores: 4,000 digits, and chunks that take 10 s."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.scale import ALGORITHMS
from tracker.base import base_models
from tracker.base.base_models import BaseRun
from tracker.base.ray_engine import RayEngine
from tracker.base.training import Request, train
from tracker.base.workers import Clock, Engine, Stop, Threads
from tracker.store.opening import open_store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan
from tracker.sweep.retention import Retention
from unlearning.base_model import BaseModel
from unlearning.datasets import AS_IT_IS
from unlearning.execution import Execution
from unlearning.recipe import Recipe

CORES = 2
SAMPLES = 1000
LONG_S = 10.0  # a chunk of a slow model
CHUNKS = 6
WARM_S = 2.0  # until all that computes has begun
RECIPE = Recipe()
ENGINES = ("threads", "Ray, one node", "Ray, two nodes", "threads again")
SMALLEST = {
    **{"SAMPLES": 1, "LONG_S": 0.1, "CHUNKS": 1, "WARM_S": 0.1, "RECIPE": Recipe(epochs=1)},
    "ENGINES": ("threads", "Ray, two nodes"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = _base(Path(name) / "base")
        for what, engine in _engines():
            if what not in ENGINES:
                continue
            with engine as using:
                _warm(using, base.model)
                seconds, spent = _digits(Path(name) / what, base, using)
                said = ", ".join(f"{doing} {s:.0f}" for doing, s in spent.items())
                print(
                    f"{what:28} {len(ALGORITHMS) * SAMPLES} members: {seconds:.1f} s, "
                    f"{len(ALGORITHMS) * SAMPLES / seconds:.1f} members/s ({said})",
                    flush=True,
                )
                before = _of_ray()
                long = _long(using, base.model)
                ideal = LONG_S * CHUNKS / CORES
                print(
                    f"{what:28} chunks of {LONG_S:.0f} s: {long / ideal - 1:+.2%} of wall time; "
                    f"Ray's own processes took {(_of_ray() - before) / long / CORES:.2%} of the "
                    "cores",
                    flush=True,
                )


def _engines() -> Iterator[tuple[str, Any]]:
    yield "threads", _as_context(Threads(CORES))
    yield "Ray, one node", RayEngine("local", CORES)
    with _cluster() as address:
        yield "Ray, two nodes", RayEngine(address)
    yield "threads again", _as_context(Threads(CORES))


@contextmanager
def _as_context(engine: Engine) -> Iterator[Engine]:
    yield engine


@contextmanager
def _cluster() -> Iterator[str]:
    """A head without a slot, and a node a core, all on this machine."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(CORES):
        cluster.add_node(num_cpus=1)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _base(folder: Path) -> BaseRun:
    folder.mkdir()
    store, cpu = open_store(folder), torch.device("cpu")
    run_id = train(store, Request("digits", "small-cnn", RECIPE), AS_IT_IS, cpu)
    return base_models.load(store, run_id[0], cpu)


def _warm(engine: Engine, base: BaseModel) -> None:
    """Wait until all that computes has begun."""
    with engine.pool(base, Stop()) as pool:
        list(pool.map(_compute, iter([WARM_S] * 3 * CORES)))


def _compute(base: BaseModel, seconds: float) -> None:
    """Keep a core busy for so many seconds of its time."""
    ends, square = time.thread_time() + seconds, torch.rand(200, 200)
    while time.thread_time() < ends:
        square @ square


def _digits(folder: Path, base: BaseRun, engine: Engine) -> tuple[float, dict[str, float]]:
    """Seconds of a sweep in a copy of the store, and what the time of all went by with."""
    store = open_store(Path(shutil.copytree(folder.parent / "base", folder)))
    ids = base.model.dataset.train.ids[:SAMPLES].tolist()
    plan = Plan.on(base, configure(ALGORITHMS, "digits", []), ids, 0, "engines")
    options = Options(
        execution=Execution.STACKED, engine=engine, retention=Retention("none"), chunk=32
    )
    clock, started = Clock(), time.perf_counter()
    sweep.run(store, base, plan, options, Reporter(clock=clock))
    return time.perf_counter() - started, clock.taken()


def _of_ray() -> float:
    """CPU seconds of Ray's own processes here, actors left out, since they began."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"/ray/" in command and not command.startswith(b"ray::"):
                times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                ticks += sum(map(int, times))
    return ticks / os.sysconf("SC_CLK_TCK")


def _long(engine: Engine, base: BaseModel) -> float:
    """Seconds of a few chunks that take long."""
    started = time.perf_counter()
    with engine.pool(base, Stop()) as pool:
        list(pool.map(_compute, iter([LONG_S] * CHUNKS)))
    return time.perf_counter() - started
