"""Checkpoint deltas: size and speed, each restored and compared bit for bit, `paper` rates.

digits: the default base model, 16 samples. ResNet-18: of small images, random ones, fitted until it
is sure of them; two samples, two steps.
"""

from __future__ import annotations

import dataclasses
import time

import torch

from unlearning import algorithms, datasets, presets, training
from unlearning.algorithm import Stepwise
from unlearning.base_model import BaseModel
from unlearning.checkpoints import decode, encode
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.recipe import Recipe

CPU = torch.device("cpu")
NAMES = ("ga", "neggrad", "scrub", "salun")


def measure(what: str, base: BaseModel, positions: torch.Tensor, steps: int) -> None:
    samples = len(positions)
    state = {name: t.contiguous() for name, t in base.network.state_dict().items()}
    size = sum(t.numel() * t.element_size() for t in state.values())
    for name in NAMES:
        algorithm = algorithms.get(name).from_text(presets.load("paper")[name])
        assert isinstance(algorithm, Stepwise)
        algorithm = dataclasses.replace(algorithm, max_steps=steps)
        results = unlearn(base, algorithm, positions, 0, Execution.SEQUENTIAL)
        written, encoding, decoding = 0, 0.0, 0.0
        for member in range(samples):
            result = state | results.state_of(member)
            started = time.perf_counter()
            delta = encode(state, result, base.weights_sha256)
            encoding += time.perf_counter() - started
            started = time.perf_counter()
            restored = decode(state, delta)
            decoding += time.perf_counter() - started
            assert all(torch.equal(restored[key], result[key]) for key in state)
            written += len(delta)
        whole = samples * size
        print(
            f"{what:9} {name:8} {size / 1e6:6.2f} MB to {written / samples / 1e6:6.3f} MB, "
            f"{whole / written:5.1f} times smaller, written {whole / encoding / 1e6:4.0f} MB/s, "
            f"restored {whole / decoding / 1e6:4.0f} MB/s, bit for bit",
            flush=True,
        )


def right(base: BaseModel) -> torch.Tensor:
    """Positions of the training samples that the base model gets right."""
    return (base.train_logits.argmax(dim=1) == base.train_labels).nonzero().squeeze(1)


def fitted_resnet18() -> BaseModel:
    """A ResNet-18 for 32x32 images, trained on random ones with random labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (80, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels, ids = torch.randint(0, 10, (80,), generator=generator), torch.arange(80)
    data = datasets.Dataset(
        name="random",
        train=datasets.Split.of(images, labels, ids[:64]),
        test=datasets.Split.of(images, labels, ids[64:]),
        classes=tuple("0123456789"),
        white=255,
    )
    recipe = Recipe(epochs=25, lr=1e-3, batch_size=16)
    base = BaseModel(training.train(data, "resnet18", recipe, CPU), data, CPU)
    sure = torch.softmax(base.train_logits, 1).gather(1, base.train_labels[:, None]).mean()
    print(f"ResNet-18 fitted: mean confidence {sure:.3f}", flush=True)
    return base


def main() -> None:
    digits = datasets.load("digits")
    trained = training.train(digits, "small-cnn", Recipe(), CPU)
    small = BaseModel(trained, digits, CPU)
    measure("digits", small, right(small)[:16], steps=20)
    base = fitted_resnet18()
    measure("ResNet-18", base, right(base)[:2], steps=2)
