"""The part of the test set on which probes are evaluated, and what the base model makes of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unlearning.base_model import BaseModel, Model, logits, some_of
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


def held_out(base: BaseModel, most: int = TEST_SAMPLES, part: int = 0, parts: int = 1) -> HeldOut:
    """Some test samples, always the same ones; chosen and predicted once.

    Args:
        most: how many. part, parts: every how many of these, and from which on.
    """
    which = (most, part, parts)
    return base.once(("probe/held_out", *which), lambda: _held_out(base, *which))


def _held_out(base: BaseModel, most: int, part: int, parts: int) -> HeldOut:
    rows = some_of(len(base.test_labels), most)[part::parts].to(base.device)
    inputs, labels = base.test_inputs[rows], base.test_labels[rows]
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    return HeldOut(inputs, labels, *predictions(base.test_logits[rows], labels))


def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each label, and 1 where it is predicted: (N, classes) and (N,) to (N,)."""
    prob = log_prob(logits, labels).exp()
    return prob, (logits.argmax(dim=1) == labels).to(prob.dtype)
