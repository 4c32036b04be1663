"""How far the weights go along one direction until the prediction of a sample flips.

Or until the log-odds of its label are at a target. And the part of the test set on which the
weights there are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from unlearning.base_model import BaseModel, logits
from unlearning.dataset import some_of
from unlearning.losses import log_odds, log_prob, margin, wide

PASSES = 24  # of one image through the network a member, at most
NEAR = 4.0  # log-odds above the lowest at which a sample is drawn half as often as that
TOLERANCE = 1e-3  # of the step, relative
TEST_SAMPLES = 2000  # at most

# Of first steps, by the optimiser: its title, and along what it goes.
DIRECTIONS = {"sgd": ("SGD", "the gradient"), "adam": ("Adam", "the signs of the gradient")}
Stacked = Mapping[str, Tensor]  # by parameter, (K, ...) each


@torch.no_grad()
def first_arrivals(
    base: BaseModel,
    positions: Tensor,
    slope: Tensor,
    direction: Stacked,
    target: Tensor | None = None,
) -> Tensor:
    """The step s at which each sample is no longer predicted as its label at theta + s d.

    Or at which the log-odds of its label are at the target. The first-order estimate is doubled
    until that is so; then the root of the margin, or of log-odds minus target, is enclosed by the
    secant method in its Illinois form (Dowell and Jarratt 1971). Of several on the way it is the
    one that is found first, not always the nearest.

    Args:
        positions: (K,). direction: d.
        slope: (K,), how fast the cross-entropy of each sample rises along d at theta.
        target: (K,) log-odds; the flip if None.

    Returns: (K,) float64, from the far side of the end and at most the tolerance beyond it. NaN
    where none was found, and where theta is beyond it.
    """
    labels, logits = base.train_labels[positions], base.train_logits[positions]

    def height(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """How far samples are from the end, below zero beyond it, and whether they are beyond."""
        if target is None:
            return margin(logits, labels[rows]), logits.argmax(dim=1) != labels[rows]
        above = log_odds(logits, labels[rows]) - target[rows]
        return above, above <= 0

    # The heights at both ends, halved where the method wants the other end to move.
    at_low, is_beyond = height(logits, torch.arange(len(positions), device=positions.device))
    # CE is log(1 + exp(-odds)): its slope is the one of the log-odds times 1 - p.
    guess = at_low * torch.sigmoid(-log_odds(logits, labels)) / slope
    low, high, at_high = torch.zeros_like(guess), guess * torch.nan, guess * torch.nan
    last = torch.zeros_like(labels)  # the end that moved last: 1 for `high`, -1 for `low`
    is_open = ~is_beyond & (guess > 0) & guess.isfinite()
    for _ in range(PASSES):
        rows = is_open.nonzero().squeeze(1)
        if not len(rows):
            break
        there = moved_logits(base, positions, guess, direction, rows)
        at_guess, is_beyond = height(there, rows)
        end = torch.where(is_beyond, 1, -1)
        # An end that stays a second time counts half, so that the next guess lies nearer to it.
        weight = torch.where(end == last[rows], 0.5, 1.0)
        last[rows] = end
        at_low[rows] = torch.where(is_beyond, weight * at_low[rows], at_guess)
        at_high[rows] = torch.where(is_beyond, at_guess, weight * at_high[rows])
        low[rows] = torch.where(is_beyond, low[rows], guess[rows])
        high[rows] = torch.where(is_beyond, guess[rows], high[rows])
        near, far = low[rows], high[rows]
        root = (near * at_high[rows] - far * at_low[rows]) / (at_high[rows] - at_low[rows])
        inside = TOLERANCE / 2 * far  # of the bracket
        root = torch.minimum(torch.maximum(root, near + inside), far - inside)
        guess[rows] = torch.where(far.isnan(), 2 * near, root)
        is_open[rows] = ~(far - near <= TOLERANCE * far) & there.isfinite().all(dim=1)
    return high


@torch.no_grad()
def moved_logits(
    base: BaseModel,
    positions: Tensor,
    steps: Tensor,
    direction: Stacked,
    rows: Tensor | None = None,
) -> Tensor:
    """Logits of samples at their own theta + s d: (R, classes) of the rows (R,), or all, out of K.

    Args:
        positions, steps: (K,). direction: d.
    """
    rows = torch.arange(len(positions), device=positions.device) if rows is None else rows
    moved = {
        name: base.params[name] + per_member(steps[rows], d) * d[rows]
        for name, d in direction.items()
    }
    of_one = base.model.each(lambda params, image: base.model.at(params)(image[None])[0])
    return wide(of_one(moved, base.train_inputs[positions[rows]]))


def along(a: Stacked, b: Stacked) -> Tensor:
    """The inner product of two directions of each member, (K,) float64."""
    products = [(a[name] * b[name]).reshape(len(b[name]), -1) for name in a]
    return torch.stack([wide(p).sum(dim=1) for p in products]).sum(dim=0)


def first_direction(optimizer: str, gradient: Stacked) -> dict[str, Tensor]:
    """Of the first step: under `adam` the signs, under `sgd` the gradient at length one."""
    if optimizer == "adam":
        return {name: g.sign() for name, g in gradient.items()}
    norm = along(gradient, gradient).sqrt()
    return {name: g / per_member(norm, g) for name, g in gradient.items()}


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """Values (K,) in the precision of a tensor (K, ...) and in a shape that multiplies it."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


class HeldOut(NamedTuple):
    """N test samples and the base model's predictions of them."""

    inputs: Tensor  # (N, C, H, W)
    labels: Tensor  # (N,)
    prob: Tensor  # (N,) float64, of the true label
    right: Tensor  # (N,) float64, 1 where the prediction is the label, else 0
    weights: Tensor  # (N,) float64, with which they count in a mean


def losses_at(base: BaseModel, test: HeldOut, steps: Tensor, direction: Stacked) -> Tensor:
    """What each member loses on the test samples at its own theta + s d.

    Args:
        steps: s, (K,). direction: d.

    Returns: the fall of the mean true-label probability and of the accuracy, (2, K) float64; NaN
    where s is.
    """
    lost = torch.full((2, len(steps)), torch.nan, dtype=steps.dtype, device=base.device)
    for row in (~steps.isnan()).nonzero().squeeze(1).tolist():
        step = steps[row].item()
        moved = {name: base.params[name] + step * d[row] for name, d in direction.items()}
        for name, p in moved.items():
            if p.ndim == 4:  # filters channels-last, as evaluation wants them
                moved[name] = p.contiguous(memory_format=torch.channels_last)
        prob, right = predictions(logits(base.model.at(moved), test.inputs), test.labels)
        lost[0, row] = (test.weights * (test.prob - prob)).mean()
        lost[1, row] = (test.weights * (test.right - right)).mean()
    return lost


def held_out(
    base: BaseModel, most: int = TEST_SAMPLES, part: int = 0, parts: int = 1, near: bool = False
) -> HeldOut:
    """Some test samples, always the same ones; chosen and predicted once.

    Args:
        most: how many. part, parts: every how many of these, and from which on.
        near: whether those are drawn more often that the base model is less sure of: see `drawn`.
    """

    def choose() -> HeldOut:
        if near and most < len(base.test_labels):
            rows, weights = drawn(base, most)
        else:
            rows = some_of(len(base.test_labels), most).to(base.device)
            weights = wide(torch.ones(len(rows), device=base.device))
        rows = rows[part::parts]
        inputs = base.test_inputs[rows].contiguous(memory_format=torch.channels_last)
        labels = base.test_labels[rows]
        known = predictions(base.test_logits[rows], labels)
        return HeldOut(inputs, labels, *known, weights[part::parts])

    return base.once(("held_out", most, part, parts, near), choose)


def drawn(base: BaseModel, count: int) -> tuple[Tensor, Tensor]:
    """Positions of test samples, the less sure the base model is of them the more; their weights.

    Where weights move, it is the samples near a boundary that lose most. So each is drawn with a
    chance of 1 / (log-odds of its label, above the lowest, + NEAR), at even steps through all of
    them in the order of class and log-odds (systematic sampling, Madow 1949), and weighs the
    inverse of its chance (Horvitz and Thompson 1952). A sample may be drawn more than once.

    Returns: (count,) positions and (count,) float64 weights, whose expectation is 1.
    """
    labels = base.test_labels
    odds = log_odds(base.test_logits, labels)
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
