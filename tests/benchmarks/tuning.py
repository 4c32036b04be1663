"""Do settings that `tune` finds hold on other samples? Beside the shipped presets, as a table.

Twenty samples that were not tried, of the base models of the digits and, where Debian's package is,
of 2,000 images of Fashion-MNIST: the share that flips, and points of test accuracy that are lost on
average; also what they came to where settings were looked for, and the seconds of wall and
processor time that this took.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from time import perf_counter, process_time

import torch

from tests.benchmarks.demo import run
from tests.fashion_mnist import PACKAGED, unpack_fashion_mnist
from tracker.base import base_models
from tracker.base.base_models import BaseRun
from tracker.base.workers import Stop
from tracker.store.opening import open_store
from tracker.studies.search import Found, tasks
from tracker.studies.tune import tune
from tracker.sweep.choosing import configure, draw_to_try
from tracker.sweep.trials import attempts
from unlearning.algorithm import Algorithm

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
SAMPLES, TRIALS, TRAIN = 20, 25, ("train",)
SMALLEST = {
    "SAMPLES": 2,
    "TRIALS": 1,
    "TRAIN": ("train", "--epochs", "1"),
    "ALGORITHMS": ("ga",),
    "PACKAGED": Path("/nowhere"),
}
FASHION = ("--dataset", "fashion-mnist", "--train-samples", "2000", "--test-samples", "1000")
COLUMNS = (
    "algorithm",
    "settings",
    "flips",
    "points lost",
    "where it was looked for",
    "wall s",
    "CPU s",
)


def came_to(base_run: BaseRun, algorithm: Algorithm, ids: list[int]) -> str:
    """The share that flips, and the points lost on average, of samples that were not tried."""
    found = attempts(base_run.model, ids, algorithm, 0, Stop())
    flips, lost = (fmean(a.flipped for a in found), fmean(a.points_lost for a in found))
    return f"{flips:.0%} | {lost:.2f}"


def rows(base_run: BaseRun, found: Found, ids: list[int], spent: str) -> Iterator[str]:
    """What was found for an algorithm, and the presets, on other samples."""
    name, best = found.task.name, found.best
    said = ", ".join(f"{n} {v}" for n, v in found.settings().items())
    where = f"{best.flip_rate:.0%}, {best.points_lost:.2f}"
    yield f"| {name} | tune: {said} | {came_to(base_run, best.algorithm, ids)} | {where} "
    yield f"| {spent} |\n"
    for preset in ("digits", "paper", None):
        (algorithm,) = configure([name], preset, ())
        here = found.shipped[preset or "defaults"]
        yield f"| | {preset or 'defaults'} | {came_to(base_run, algorithm, ids)} "
        yield f"| {here.flip_rate:.0%}, {here.points_lost:.2f} | | |\n"


def table(folder: Path, data_dir: Path) -> None:
    """Tune the latest base model of a store, and print a table."""
    store = open_store(folder)
    base_run = base_models.load(store, "latest", torch.device("cpu"), data_dir)
    drawn = draw_to_try(base_run.model, 2 * SAMPLES, SAMPLES, 0)
    tried, others = drawn[:SAMPLES], drawn[SAMPLES:]
    print(f"\n{base_run.dataset}, test accuracy {base_run.test_accuracy:.1%}\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    for name in ALGORITHMS:
        wall, cpu = perf_counter(), process_time()
        (found,) = tune(store, base_run, tasks([name], (), TRIALS), tried, 0).found
        spent = f"{perf_counter() - wall:.0f} | {process_time() - cpu:.0f}"
        print("".join(rows(base_run, found, others, spent)), end="", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder / "digits", *TRAIN)
        table(folder / "digits", folder)
        if PACKAGED.is_dir():
            data = unpack_fashion_mnist(folder / "data")
            run(folder / "fashion", "--data-dir", str(data), "train", *FASHION)
            table(folder / "fashion", data)
