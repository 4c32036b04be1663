"""Train the base model, and many models on subsets of its data: leave-one-out, random parts.

A recorder sees how each training sample is learned: its loss and margin in every epoch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearning import models
from unlearning.dataset import Dataset
from unlearning.errors import Stopped, UserError
from unlearning.execution import Execution, gradients, rule_out_chance, stacked_copies
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

    @property
    def size(self) -> int:
        """S, the number of samples from which batches are drawn."""
        return self.positions.shape[1]

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of one batch for each network.

        Args:
            drawn: (B,), the batch as numbers below `size`.

        Returns: positions in the data, (K, B), and which of them count, (K, B) bool.
        """
        at = self.positions[:, drawn]
        if self.left_out is None:
            return at, torch.ones_like(at, dtype=torch.bool)
        return at, (at[:, :, None] != self.left_out[:, None]).all(dim=2)


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
    rule_out_chance(device)
    network = models.build(arch, dataset, recipe.seed).to(device)
    images, labels = dataset.inputs(dataset.train).to(device), dataset.train.labels.to(device)
    everything = Subsets(torch.arange(len(labels))[None])
    _fit(network, images, labels, everything, recipe, on_epoch=on_epoch, recorder=recorder)
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

    Some are trained one by one whatever `execution` says: networks with buffers, because the
    running statistics of batch normalisation cannot be stacked; networks that may have no sample in
    a batch, because they take no step then while others do; those with parameters that do not
    train; those that draw random numbers; and those in mixed precision.

    Args:
        images: (N, C, H, W). labels: (N,).
        stop: asked before each step, whether to stop.

    Returns: parameters and buffers by name, (K, ...) each. Raises Stopped when `stop` says so, and
    UserError when a loss is no longer finite and networks are trained one by one.
    """
    left_out, size = subsets.left_out, subsets.size
    smallest = min(recipe.batch_size, size % recipe.batch_size or recipe.batch_size)
    if (
        execution is Execution.STACKED
        and len(subsets.positions) > 1
        and not (
            list(network.buffers())
            or smallest <= (0 if left_out is None else left_out.shape[1])
            or not all(p.requires_grad for p in network.parameters())
            or recipe.mixed_precision
            or models.draws(network, images[:2])
        )
    ):
        return _fit_stacked(network, images, labels, subsets, recipe, stop)
    states = []
    for k in range(len(subsets.positions)):
        trained, one = copy.deepcopy(network), slice(k, k + 1)
        own = Subsets(subsets.positions[one], None if left_out is None else left_out[one])
        _fit(trained, images, labels, own, recipe, stop)
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
    recorder: Recorder | None = None,
) -> None:
    """Train one network in place on its subset; it is in eval mode afterwards.

    One that draws random numbers, as dropout does, draws the same in a step whichever samples are
    left out: it is given those too, and their losses do not count. Only where it also takes
    statistics of a batch, it is not, and draws others in those batches.
    """
    network.train()
    draws, mixed, device = models.draws(network, images[:2]), recipe.mixed_precision, images.device
    whole = draws and not list(network.buffers())
    layout = torch.channels_last if mixed else torch.contiguous_format
    if mixed:
        models.as_channels_last(network)
    losses: list[Tensor] = []
    for step, batch, is_last in _steps(recipe, list(network.parameters()), subset.size, stop):
        (positions,), (counted,) = subset.batch(batch)
        at = (positions if whole else positions[counted]).to(device)
        if counted.any():  # without gradients a step changes nothing
            seen = images[at].contiguous(memory_format=layout)  # which rounds in its own way
            seed = int(np.random.default_rng([recipe.seed, step]).integers(2**63))
            chance = models.seeded(seed, device) if draws else nullcontext()
            with chance, torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                logits = network(seen)
            logits = logits.to(images.dtype)
            if whole:
                loss = _mean_loss(logits, labels[at], counted.to(device))
            else:
                loss = cross_entropy(logits, labels[at])
            loss.backward()
            losses.append(loss.detach())
            if recorder:
                recorder.see(at, logits)
        if is_last:  # of its epoch
            mean = torch.stack(losses).mean().item()
            losses.clear()
            if not math.isfinite(mean):
                raise UserError(
                    f"training left the finite numbers with lr={recipe.lr:g} (loss {mean}): give a "
                    "smaller --lr"
                )
            if recorder:
                recorder.end_epoch(labels)
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
        return _mean_loss(functional_call(network, params, (images,)), labels, counted)

    gradient_of = gradients(loss, Execution.STACKED)
    network.train()
    params = {
        name: stacked_copies(p.detach(), len(subsets.positions)).requires_grad_()
        for name, p in network.named_parameters()
    }
    for _, batch, _ in _steps(recipe, list(params.values()), subsets.size, stop):
        at, counted = (part.to(labels.device) for part in subsets.batch(batch))
        for name, gradient in gradient_of(params, images[at], labels[at], counted).items():
            params[name].grad = gradient
    return {name: p.detach() for name, p in params.items()}


def _mean_loss(logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Mean cross-entropy of those samples of a batch that count."""
    return -(log_prob(logits, labels) * counted).sum() / counted.sum()


def _steps(
    recipe: Recipe, parameters: list[Tensor], size: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, Tensor, bool]]:
    """The steps of a training: each is taken when the caller, who has set the gradients, goes on.

    By Adam, or SGD with Nesterov momentum 0.9; the learning rate falls on a half cosine to zero.
    Batches are shuffled by the seed.

    Yields: the step, counted from 0; its batch, positions among `size` samples; and whether it is
    the last one of its epoch. Raises Stopped when `stop`, asked before each step, says so.
    """
    optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=recipe.lr)
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=recipe.lr, momentum=0.9, nesterov=True)
    batches = -(-size // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(recipe.epochs):
        order = torch.randperm(size, generator=shuffle)
        for number, batch in enumerate(order.split(recipe.batch_size)):
            if stop():
                raise Stopped
            optimizer.zero_grad()
            yield epoch * batches + number, batch, number == batches - 1
            optimizer.step()
            schedule.step()
