"""Training from scratch without one sample: exact unlearning.

It has no hyper-parameters and takes no steps, so the engine is held against `retrain` itself.
"""

import math
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import nn

from tests.oracles.loops import Data

SETTINGS: list[dict[str, Any]] = []


def retrain(
    make_network: Callable[[], nn.Module],
    train: Data,
    left_out_position: int,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    optimizer: str,
    seed: int,
    others: Container[int] = (),
) -> nn.Module:
    """A network trained from scratch on all training samples but one, in eval mode.

    In the batches of a training on all, from which the one is struck and the others. Adam, or SGD
    with Nesterov momentum 0.9; the rate follows a cosine over all batches, those without a sample
    too.
    """
    network = make_network()
    network.train()
    optim: torch.optim.Optimizer
    if optimizer == "adam":
        optim = torch.optim.Adam(network.parameters(), lr=lr)
    elif optimizer == "sgd":
        optim = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, nesterov=True)
    else:
        raise ValueError(f"unknown optimizer {optimizer!r}")
    images, labels = train
    samples = len(labels)
    steps = epochs * math.ceil(samples / batch_size)
    shuffle, step = torch.Generator().manual_seed(seed), 0
    for _ in range(epochs):
        order = torch.randperm(samples, generator=shuffle).tolist()
        for begin in range(0, samples, batch_size):
            drawn = order[begin : begin + batch_size]
            batch = [i for i in drawn if i != left_out_position and i not in others]
            for group in optim.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            step += 1
            if not batch:
                continue
            optim.zero_grad()
            logits = network(images[batch])
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels[batch]))
            optim.step()
    return network.eval()
