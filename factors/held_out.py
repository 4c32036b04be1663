"""The part of the test set on which probes are evaluated, and what the base model makes of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from factors.line_search import margin_and_odds
from unlearning.base_model import BaseModel, Model, logits
from unlearning.dataset import some_of
from unlearning.losses import log_prob, wide

TEST_SAMPLES = 2000  # at most
NEAR = 4.0  # log-odds above the lowest at which a sample is drawn half as often as that


class HeldOut(NamedTuple):
    """N test samples and the base model's predictions of them.

    Attributes:
        weights: how many samples of an even draw each stands for: 1 for all where it was even.
    """

    inputs: Tensor  # (N, C, H, W)
    labels: Tensor  # (N,)
    prob: Tensor  # (N,) float64, of the true label
    right: Tensor  # (N,) float64, 1 where the prediction is the label, else 0
    weights: Tensor  # (N,) float64

    @torch.no_grad()
    def losses(self, model: Model) -> tuple[Tensor, Tensor]:
        """The fall of the mean true-label probability, and of the accuracy, under another model."""
        prob, right = predictions(logits(model, self.inputs), self.labels)
        lost, wronged = self.weights * (self.prob - prob), self.weights * (self.right - right)
        return lost.mean(), wronged.mean()


def held_out(
    base: BaseModel,
    most: int = TEST_SAMPLES,
    part: int = 0,
    parts: int = 1,
    near: bool = False,
) -> HeldOut:
    """Some test samples, always the same ones; chosen and predicted once.

    Args:
        most: how many. part, parts: every how many of these, and from which on.
        near: whether those are drawn more often that the base model is less sure of: see `drawn`.
    """
    which = (most, part, parts, near)
    return base.once(("probe/held_out", *which), lambda: _held_out(base, *which))


def _held_out(base: BaseModel, most: int, part: int, parts: int, near: bool) -> HeldOut:
    size = len(base.test_labels)
    if near and most < size:
        rows, weights = drawn(base, most)
    else:
        rows = some_of(size, most).to(base.device)
        weights = wide(torch.ones(len(rows), device=base.device))
    rows, weights = rows[part::parts], weights[part::parts]
    inputs, labels = base.test_inputs[rows], base.test_labels[rows]
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    return HeldOut(inputs, labels, *predictions(base.test_logits[rows], labels), weights)


def drawn(base: BaseModel, count: int) -> tuple[Tensor, Tensor]:
    """Positions of test samples, the less sure the base model is of them the more; their weights.

    Where weights move, it is the samples near a boundary that lose most. So each is drawn with a
    chance of 1 / (log-odds of its label, above the lowest, + NEAR), at even steps through all of
    them in the order of class and log-odds (systematic sampling, Madow 1949), and weighs the
    inverse of its chance (Horvitz and Thompson 1952). A sample may be drawn more than once.

    Returns: (count,) positions and (count,) float64 weights, whose expectation is 1.
    """
    labels = base.test_labels
    _, odds = margin_and_odds(base.test_logits, labels)
    order = odds.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    chance = 1 / (odds - odds.min() + NEAR)
    ends = chance[order].cumsum(0)
    steps = (torch.arange(count, dtype=ends.dtype, device=ends.device) + 0.5) / count
    rows = order[torch.searchsorted(ends, steps * ends[-1])]
    return rows, chance.mean() / chance[rows]


def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each label, and 1 where it is predicted: (N, classes) and (N,) to (N,)."""
    prob = log_prob(logits, labels).exp()
    return prob, (logits.argmax(dim=1) == labels).to(prob.dtype)
