"""What float32 does to numbers and ranks: every algorithm and factor, against the same in float64.

Three base models: the demo's, on random samples; one trained until it is sure, on samples with
margins above 16; and one of Fashion-MNIST, likewise. Runs on Fashion-MNIST where Debian's package
of it is installed.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from torch import Tensor

import factors
from factors.evaluation import evaluate
from factors.family import post_values, pre_values
from tests.fashion_mnist import PACKAGED, unpack_fashion_mnist
from unlearning import algorithms, datasets, presets, training
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset
from unlearning.engine import unlearn
from unlearning.recipe import Recipe

CPU = torch.device("cpu")
RETRAINED = 10  # samples of `retrain`, each a whole training
SKIPPED = {"elapsed_s"}
ALGORITHMS = tuple(algorithms.names())
SURE = replace(Recipe(), epochs=150)
# Recipe, samples, and the margin above which they are drawn.
DIGITS = {"digits": (Recipe(), 200, 0.0), "digits, 150 epochs": (SURE, 50, 16.0)}
SMALLEST = {
    "DIGITS": {"digits": (Recipe(epochs=1), 2, 0.0)},
    "PACKAGED": Path("/nowhere"),
    "ALGORITHMS": ("ga",),
}


@dataclass(frozen=True)
class Setup:
    """A base model in both precisions, and the samples to unlearn."""

    title: str
    single: BaseModel
    double: BaseModel
    positions: Tensor
    remaining: int | None

    @classmethod
    def trained(
        cls,
        title: str,
        dataset: Dataset,
        recipe: Recipe,
        samples: int,
        above: float,
        remaining: int | None = None,
    ) -> Setup:
        """Samples drawn among those that are right with a margin above so much."""
        network = training.train(dataset, "small-cnn", recipe, CPU)
        origin = Origin("small-cnn", recipe)
        single = BaseModel(network, dataset, CPU, origin)
        double = BaseModel(copy.deepcopy(network).double(), dataset, CPU, origin)
        families = [f for f in factors.families() if "margin" in {c.name for c in f.columns}]
        every = torch.arange(len(single.train_labels))
        margins = pre_values(single, families, every)["margin"]
        fit = (margins > above).nonzero().squeeze(1)
        order = np.random.default_rng(0).permutation(len(fit))[:samples]
        at = fit[torch.from_numpy(np.sort(order))]
        said = f"{title}: {len(at)} samples, margins {margins[at].min():.1f} to"
        return cls(f"{said} {margins[at].max():.1f}", single, double, at, remaining)


def setups() -> Iterator[Setup]:
    for title, given in DIGITS.items():
        yield Setup.trained(title, datasets.load("digits"), *given)
    if not PACKAGED.is_dir():
        return
    with tempfile.TemporaryDirectory() as folder:
        data = unpack_fashion_mnist(Path(folder))
        source = datasets.Source(data, train_samples=5000)
        fashion = datasets.load("fashion-mnist", source)
    fashion = replace(fashion, test=fashion.test.draw(1000))
    yield Setup.trained(
        "Fashion-MNIST, 5,000 training samples", fashion, replace(SURE, epochs=40), 50, 16, 500
    )


def attempts(base: BaseModel, setup: Setup, name: str) -> tuple[dict[str, Tensor], list[str]]:
    algorithm = algorithms.get(name).from_text(presets.load("digits").get(name, {}))
    chosen = setup.positions[:RETRAINED] if name == "retrain" else setup.positions
    found: dict[str, list[Tensor]] = {}
    statuses: list[str] = []
    for positions in chosen.split(25):
        unlearned = unlearn(base, algorithm, positions, 0)
        chunk = evaluate(base, positions, unlearned, base.some(setup.remaining))
        statuses += map(str, unlearned.status)
        for key, values in post_values(chunk, factors.families()).items():
            found.setdefault(key, []).append(values)
    return {key: torch.cat(values) for key, values in found.items()}, statuses


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, float]:
    """Each factor's worst relative difference; to its spread, if larger, where signs differ."""
    found = {}
    for key in a.keys() - SKIPPED:
        one, other = a[key], b[key]
        both = ~(one.isnan() | other.isnan())
        if both.sum() > 1:
            one, other = one[both], other[both]
            size = torch.maximum(one.abs(), other.abs())
            if (other < 0).any() and (other > 0).any():
                size = size.clamp(min=float(other.std()))
            found[key] = float(((one - other).abs() / size.clamp(min=1e-300)).max())
    return found


def rho(a: Tensor, b: Tensor) -> float:
    if a.min() == a.max() or b.min() == b.max():
        return 1.0 if torch.equal(a, b) else float("nan")
    return float(scipy.stats.spearmanr(a, b).statistic)


def line(setup: Setup, name: str) -> str:
    (a, status), (b, other) = (attempts(base, setup, name) for base in (setup.single, setup.double))
    defined = ~(a["gt"].isnan() | b["gt"].isnan())
    one, two = a["gt"][defined], b["gt"][defined]
    top = max(1, round(len(one) / 10))
    hardest = [set(np.argsort(part.numpy(), kind="stable")[:top].tolist()) for part in (one, two)]
    differences = apart(a, b)
    worst = max(differences, key=differences.__getitem__)
    steps = int((a["steps"] != b["steps"]).sum())
    statuses = sum(x != y for x, y in zip(status, other, strict=True))
    return (
        f"{name:15} {steps:5} {statuses:8} {rho(one, two):13.7f} "
        f"{len(hardest[0] & hardest[1]):4} of {top:<3} {worst} {differences[worst]:.1e}"
    )


def main() -> None:
    for setup in setups():
        print(f"\n{setup.title}")
        known = [
            pre_values(base, factors.families(), setup.positions)
            for base in (setup.single, setup.double)
        ]
        said = ", ".join(f"{n} {d:.1e}" for n, d in sorted(apart(known[0], known[1]).items()))
        print(f"factors before unlearning, worst difference: {said}")
        print("algorithm       steps statuses  rho of GTs    hardest    worst factor", flush=True)
        for name in ALGORITHMS:
            if name != "retrain" or setup.remaining is None:  # else it takes an hour
                print(line(setup, name), flush=True)
