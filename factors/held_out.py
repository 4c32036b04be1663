"""The part of the test set on which probes are evaluated, and what the base model makes of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unlearning.base_model import BaseModel, Model, logits
from unlearning.losses import log_prob

TEST_SAMPLES = 2000  # at most


class HeldOut(NamedTuple):
    """N test samples and the base model's predictions of them."""

    inputs: Tensor  # (N, C, H, W)
    labels: Tensor  # (N,)
    prob: Tensor  # (), float64, mean probability of the true label
    accuracy: Tensor  # (), float64

    @torch.no_grad()
    def losses(self, model: Model) -> tuple[Tensor, Tensor]:
        """The fall of the mean true-label probability, and of the accuracy, under another model."""
        prob, accuracy = predictions(logits(model, self.inputs), self.labels)
        return self.prob - prob, self.accuracy - accuracy


def held_out(base: BaseModel) -> HeldOut:
    """At most 2,000 test samples, always the same ones; chosen and predicted once."""
    return base.once("probe/held_out", lambda: _held_out(base))


def _held_out(base: BaseModel) -> HeldOut:
    size = len(base.test_labels)
    if size <= TEST_SAMPLES:
        predicted = predictions(base.test_logits, base.test_labels)
        return HeldOut(base.test_inputs, base.test_labels, *predicted)
    order = np.random.default_rng(0).permutation(size)[:TEST_SAMPLES]
    some = torch.from_numpy(np.sort(order)).to(base.device)
    labels = base.test_labels[some]
    inputs = base.test_inputs[some].contiguous(memory_format=torch.channels_last)
    return HeldOut(inputs, labels, *predictions(base.test_logits[some], labels))


def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean probability of the labels and accuracy, () each: (N, classes) and (N,)."""
    right = logits.argmax(dim=1) == labels
    prob = log_prob(logits, labels).exp().mean()
    return prob, right.to(prob.dtype).mean()
