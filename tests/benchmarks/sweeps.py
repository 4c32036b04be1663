"""Compute and store together, 500 members on digits, against two loops as people write them.

The baselines run on two torch threads; the sweep's two workers have one each. DeepFool, density and
the membership attack are in the sweep's time and not in the baselines'.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tests.benchmarks.baselines import careful, tutorial
from tracker.base import base_models, training
from tracker.base.workers import Clock
from tracker.store.opening import open_store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure, draw_samples
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan
from unlearning.datasets import AS_IT_IS
from unlearning.recipe import Recipe

MEMBERS, FEW, ROUNDS = 500, 20, 3  # FEW: members whose weights are logged as MLflow's models
RECIPE = Recipe()
FOUR = ("ga", "neggrad", "scrub", "salun")
COMPARED = {0: ("ga",), 10: FOUR}  # by the first seed
SMALLEST = {
    "MEMBERS": 4,
    "FEW": 1,
    "ROUNDS": 1,
    "RECIPE": Recipe(epochs=1),
    "COMPARED": {0: FOUR},
}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.sweep(FOUR, 99)  # warm
        for seed, names in COMPARED.items():
            bench.compare(names, seed)
        shares = bench.sweep(FOUR, 50).shares()
        print("  shares of the sweep: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))


class Bench:
    """A base model in a store, and the three ways to unlearn from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(folder / "ours")
        cpu = torch.device("cpu")
        run_id, _ = training.train(
            self.store, training.Request("digits", "small-cnn", RECIPE), AS_IT_IS, cpu
        )
        self.base = base_models.load(self.store, run_id, cpu)
        _ = self.base.model.train_logits, self.base.model.test_logits

    def sweep(self, names: tuple[str, ...], seed: int) -> Clock:
        ids = self.base.model.dataset.train.ids.tolist()
        samples = draw_samples(ids, MEMBERS // len(names), seed)
        chosen = configure(names, "digits", ())
        plan = Plan.on(self.base, chosen, samples, seed, f"bench {names} {seed}")
        reporter = Reporter()
        sweep.run(self.store, self.base, plan, Options(), reporter)
        return reporter.clock

    def compare(self, names: tuple[str, ...], seed: int) -> None:
        jobs = [(name, n) for name in names for n in range(MEMBERS // len(names))]
        few = jobs[:: MEMBERS // FEW]
        base, uri = self.base.model, f"sqlite:///{self.folder}/{{}}{seed}.db"
        rounds = [seconds(partial(self.sweep, names, seed + n)) for n in range(ROUNDS)]
        took = {
            "sweep": min(rounds) / len(jobs),
            "careful loop": seconds(lambda: careful(base, jobs, uri.format("c"))) / len(jobs),
            "tutorial loop": seconds(lambda: tutorial(base, jobs, uri.format("t"))) / len(jobs),
            f"with log_model ({FEW} members)": seconds(
                lambda: tutorial(base, few, uri.format("m"), as_model=True)
            )
            / len(few),
        }
        print(f"{'+'.join(names)}, {len(jobs)} members")
        for name, each in took.items():
            ratio = each / took["sweep"]
            print(
                f"  {name:28} {each * 1e3:7.1f} ms a member  {ratio:6.1f} times the sweep's",
                flush=True,
            )
