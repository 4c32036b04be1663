"""How the `digits` preset was found: a grid an algorithm, judged by flips and test accuracy alone.

Of the settings that flip at least 98% of the samples under every base model, the one that leaves
the highest mean test accuracy. No factor and no correlation is looked at.

    python -m tests.benchmarks.presets [ga neggrad ...]
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import torch

from unlearning import algorithms, datasets, training
from unlearning.base_model import BaseModel, logits
from unlearning.engine import unlearn
from unlearning.outcome import Status
from unlearning.recipe import Recipe

SAMPLES, BASE_SEEDS, ENOUGH, EPOCHS = 100, (0, 1), 0.98, Recipe().epochs


def settings(**grid: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


GRIDS = {
    "ga": settings(optimizer=("adam",), lr=(2e-4, 3e-4, 5e-4, 1e-3))
    + settings(optimizer=("sgd",), lr=(1e-3, 1e-2, 1e-1)),
    "neggrad": settings(optimizer=("adam",), lr=(5e-4, 1e-3), alpha=(0.002, 0.005, 0.05, 0.5))
    + settings(optimizer=("sgd",), lr=(0.03, 0.1), alpha=(0.05, 0.95)),
    "scrub": settings(
        optimizer=("sgd",),
        temperature=(4.0, 8.0),
        alpha=(0.3, 0.5, 1.0),
        lr=(4e-3, 6e-3, 8e-3, 1e-2),
    )
    + settings(optimizer=("adam",), lr=(1e-3,), temperature=(4.0, 8.0)),
    "salun": settings(optimizer=("adam",), lr=(3e-4, 5e-4, 1e-3, 3e-3))
    + settings(optimizer=("sgd",), lr=(3e-4, 1e-3, 3e-3)),
    "random_label": settings(optimizer=("adam",), lr=(1e-4, 2e-4, 3e-4, 5e-4, 1e-3))
    + settings(optimizer=("sgd",), lr=(3e-4, 1e-3, 3e-3, 1e-2)),
    "boundary_shrink": settings(optimizer=("adam",), lr=(1e-4, 2e-4, 3e-4, 5e-4, 1e-3))
    + settings(optimizer=("sgd",), lr=(1e-3, 3e-3, 1e-2, 3e-2)),
    "influence": settings(layers=("last", "all"), damping=(1e-4, 1e-3, 1e-2, 0.1, 1.0)),
    "ssd": settings(alpha=(1.0, 2.0, 5.0, 10.0, 30.0, 100.0), dampening=(0.1, 0.5, 1.0)),
}
SMALLEST = {"SAMPLES": 2, "BASE_SEEDS": (0,), "EPOCHS": 1, "GRIDS": {"ga": GRIDS["ga"][:1]}}


def judge(base: BaseModel, name: str, setting: dict[str, Any]) -> tuple[float, float]:
    """Share of samples that flip, and mean test accuracy after unlearning."""
    algorithm = algorithms.get(name)(**setting)
    order = np.random.default_rng(0).permutation(len(base.train_labels))[:SAMPLES]
    flips, accuracies = [], []
    for positions in torch.from_numpy(order).split(32):
        outcome = unlearn(base, algorithm, positions, seed=0)
        for member, status in enumerate(outcome.status):
            if status is not Status.ALREADY_WRONG:
                test = logits(base.model.at(outcome.state_of(member)), base.test_inputs)
                flips.append(status is Status.FLIPPED)
                accuracies.append((test.argmax(1) == base.test_labels).double().mean().item())
    return float(np.mean(flips)), float(np.mean(accuracies))


def main(*names: str) -> None:
    cpu, digits = torch.device("cpu"), datasets.load("digits")
    recipes = [Recipe(seed=seed, epochs=EPOCHS) for seed in BASE_SEEDS]
    bases = [
        BaseModel(training.train(digits, "small-cnn", recipe, cpu), digits, cpu)
        for recipe in recipes
    ]
    for name in names or GRIDS:
        rows = []
        for setting in GRIDS[name]:
            flips, accuracies = zip(*(judge(base, name, setting) for base in bases), strict=True)
            rows.append((min(flips) >= ENOUGH, float(np.mean(accuracies)), min(flips), setting))
            print(f"{name:8} flip {min(flips):.2f} accuracy {rows[-1][1]:.3f}  {setting}")
        enough, accuracy, flip, setting = max(rows, key=lambda row: row[:2])
        verdict = f"flip {flip:.2f}, accuracy {accuracy:.3f}" if enough else "none flips enough"
        print(f"{name:8} chosen: {setting} ({verdict})", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
