"""Readings of SalUn at the paper's rate: the paper says that it often does not flip the sample.

Each row changes what the paper leaves open. `joint` is the mean over one batch of the sample and
the retain batch, in which the sample counts 1 of 65; `then` is a step on the sample and then one on
the retain batch, as public code has them. The second base model needs Debian's package of
Fashion-MNIST.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from tests.fashion_mnist import PACKAGED
from unlearning import datasets, training
from unlearning.algorithm import Forget, Loss, Retain, State, forget_loss, relabel_loss, retain_loss
from unlearning.algorithms.random_label import RandomLabel
from unlearning.algorithms.salun import SalUn
from unlearning.base_model import BaseModel, Model, logits
from unlearning.engine import unlearn
from unlearning.execution import by_device
from unlearning.outcome import Status
from unlearning.recipe import Recipe

SAMPLES, TRAINED_ON, TEST, BATCH, RATE = 40, 2000, 1000, 64, 1e-2
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd"},
    "sgd 0.9": {"optimizer": "sgd", "momentum": 0.9},
}
READINGS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("sum", "adam", "", {}),
    ("sum", "sgd", "", {}),
    ("sample", "adam", "", {}),
    ("then", "adam", "", {}),
    ("then", "sgd", "", {}),
    ("joint", "adam", "", {}),
    ("joint", "sgd", "", {}),
    ("joint", "sgd 0.9", "", {}),
    ("joint", "sgd 0.9", ", label anew", {"labels": "anew"}),
    ("joint", "sgd 0.9", ", mask 10%", {"mask_fraction": 0.1}),
    ("joint", "sgd 0.9", ", in last layer", {"scope": "last layer"}),
]
RECIPE = Recipe()
SMALLEST = {"SAMPLES": 1, "RECIPE": Recipe(epochs=1), "PACKAGED": Path("/nowhere")}


def on_sample(model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
    return relabel_loss(model, forget, state)


def on_retain(model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
    return retain_loss(model, retain)


LOSSES: Mapping[str, tuple[Loss, ...]] = {
    "sum": (RandomLabel().loss,),
    "sample": (on_sample,),
    "joint": (RandomLabel(combine="joint").loss,),
    "then": (on_sample, on_retain),
}


@dataclass(frozen=True, kw_only=True)
class Reading(SalUn):
    """SalUn with what is no option of it. The base model is the one that is looked at."""

    kind: ClassVar[str] = "sum"
    labels: ClassVar[str] = "once"
    scope: ClassVar[str] = "all"

    def losses(self, step: int) -> tuple[Loss, ...]:
        return tuple(functools.partial(self.on_labels, loss, step) for loss in LOSSES[self.kind])

    def on_labels(
        self, loss: Loss, step: int, model: Model, forget: Forget, retain: Retain, state: State
    ) -> Tensor:
        if self.labels == "anew":
            classes, random = forget.logits.shape[0], (forget.uniform * (1 + 997.13 * step)) % 1
            target = forget.label + 1 + (random * (classes - 1)).to(torch.int64)
            state = {"relabel_target": target % classes}
        return loss(model, forget, retain, state)

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        found = dict(super().prepare(model, forget, shared))
        if self.scope == "all":
            return found
        inside = list(model.params)[-2:]
        gradient = grad(lambda params: forget_loss(model.at(params), forget))(dict(model.params))
        flat = torch.cat([gradient[name].abs().flatten() for name in inside])
        left_out = flat.numel() - int(self.mask_fraction * flat.numel())
        threshold = torch.kthvalue(flat, left_out).values
        found["mask"] = {
            name: (g.abs() > threshold) & (name in inside) for name, g in gradient.items()
        }
        return found


def reading(kind: str, optimizer: str, more: dict[str, Any]) -> SalUn:
    own = {"kind": kind} | {name: more[name] for name in ("labels", "scope") if name in more}
    settings = {name: value for name, value in more.items() if name not in own}
    made = type("Reading", (Reading,), own)
    found = made(lr=RATE, retain_batch=BATCH, **OPTIMIZERS[optimizer], **settings)
    assert isinstance(found, SalUn)
    return found


def base_models(device: torch.device) -> Iterator[tuple[str, BaseModel]]:
    digits = datasets.load("digits")
    found = {"digits": (digits, RECIPE)}
    if PACKAGED.is_dir():
        source = datasets.Source(PACKAGED, train_samples=TRAINED_ON, test_samples=TEST)
        found["Fashion-MNIST"] = datasets.load("fashion-mnist", source), RECIPE
    for title, (dataset, recipe) in found.items():
        network = training.train(dataset, "small-cnn", recipe, device)
        yield title, BaseModel(network, dataset, device)


def row(base: BaseModel, algorithm: SalUn) -> str:
    right = (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1)
    order = np.random.default_rng(0).permutation(len(right))[:SAMPLES]
    outcome = unlearn(base, algorithm, right[torch.from_numpy(order)], 0, by_device(base.device))
    flips = outcome.status.count(Status.FLIPPED) / SAMPLES
    before = (base.test_logits.argmax(1) == base.test_labels).double().mean().item()
    states = [base.model.at(outcome.state_of(k)) for k in range(SAMPLES)]
    predicted = [logits(model, base.test_inputs).argmax(1) for model in states]
    after = torch.stack([each == base.test_labels for each in predicted]).double().mean().item()
    lost = 100 * (before - after)
    return f"{flips:9.0%} {outcome.steps.double().median():6.0f} {lost:12.1f}"


def main(device: str = "cpu") -> None:
    for title, base in base_models(torch.device(device)):
        print(f"\n{title}, {SAMPLES} samples")
        print(f"{'reading':34} flip rate  steps  points lost", flush=True)
        for kind, optimizer, what, more in READINGS:
            came_to = row(base, reading(kind, optimizer, more))
            print(f"{f'{kind}, {optimizer}{what}':34} {came_to}", flush=True)
