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
    prob: Tensor  # (N,) float64, of the true label
    right: Tensor  # (N,) float64, 1 where the prediction is the label, else 0

    @torch.no_grad()
    def losses(self, model: Model) -> tuple[Tensor, Tensor]:
        """The fall of the mean true-label probability, and of the accuracy, under another model."""
        prob, right = predictions(logits(model, self.inputs), self.labels)
        return (self.prob - prob).mean(), (self.right - right).mean()


def held_out(base: BaseModel, part: int = 0, parts: int = 1) -> HeldOut:
    """At most 2,000 test samples, always the same ones; chosen and predicted once.

    Args:
        part, parts: every how many of them, and from which on.
    """
    return base.once(("probe/held_out", part, parts), lambda: _held_out(base, part, parts))


def _held_out(base: BaseModel, part: int, parts: int) -> HeldOut:
    some = np.arange(len(base.test_labels))
    if len(some) > TEST_SAMPLES:
        some = np.sort(np.random.default_rng(0).permutation(len(some))[:TEST_SAMPLES])
    rows = torch.from_numpy(some[part::parts].copy()).to(base.device)
    inputs, labels = base.test_inputs[rows], base.test_labels[rows]
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    return HeldOut(inputs, labels, *predictions(base.test_logits[rows], labels))


def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each label, and 1 where it is predicted: (N, classes) and (N,) to (N,)."""
    prob = log_prob(logits, labels).exp()
    return prob, (logits.argmax(dim=1) == labels).to(prob.dtype)
