"""Does `advise` name the algorithm that does the least damage? 100 samples, all algorithms tried.

Beside it stand always taking the single algorithm that is best for these samples, and what nobody
knows beforehand: the best of all for each sample.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch

from tracker.base import base_models
from tracker.base.training import Request, train
from tracker.store.opening import open_store
from tracker.store.records import Finished
from tracker.studies.advise import Advice, Tried, advise
from tracker.studies.predict import predict
from tracker.sweep import sweep
from tracker.sweep.choosing import choose_samples, configure
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan
from tracker.sweep.retention import Retention
from tracker.sweep.trials import choose_presets
from unlearning.datasets import Source
from unlearning.outcome import Status
from unlearning.recipe import Recipe

ALGORITHMS = ("boundary_shrink", "ga", "neggrad", "random_label", "salun", "scrub")
SAMPLES, SEED = 100, 7
RECIPES = {"digits": Recipe(), "fashion-mnist": Recipe(epochs=8)}
MAX_LOSS = 1.0
SMALLEST = {
    "SAMPLES": 2,
    "RECIPES": {"digits": Recipe(epochs=1)},
    "ALGORITHMS": ("ga", "neggrad", "scrub"),
}


def main(dataset: str = "digits", data_dir: str = "data") -> None:
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        store = open_store(Path(name))
        train_samples = None if dataset == "digits" else 10_000
        source = Source(Path(data_dir), train_samples=train_samples)
        run_id, _ = train(store, Request(dataset, "small-cnn", RECIPES[dataset]), source, device)
        base = base_models.load(store, run_id, device, Path(data_dir))
        ids = choose_samples(base.model, [], SAMPLES, SEED, only_correct=True)
        chosen = configure(ALGORITHMS, choose_presets(store, base, ALGORITHMS, None, []), [])
        plan = Plan.on(base, chosen, ids, 0, "all", 1000 if train_samples else None)
        done: dict[str, Finished] = {}

        def attempt(part: Plan) -> Mapping[str, Finished]:
            keys = part.keys()
            return {key: member for key, member in done.items() if key in keys}

        options = Options(retention=Retention("none"))
        sweep.run(store, base, plan, options, Reporter(ended=done.update))
        prediction = predict(store, base, plan)
        tried = {
            (algorithm.name, sample): Tried.of(
                algorithm.name, done[plan.key(algorithm, sample)], base.test_accuracy
            )
            for algorithm in plan.algorithms
            for sample in ids
        }
        print("| way | least damage | flipped | points lost, mean | within a point | attempts |")
        print("| --- | --- | --- | --- | --- | --- |")
        best = [min((tried[a, s] for a in ALGORITHMS), key=lambda one: one.order) for s in ids]
        for count in (1, 2, 3):
            advised = advise(plan, prediction, base.test_accuracy, attempt, count, MAX_LOSS)
            attempts = fmean(len(one.tried) for one in advised)
            _print(f"`advise --tries {count}`", [_named(one) for one in advised], best, attempts)
            # Without going on where the limit is missed.
            advised = advise(plan, prediction, base.test_accuracy, attempt, count, 100.0)
            attempts = fmean(len(one.tried) for one in advised)
            _print(f"the {count} that look best", [_named(one) for one in advised], best, attempts)
        for name in ALGORITHMS:
            _print(f"always {name}", [tried[name, sample] for sample in ids], best, 1)
        _print("the best of all", best, best, len(ALGORITHMS))


def _named(advice: Advice) -> Tried:
    return advice.tried[0]


def _print(way: str, taken: Sequence[Tried], best: Sequence[Tried], attempts: float) -> None:
    """A row: how often it is as good as the best, and what it comes to."""
    pairs = zip(taken, best, strict=True)
    hits = sum(one.order[:2] == other.order[:2] for one, other in pairs)
    flipped = [one for one in taken if one.status == Status.FLIPPED]
    lost = fmean(one.points_lost for one in flipped) if flipped else float("nan")
    within = sum(one.points_lost <= MAX_LOSS for one in flipped)
    print(
        f"| {way} | {hits} | {len(flipped)} | {lost:.2f} | {within} | {attempts:.2f} |", flush=True
    )
