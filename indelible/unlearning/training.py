"""Train the base model, and many models on parts of its data: leave-one-out, random subsets."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from indelible.errors import UserError
from indelible.unlearning import models
from indelible.unlearning.execution import Execution, Stopped, gradients, stacked_copies
from indelible.unlearning.losses import cross_entropy

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
        at_least_one = min(self.epochs, self.batch_size) >= 1
        if not at_least_one or not 0 < self.lr < math.inf or not 0 <= self.seed < 2**63:
            raise UserError(
                f"epochs={self.epochs}, batch size={self.batch_size}, lr={self.lr}, "
                f"seed={self.seed}: the first three must be above zero and finite, the seed at "
                "least zero and below 2^63"
            )
        if self.optimizer not in ("adam", "sgd"):
            raise UserError(f"unknown optimizer '{self.optimizer}': choose adam or sgd")

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Adam, or SGD with Nesterov momentum 0.9."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.9, nesterov=True)

    def batches(self, size: int) -> Iterator[list[Tensor]]:
        """The batches of each epoch: positions among `size` samples, shuffled by the seed."""
        shuffle = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            yield list(torch.randperm(size, generator=shuffle).split(self.batch_size))

    def schedule(
        self, optimizer: torch.optim.Optimizer, size: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The rate's way down, a step a batch of `size` samples."""
        steps = self.epochs * -(-size // self.batch_size)
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def train(
    dataset: Dataset,
    arch: str,
    recipe: Recipe,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> nn.Module:
    """The trained network, in eval mode. `on_epoch` is told each epoch's mean training loss."""
    network = models.build(arch, dataset, recipe.seed).to(device)
    images, labels = dataset.inputs(dataset.train).to(device), dataset.train.labels.to(device)
    _fit(network, images, labels, torch.arange(len(labels)), recipe, on_epoch=on_epoch)
    return network


def train_on_parts(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    parts: Tensor,
    recipe: Recipe,
    execution: Execution,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor]:
    """Train K copies of a freshly initialised network, each on its part of the data.

    Networks with buffers are trained one by one whatever `execution` says: the statistics that
    batch normalisation keeps are not for stacking.

    Args:
        images: (N, C, H, W). labels: (N,). parts: (K, S), the positions that each may see, in the
            order of which the recipe's batches are drawn.

    Returns: parameters and buffers by name, stacked (K, ...). Raises Stopped between two steps when
    `stop` says so.
    """
    if execution is Execution.STACKED and len(parts) > 1 and not list(network.buffers()):
        return _fit_stacked(network, images, labels, parts, recipe, stop)
    states = []
    for part in parts:
        trained = copy.deepcopy(network)
        _fit(trained, images, labels, part, recipe, stop)
        everything = dict(trained.named_parameters()) | dict(trained.named_buffers())
        states.append({name: t.detach() for name, t in everything.items()})
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    part: Tensor,
    recipe: Recipe,
    stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train in place on the samples at the positions `part` (S,); leaves the network in eval."""
    network.train()
    part = part.to(labels.device)
    optimizer = recipe.make_optimizer(list(network.parameters()))
    schedule = recipe.schedule(optimizer, len(part))
    for epoch in recipe.batches(len(part)):
        losses: list[Tensor] = []
        for batch in epoch:
            if stop():
                raise Stopped
            at = part[batch.to(part.device)]
            loss = cross_entropy(network(images[at]), labels[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise UserError(
                f"training left the finite numbers with lr={recipe.lr:g} (loss {mean}): give a "
                "smaller --lr"
            )
        on_epoch(mean)
    network.eval()


def _fit_stacked(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    parts: Tensor,
    recipe: Recipe,
    stop: Callable[[], bool],
) -> dict[str, Tensor]:
    """The same for K parts at once, by vmap over stacked parameters."""

    def loss(params: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(functional_call(network, params, (images,)), labels)

    find = gradients(loss, Execution.STACKED)
    network.train()
    parts = parts.to(labels.device)
    params = {
        name: stacked_copies(p.detach(), len(parts)).requires_grad_()
        for name, p in network.named_parameters()
    }
    optimizer = recipe.make_optimizer(list(params.values()))
    schedule = recipe.schedule(optimizer, parts.shape[1])
    for epoch in recipe.batches(parts.shape[1]):
        for batch in epoch:
            if stop():
                raise Stopped
            at = parts[:, batch.to(parts.device)]
            found = find(params, images[at], labels[at])
            for name, p in params.items():
                p.grad = found[name]
            optimizer.step()
            schedule.step()
    return {name: p.detach() for name, p in params.items()}
