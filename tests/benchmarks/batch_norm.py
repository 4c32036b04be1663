"""What frozen batch normalisation changes: GT of a ResNet-18 under frozen and batch statistics.

Common practice unlearns in training mode, so that the statistics of a batch of one image flow into
the network; ours are frozen. Needs Debian's package of Fashion-MNIST.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import scipy.stats
import torch

import factors
from factors.evaluation import evaluate
from factors.family import post_values
from tests.fashion_mnist import PACKAGED, unpack_fashion_mnist
from unlearning import algorithms, datasets, presets, training
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.outcome import Status
from unlearning.recipe import Recipe

SAMPLES, TRAINED_ON, TEST, REMAINING = 30, 2000, 500, 100
RECIPE = Recipe(epochs=4, lr=1e-3)
CPU = torch.device("cpu")
SMALLEST = {"SAMPLES": 2, "TRAINED_ON": 16, "TEST": 16, "REMAINING": 16}


def base_model() -> BaseModel:
    with tempfile.TemporaryDirectory() as folder:
        data = unpack_fashion_mnist(Path(folder))
        whole = datasets.load("fashion-mnist", datasets.Source(data, train_samples=TRAINED_ON))
    dataset = replace(whole, test=whole.test.draw(TEST))
    network = training.train(dataset, "resnet18", RECIPE, CPU)
    return BaseModel(network, dataset, CPU)


def attempts(base: BaseModel, statistics: str) -> tuple[dict[str, torch.Tensor], float]:
    """Factors of each member, and the share that flipped."""
    settings = presets.load("paper").get("ga", {}) | {"batch_norm": statistics}
    algorithm = algorithms.get("ga").from_text(settings)
    right = (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1)[:SAMPLES]
    found: dict[str, list[torch.Tensor]] = {}
    flips = 0
    for positions in right.split(5):
        unlearned = unlearn(base, algorithm, positions, 0, Execution.SEQUENTIAL)
        flips += unlearned.status.count(Status.FLIPPED)
        chunk = evaluate(base, positions, unlearned, base.some(REMAINING))
        for key, values in post_values(chunk, factors.families()).items():
            found.setdefault(key, []).append(values)
    return {key: torch.cat(values) for key, values in found.items()}, flips / len(right)


def main() -> None:
    if not PACKAGED.is_dir():
        print("needs Fashion-MNIST (Debian's package dataset-fashion-mnist)")
        return
    base = base_model()
    test = (base.test_logits.argmax(1) == base.test_labels).double().mean()
    print(f"ResNet-18, {SAMPLES} samples, test accuracy {test:.3f}, rates of the preset 'paper'")
    (frozen, a), (batch, b) = (attempts(base, how) for how in ("frozen", "batch"))
    both = ~(frozen["gt"].isnan() | batch["gt"].isnan())
    rho = scipy.stats.spearmanr(frozen["gt"][both], batch["gt"][both]).statistic
    print(
        f"ga: rho of GT between the two {rho:.2f} (n = {int(both.sum())}); flipped {a:.0%} frozen, "
        f"{b:.0%} batch; steps {frozen['steps'].nanmean():.1f}, {batch['steps'].nanmean():.1f}"
    )
