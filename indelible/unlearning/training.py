"""Train the base model: the network that is later asked to forget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from indelible.errors import UserError
from indelible.unlearning import models

if TYPE_CHECKING:
    from collections.abc import Callable

    from indelible.unlearning.datasets import Dataset


@dataclass(frozen=True)
class Recipe:
    """How a base model is trained: cross-entropy, with the rate on a half cosine down to zero."""

    epochs: int = 30
    lr: float = 2e-3
    batch_size: int = 64
    optimizer: str = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0 or self.seed < 0:
            raise UserError(
                f"epochs={self.epochs}, batch size={self.batch_size}, lr={self.lr}, "
                f"seed={self.seed}: the first three must be above zero, the seed at least zero"
            )
        if self.optimizer not in ("adam", "sgd"):
            raise UserError(f"unknown optimizer '{self.optimizer}': choose adam or sgd")

    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Adam, or SGD with Nesterov momentum 0.9."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.9, nesterov=True)


def train(
    dataset: Dataset,
    arch: str,
    recipe: Recipe,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> models.Classifier:
    """The trained network, in eval mode. `on_epoch` is told each epoch's mean training loss."""
    network = models.build(arch, dataset, recipe.seed).to(device).train()
    optimizer = recipe.make_optimizer(list(network.parameters()))
    images, labels = dataset.inputs(dataset.train).to(device), dataset.train.labels.to(device)
    batches = -(-len(labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        losses: list[Tensor] = []
        for batch in torch.randperm(len(labels), generator=shuffle).split(recipe.batch_size):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        on_epoch(torch.stack(losses).mean().item())
    return network.eval()
