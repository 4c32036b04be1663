"""Train the base model, and many models on subsets of its data: leave-one-out, random parts.

A recorder sees how each training sample is learned: its loss and margin in every epoch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearning import models
from unlearning.dataset import Dataset
from unlearning.errors import Stopped, UserError
from unlearning.execution import make_ready
from unlearning.losses import cross_entropy, log_prob, margin
from unlearning.recipe import Recipe


@dataclass(frozen=True)
class Subsets:
    """The data that each of K networks is trained on.

    Attributes:
        positions: (K, S), the samples of each, from which batches are drawn.
        left_out: (K, M), positions of samples that do not count in these batches; None for none.
    """

    positions: Tensor
    left_out: Tensor | None = None


def all_but(left_out: Tensor, size: int) -> Subsets:
    """All of the data but one sample or several, in the same batches as with them.

    Args:
        left_out: (K,) or (K, M), the positions of the samples that each network does not see.
        size: the number of samples in the data.
    """
    everything = torch.arange(size).expand(len(left_out), -1)
    return Subsets(everything, left_out.reshape(len(left_out), -1))


@dataclass(frozen=True)
class Learning:
    """What training saw of each sample, as its turn came in each epoch, before the step.

    Attributes:
        losses: cross-entropy of the sample in nats, (epochs, training samples) float32.
        margins: logit of the label minus the highest other, (epochs, training samples) float32.
    """

    losses: Tensor
    margins: Tensor


class Recorder:
    """Follows the training samples through a training; nothing that it does changes the weights.

    It looks at the logits that training computes anyway, all those of an epoch together, so that a
    step costs next to nothing.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._epochs: list[tuple[Tensor, Tensor]] = []

    def see(self, positions: Tensor, logits: Tensor) -> None:
        """Remember the logits (B, classes) of the training samples at `positions` (B,)."""
        self._seen.append((positions, logits.detach()))

    def end_epoch(self, labels: Tensor) -> None:
        """Compute the losses and margins of an epoch, in which each sample was seen once.

        Args:
            labels: of all training samples, (N,).
        """
        positions, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        logits = torch.empty_like(logits).index_copy(0, positions, logits)
        self._epochs.append(
            (-log_prob(logits, labels).float().cpu(), margin(logits, labels).float().cpu())
        )

    @property
    def learning(self) -> Learning:
        """What was recorded in the epochs that have ended."""
        return Learning(*map(torch.stack, zip(*self._epochs, strict=True)))


def train(
    dataset: Dataset,
    arch: str,
    recipe: Recipe,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
    recorder: Recorder | None = None,
) -> nn.Module:
    """Train a network; it is returned in eval mode.

    Args:
        on_epoch: called with the mean training loss of each epoch.
        recorder: follows the training samples; it changes nothing of what comes out.

    Raises UserError when the loss is no longer finite.
    """
    make_ready(device)
    network = models.build(arch, dataset, recipe.seed).to(device)
    images, labels = dataset.inputs(dataset.train).to(device), dataset.train.labels.to(device)
    everything = torch.arange(len(labels))
    data = (images, labels, everything, everything[:0])
    _fit(network, *data, recipe, on_epoch=on_epoch, recorder=recorder)
    return network


def train_on(
    subsets: Subsets,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor]:
    """Train K copies of a freshly initialised network, each on its subset of the data.

    Args:
        images: (N, C, H, W). labels: (N,).
        stop: asked before each step, whether to stop.

    Returns: parameters and buffers by name, (K, ...) each. Raises Stopped when `stop` says so, and
    UserError when a loss is no longer finite.
    """
    states = []
    for k, positions in enumerate(subsets.positions):
        trained = copy.deepcopy(network)
        left_out = positions[:0] if subsets.left_out is None else subsets.left_out[k]
        _fit(trained, images, labels, positions, left_out, recipe, stop)
        everything = dict(trained.named_parameters()) | dict(trained.named_buffers())
        states.append({name: t.detach() for name, t in everything.items()})
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    positions: Tensor,
    left_out: Tensor,
    recipe: Recipe,
    stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[float], None] = lambda loss: None,
    recorder: Recorder | None = None,
) -> None:
    """Train one network in place on samples; it is in eval mode afterwards.

    Batches are shuffled by the seed. A network that draws random numbers, as dropout does, draws
    the same in a step whichever samples are left out: it is given those too, and their losses do
    not count. Only where it also takes statistics of a batch, it is not, and draws others in those
    batches.

    Args:
        positions: of the samples, (S,). left_out: of those that do not count, (M,).
        stop: asked before each step; Stopped is raised when it says so.
    """
    network.train()
    draws, device = models.draws(network, images[:2]), images.device
    whole = draws and not list(network.buffers())
    if recipe.mixed_precision:
        models.as_channels_last(network)
    size, shuffle = len(positions), torch.Generator().manual_seed(recipe.seed)
    batches = -(-size // recipe.batch_size)
    optimizer, schedule = _optimizer(network, recipe, recipe.epochs * batches)
    for epoch in range(recipe.epochs):
        losses = []
        order = torch.randperm(size, generator=shuffle).split(recipe.batch_size)
        for step, batch in enumerate(order, epoch * batches):
            if stop():
                raise Stopped
            optimizer.zero_grad()
            drawn = positions[batch]
            counted = torch.isin(drawn, left_out, invert=True)
            at = (drawn if whole else drawn[counted]).to(device)
            if counted.any():  # without gradients a step changes nothing
                logits = _logits(network, images[at], recipe, step if draws else None)
                if whole:
                    of_samples = log_prob(logits, labels[at]) * counted.to(device)
                    loss = -of_samples.sum() / counted.sum()
                else:
                    loss = cross_entropy(logits, labels[at])
                loss.backward()
                losses.append(loss.detach())
                if recorder:
                    recorder.see(at, logits)
            optimizer.step()
            schedule.step()
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise UserError(
                f"training left the finite numbers with lr={recipe.lr:g} (loss {mean}): give a "
                "smaller --lr"
            )
        if recorder:
            recorder.end_epoch(labels)
        on_epoch(mean)
    network.eval()


def _logits(network: nn.Module, images: Tensor, recipe: Recipe, step: int | None) -> Tensor:
    """Logits (B, classes) of images (B, C, H, W), with what is drawn in a step, if anything is."""
    mixed, device = recipe.mixed_precision, images.device
    layout = torch.channels_last if mixed else torch.contiguous_format
    seen = images.contiguous(memory_format=layout)  # which rounds in its own way
    chance: AbstractContextManager[None] = nullcontext()
    if step is not None:
        seed = int(np.random.default_rng([recipe.seed, step]).integers(2**63))
        chance = models.seeded(seed, device)
    with chance, torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        logits: Tensor = network(seen)
    return logits.to(images.dtype)


def _optimizer(network: nn.Module, recipe: Recipe, steps: int) -> tuple[Any, Any]:
    """Adam, or SGD with Nesterov momentum 0.9, and a learning rate on a half cosine to zero."""
    params = list(network.parameters())
    optimizer: torch.optim.Optimizer = torch.optim.Adam(params, lr=recipe.lr)
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(params, lr=recipe.lr, momentum=0.9, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
