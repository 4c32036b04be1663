"""Train the base model, and many models on subsets of its data: leave-one-out, random parts."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearning import models
from unlearning.errors import UserError
from unlearning.execution import Execution, Stopped, gradients, stacked_copies
from unlearning.losses import cross_entropy, log_prob
from unlearning.subsets import Parts, Subsets

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearning.datasets import Dataset

SEEDS = 2**63  # from 0


@dataclass(frozen=True)
class Recipe:
    """How a base model is trained, on cross-entropy; the learning rate falls as a half cosine."""

    epochs: int = 30
    lr: float = 2e-3
    batch_size: int = 64
    optimizer: str = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one = min(self.epochs, self.batch_size) >= 1
        if not at_least_one or not 0 < self.lr < math.inf or not 0 <= self.seed < SEEDS:
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

    def with_seed(self, further: int) -> Recipe:
        """The same recipe with `further` added to its seed; after the largest seed comes 0."""
        return dataclasses.replace(self, seed=(self.seed + further) % SEEDS)

    def batches(self, size: int) -> Iterator[list[Tensor]]:
        """The batches of each epoch: positions below `size`, shuffled by the seed."""
        shuffle = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            yield list(torch.randperm(size, generator=shuffle).split(self.batch_size))

    def schedule(
        self, optimizer: torch.optim.Optimizer, size: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate after each batch, for epochs of `size` samples."""
        steps = self.epochs * -(-size // self.batch_size)
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def train(
    dataset: Dataset,
    arch: str,
    recipe: Recipe,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> nn.Module:
    """Train a network; it is returned in eval mode.

    Args:
        on_epoch: called with the mean training loss of each epoch.

    Raises UserError when the loss is no longer finite.
    """
    network = models.build(arch, dataset, recipe.seed).to(device)
    images, labels = dataset.inputs(dataset.train).to(device), dataset.train.labels.to(device)
    everything = Parts(torch.arange(len(labels))[None])
    _fit(network, images, labels, everything, recipe, on_epoch=on_epoch)
    return network


def train_on(
    subsets: Subsets,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    execution: Execution,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor]:
    """Train K copies of a freshly initialised network, each on its subset of the data.

    Two kinds are trained one by one whatever `execution` says: networks with buffers, because the
    running statistics of batch normalisation cannot be stacked, and networks that may have no
    sample in a batch, because they take no step then while others do.

    Args:
        images: (N, C, H, W). labels: (N,).
        stop: asked before each step, whether to stop.

    Returns: parameters and buffers by name, (K, ...) each. Raises Stopped when `stop` says so, and
    UserError when a loss is no longer finite and networks are trained one by one.
    """
    alone = bool(list(network.buffers())) or subsets.may_be_empty(recipe.batch_size)
    if execution is Execution.STACKED and len(subsets) > 1 and not alone:
        return _fit_stacked(network, images, labels, subsets, recipe, stop)
    states = []
    for k in range(len(subsets)):
        trained = copy.deepcopy(network)
        _fit(trained, images, labels, subsets.of(k), recipe, stop)
        everything = dict(trained.named_parameters()) | dict(trained.named_buffers())
        states.append({name: t.detach() for name, t in everything.items()})
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    subset: Subsets,
    recipe: Recipe,
    stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train one network in place on its subset; it is in eval mode afterwards."""
    network.train()
    optimizer = recipe.make_optimizer(list(network.parameters()))
    schedule = recipe.schedule(optimizer, subset.size)
    for epoch in recipe.batches(subset.size):
        losses: list[Tensor] = []
        for batch in epoch:
            if stop():
                raise Stopped
            positions, counted = subset.batch(batch)
            at = positions[counted].to(labels.device)
            optimizer.zero_grad()
            if len(at):
                seen = images[at].contiguous()  # the memory format changes how sums are rounded
                loss = cross_entropy(network(seen), labels[at])
                loss.backward()
                losses.append(loss.detach())
            optimizer.step()  # without gradients it changes nothing
            schedule.step()
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
    subsets: Subsets,
    recipe: Recipe,
    stop: Callable[[], bool],
) -> dict[str, Tensor]:
    """Train K copies of a network at once, by vmap over their stacked parameters."""

    def loss(params: dict[str, Tensor], images: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        logits = functional_call(network, params, (images,))
        return -(log_prob(logits, labels) * counted).sum() / counted.sum()

    gradient_of = gradients(loss, Execution.STACKED)
    network.train()
    params = {
        name: stacked_copies(p.detach(), len(subsets)).requires_grad_()
        for name, p in network.named_parameters()
    }
    optimizer = recipe.make_optimizer(list(params.values()))
    schedule = recipe.schedule(optimizer, subsets.size)
    for epoch in recipe.batches(subsets.size):
        for batch in epoch:
            if stop():
                raise Stopped
            at, counted = (part.to(labels.device) for part in subsets.batch(batch))
            for name, gradient in gradient_of(params, images[at], labels[at], counted).items():
                params[name].grad = gradient
            optimizer.step()
            schedule.step()
    return {name: p.detach() for name, p in params.items()}
