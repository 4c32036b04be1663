"""Training with and without a record of how each sample is learned, side by side.

The two take turns; the seconds are the best of all rounds, the ratio is the median of the rounds'.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import torch

from unlearning import datasets, training
from unlearning.learning import Recorder
from unlearning.recipe import Recipe

CPU = torch.device("cpu")
DEVICES = [CPU, torch.device("cuda")] if torch.cuda.is_available() else [CPU]
CASES = (
    ("mlp", Recipe(epochs=10), 1000, 16),
    ("small-cnn", Recipe(epochs=10), 1000, 16),
    ("resnet18", Recipe(epochs=2), 256, 10),
)


def seconds(
    dataset: datasets.Dataset, arch: str, recipe: Recipe, device: torch.device, follow: bool
) -> float:
    started = time.perf_counter()
    training.train(dataset, arch, recipe, device, recorder=Recorder() if follow else None)
    return time.perf_counter() - started


def main() -> None:
    for device in DEVICES:
        for arch, recipe, samples, rounds in CASES:
            dataset = datasets.load("digits", datasets.Source(train_samples=samples))
            seconds(dataset, arch, replace(recipe, epochs=1), device, True)
            plain, followed = list[float](), list[float]()
            for turn in range(rounds):
                for follow in (turn % 2 == 0, turn % 2 == 1):
                    taken = seconds(dataset, arch, recipe, device, follow)
                    (followed if follow else plain).append(taken)
            ratio = median(b / a for a, b in zip(plain, followed, strict=True))
            print(
                f"{arch} on {device.type}, {samples} samples, {recipe.epochs} epochs: "
                f"{min(plain):.2f} s without, {min(followed):.2f} s with; ratio {ratio:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
