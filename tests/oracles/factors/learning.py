"""How a sample was learned, from its logits (classes,) in each epoch, by counting."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from tests.oracles.arrays import Numbers, as_float64
from tests.oracles.factors.initial import loss, margin

Epochs = Sequence[Numbers]


def logits_seen(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    optimizer: str,
    seed: int,
) -> Tensor:
    """Train a network in place; what it said of each sample, just before it learned from it.

    Returns: logits, (epochs, samples, classes).
    """
    parameters = list(network.parameters())
    steps: torch.optim.Optimizer = (
        torch.optim.Adam(parameters, lr=lr)
        if optimizer == "adam"
        else torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True)
    )
    batches = [
        range(i, min(i + batch_size, len(labels))) for i in range(0, len(labels), batch_size)
    ]
    shuffle = torch.Generator().manual_seed(seed)
    seen: list[list[Tensor]] = []
    step = 0
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=shuffle).tolist()
        of_sample = {}
        for batch in batches:
            samples = [order[place] for place in batch]
            half_cosine = (1 + np.cos(np.pi * step / (epochs * len(batches)))) / 2
            for group in steps.param_groups:
                group["lr"] = lr * half_cosine
            steps.zero_grad()
            logits = network(torch.stack([images[sample] for sample in samples]))
            for row, sample in enumerate(samples):
                of_sample[sample] = logits[row].detach().clone()
            log_probs = torch.log_softmax(logits.double(), dim=1)
            of_labels = [log_probs[row, labels[sample]] for row, sample in enumerate(samples)]
            torch.autograd.backward(-torch.stack(of_labels).mean())
            steps.step()
            step += 1
        seen.append([of_sample[sample] for sample in range(len(labels))])
    return torch.stack([torch.stack(rows) for rows in seen])


def is_right(logits: Numbers, label: int) -> bool:
    """Whether the label has the highest logit, and no other class the same."""
    values = [float(value) for value in as_float64(logits)]
    return all(values[label] > value for k, value in enumerate(values) if k != label)


def forgetting_events(epochs: Epochs, label: int) -> int:
    """Times that right is followed by wrong; the number of epochs if it was never right."""
    right = [is_right(logits, label) for logits in epochs]
    if True not in right:
        return len(right)
    count = 0
    for now, then in pairwise(right):
        if now and not then:
            count += 1
    return count


def first_epoch_learned(epochs: Epochs, label: int) -> int:
    """The number, from 0, of the first epoch with a right prediction, or of epochs."""
    for number, logits in enumerate(epochs):
        if is_right(logits, label):
            return number
    return len(epochs)


def cumulative_loss(epochs: Epochs, label: int) -> float:
    """Mean of the cross-entropies."""
    return sum(loss(logits, label) for logits in epochs) / len(epochs)


def area_under_margin(epochs: Epochs, label: int) -> float:
    """Mean of the margins."""
    return sum(margin(logits, label) for logits in epochs) / len(epochs)


def loss_iqr(epochs: Epochs, label: int) -> float:
    """Three quarters up the sorted losses minus one quarter up, linear between two of them."""
    losses = sorted(loss(logits, label) for logits in epochs)

    def at(share: float) -> float:
        place = share * (len(losses) - 1)
        below = int(place)
        above = min(below + 1, len(losses) - 1)
        return losses[below] + (place - below) * (losses[above] - losses[below])

    return at(0.75) - at(0.25)
