"""The index: what unlearning a sample will come to, from the base model alone, nothing fitted.

An attempt is followed along one straight line through theta, in the direction of the algorithm's
own first step: the sign of the forget sample's gradient under Adam, the gradient under SGD. Along
it the log-odds of the label that is unlearned (or learned) are a parabola, of their value and slope
at theta and their value at the flip; the algorithm's own optimiser takes its steps on that one
number. Where it stops, the test set is passed through the network once. Retain batches are left
out: at theta their mean gradient is small.

An attempt that ends at given log-odds, as models have that never saw the sample, is followed to
them instead of to the flip. Its last step is shortened, so that it ends there.

Where a wrong label is drawn at random, the outcome depends on which, so each of at most nine is
learned, in the algorithm's own few steps without the retain batch, and evaluated on its own part of
the test set.

SCRUB begins where its forget loss has no gradient: what the retain batches set in motion grows by a
factor 1 + lambda a step. The direction is the gradient of CE at SCRUB's temperature, and
lambda = lr * (slope of its KL at the flip) / (way to the flip), for SGD. The last step ends between
s and (1 + lambda) s, with s the flip: the index takes the middle. At a target it ends at s.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad

from factors.line_search import (
    TEST_SAMPLES,
    HeldOut,
    Stacked,
    along,
    first_arrivals,
    first_direction,
    held_out,
    losses_at,
    moved_logits,
)
from factors.outcome import ground_truth
from unlearning.algorithm import Algorithm, Forget, Retain, State, Stepwise, relabel_loss
from unlearning.algorithms.boundary_shrink import BoundaryShrink
from unlearning.algorithms.ga import GradientAscent
from unlearning.algorithms.neggrad import NegGradPlus
from unlearning.algorithms.random_label import RandomLabel
from unlearning.algorithms.scrub import Scrub
from unlearning.base_model import GRADIENTS, BaseModel, Model, Params
from unlearning.engine import unlearn
from unlearning.losses import cross_entropy, log_odds, log_prob, wide, widest
from unlearning.outcome import ARRIVED, Status
from unlearning.sampling import forget_samples

VERSION = 1  # to be raised where forecasts come out otherwise than before
BLOCK = 32  # samples at a time: few, so that their weights stay in a CPU's cache
LABELS = 9  # wrong labels that are followed, at most
BATCHES = 8  # retain batches that say how far SCRUB's first update goes


class Forecast(NamedTuple):
    """What is forecast for K samples, (K,) float64 each.

    NaN where the base model is wrong on a sample that is to flip, or its gradient is zero, and
    everywhere for an algorithm of which nothing is known.

    Attributes:
        steps: to the end, or the budget. flips: probability of the end within the budget, which is
            a flip, or log-odds at the target.
        prob_lost: fall of the mean true-label probability on the test set, 1 - U.
        points_lost: fall of the test accuracy, percentage points.
        forget_prob_diff: F. gt: GT, with lambda = 1 / test samples; NaN too where there is nothing
            to forget.
    """

    steps: Tensor
    flips: Tensor
    prob_lost: Tensor
    points_lost: Tensor
    forget_prob_diff: Tensor
    gt: Tensor


NOTHING = (0.0, 1.0, 0.0, 0.0, 0.0, math.nan)  # the numbers where there is nothing to forget


class Course(NamedTuple):
    """One way that K attempts may go, (K,) each.

    Attributes:
        direction: d, by parameter, (K, ...) each. end: s at which they stop, at theta + s d.
        steps: they take. flips: whether they arrive, at the flip or the target, 1 or 0.
    """

    direction: Stacked
    end: Tensor
    steps: Tensor
    flips: Tensor


def forecast(
    base: BaseModel,
    algorithm: Algorithm,
    positions: Tensor,
    most: int | None = None,
    target: Tensor | None = None,
) -> Forecast:
    """What unlearning the samples at `positions` (K,) with the algorithm will come to.

    The test set is passed through a network once a sample, at most 2,000 samples of it.

    Args:
        most: test samples, drawn by how sure the base model is of them, see `line_search.drawn`:
            this pass takes most of the time.
        target: (K,) log-odds of the samples' labels at which they end; at the flip if None.
    """
    follow = _follower(algorithm)
    if follow is None:
        unknown = torch.full((len(Forecast._fields), len(positions)), torch.nan)
        return Forecast(*unknown.double())
    count = most or TEST_SAMPLES
    size = sum(p.numel() * p.element_size() for p in base.params.values())
    found = []
    at_once = max(1, min(BLOCK, GRADIENTS // size))
    blocks = positions.split(at_once)
    target = None if target is None else target.to(base.device, widest(base.device))
    ends = [None] * len(blocks) if target is None else target.split(at_once)
    for block, end in zip(blocks, ends, strict=True):
        courses = follow(base, algorithm, block, end)
        parts = min(len(courses), len(base.test_labels), count)  # each on its part of the test set
        outcomes = [
            _outcome(base, block, course, held_out(base, count, k % parts, parts, most is not None))
            for k, course in enumerate(courses)
        ]
        numbers = torch.stack(outcomes).mean(dim=0)
        if end is not None:
            odds = log_odds(base.train_logits[block], base.train_labels[block])
            numbers = numbers.where(odds > end, numbers.new_tensor(NOTHING)[:, None])
        found.append(numbers)
    return Forecast(*torch.cat(found, dim=1))


Follower = Callable[[BaseModel, Any, Tensor, Tensor | None], list[Course]]


def _follower(algorithm: Algorithm) -> Follower | None:
    """What follows the attempts of the algorithm, or of what it is derived from."""
    followers: dict[type[Algorithm], Follower] = {
        GradientAscent: _ascending,
        NegGradPlus: _ascending,
        RandomLabel: _relabelling,
        BoundaryShrink: _shrinking,
        Scrub: _leaving_the_teacher,
    }
    return next((f for kind, f in followers.items() if isinstance(algorithm, kind)), None)


def is_known(algorithm: Algorithm) -> bool:
    """Whether anything is forecast for the algorithm."""
    return _follower(algorithm) is not None


def _outcome(base: BaseModel, positions: Tensor, course: Course, test: HeldOut) -> Tensor:
    """The six forecasts of one course, (6, K), in the order of `Forecast`."""
    prob_lost, accuracy_lost = losses_at(base, test, course.end, course.direction)
    labels = base.train_labels[positions]
    after = moved_logits(base, positions, course.end, course.direction)
    before = base.train_logits[positions]
    forgotten = log_prob(before, labels).exp() - log_prob(after, labels).exp()
    gt = ground_truth(1 - prob_lost, forgotten, 1 / len(base.test_labels))
    gt = gt.where(~prob_lost.isnan(), torch.nan)
    numbers = (course.steps, course.flips, prob_lost, 100 * accuracy_lost, forgotten, gt)
    return torch.stack(numbers)


def _ascending(
    base: BaseModel, algorithm: Stepwise, positions: Tensor, target: Tensor | None
) -> list[Course]:
    """Gradient ascent on the cross-entropy of the sample."""
    weight = 1 - algorithm.alpha if isinstance(algorithm, NegGradPlus) else 1.0
    gradient = _gradient(base, base.train_inputs[positions], base.train_labels[positions])
    direction = first_direction(algorithm.optimizer, gradient)
    return [_course(base, algorithm, positions, target, direction, gradient, gradient, -weight)]


def _shrinking(
    base: BaseModel, algorithm: Stepwise, positions: Tensor, target: Tensor | None
) -> list[Course]:
    """Descent on the cross-entropy of the sample under the label that is prepared for it."""
    labels = _prepared(base, algorithm, positions)["relabel_target"]
    own = _gradient(base, base.train_inputs[positions], base.train_labels[positions])
    gradient = _gradient(base, base.train_inputs[positions], labels)
    downhill = {name: -g for name, g in gradient.items()}
    direction = first_direction(algorithm.optimizer, downhill)
    return [_course(base, algorithm, positions, target, direction, own, gradient, 1.0, labels)]


class _OneLabel:
    """Put in front of RandomLabel: the wrong label is `offset` after y, and no retain batch."""

    offset: int
    retain_draws = (0, 0)

    def prepare(self: Any, model: Model, forget: Forget, shared: State) -> State:
        state: State = super().prepare(model, forget, shared)  # type: ignore[misc] # RandomLabel's
        return {**state, "relabel_target": (forget.label + self.offset) % len(forget.logits)}

    def loss(self: Any, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        weight = 1 / (1 + self.retain_batch) if self.combine == "joint" else 1.0
        return weight * relabel_loss(model, forget, state)


@cache
def _with_label(kind: type[RandomLabel], offset: int) -> type[RandomLabel]:
    return type(kind.__name__, (_OneLabel, kind), {"offset": offset})


def _relabelling(
    base: BaseModel, algorithm: RandomLabel, positions: Tensor, target: Tensor | None
) -> list[Course]:
    """The algorithm's own steps on the cross-entropy of the sample under each wrong label."""
    classes, courses = base.train_logits.shape[1], []
    offsets = torch.linspace(1, classes - 1, min(LABELS, classes - 1)).round().long().tolist()
    settings = algorithm.settings() | {"batch_norm": "frozen"}
    for offset in offsets:
        own = _with_label(type(algorithm), offset)(**settings)  # type: ignore[arg-type] # its own
        attempt = unlearn(base, own, positions, seed=0, target=target)
        ran = [status is not Status.ALREADY_WRONG for status in attempt.status]
        arrived = [status in ARRIVED for status in attempt.status]
        numbers = torch.stack([torch.tensor(ran), attempt.steps, torch.tensor(arrived)])
        numbers = numbers.to(base.device)
        numbers = wide(numbers).where(numbers[0].bool(), torch.nan)
        direction = {name: p - base.params[name] for name, p in attempt.params.items()}
        courses.append(Course(direction, *numbers))
    return courses


def _leaving_the_teacher(
    base: BaseModel, algorithm: Scrub, positions: Tensor, target: Tensor | None
) -> list[Course]:
    """SCRUB's ascent on the divergence from the base model."""
    sample = base.train_inputs[positions], base.train_labels[positions]
    own = _gradient(base, *sample)
    gradient = _gradient(base, *sample, temperature=algorithm.temperature)
    direction = first_direction(algorithm.optimizer, gradient)
    if algorithm.optimizer == "adam":
        return [_course(base, algorithm, positions, target, direction, own, own, -1.0)]
    arrival = first_arrivals(base, positions, along(own, direction), direction, target)
    hot, before = algorithm.temperature, wide(base.train_logits[positions])
    change = moved_logits(base, positions, arrival, direction) - before
    pull = torch.softmax((before + change) / hot, dim=1) - torch.softmax(before / hot, dim=1)
    uphill = (pull * change).sum(dim=1)
    growth = 1 + algorithm.lr * hot * uphill / arrival**2  # a step, 1 + lambda
    start = _first_update(base, algorithm, direction)
    steps = (1 + torch.log(arrival / start) / growth.log()).clamp(min=1).ceil()
    flips = (steps <= algorithm.budget).to(steps.dtype).where(~steps.isnan(), torch.nan)
    reached = start * growth**algorithm.budget
    arrived = arrival * (1 + growth) / 2 if target is None else arrival
    end = torch.where(flips == 0, reached, arrived)
    return [Course(direction, end, steps.clamp(max=algorithm.budget), flips)]


def _first_update(base: BaseModel, algorithm: Scrub, direction: Stacked) -> Tensor:
    """How far the first update, on a retain batch, goes along d: root mean square, (K,)."""

    def loss(params: Params, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(base.model.at(params)(images), labels)

    def gradients() -> list[dict[str, Tensor]]:
        """Of a few fixed batches, by parameter."""
        seen = base.some(BATCHES * algorithm.retain_batch)
        order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))
        return [
            grad(loss)(dict(base.params), base.train_inputs[some], base.train_labels[some])
            for some in seen[order.to(base.device)].split(algorithm.retain_batch)
        ]

    retain = base.once(("index/retain", algorithm.retain_batch), gradients)
    products = [
        wide(d).reshape(len(d), -1)
        @ torch.stack([wide(batch[name]).flatten() for batch in retain]).T
        for name, d in direction.items()
    ]
    of_batches = torch.stack(products).sum(dim=0)
    return algorithm.lr * algorithm.gamma * of_batches.square().mean(dim=1).sqrt()


def _course(
    base: BaseModel,
    algorithm: Stepwise,
    positions: Tensor,
    target: Tensor | None,
    direction: Stacked,
    own: Stacked,
    gradient: Stacked,
    weight: float,
    labels: Tensor | None = None,
) -> Course:
    """Follow the optimiser along d on weight * CE of the labels.

    Args:
        target: see `forecast`.
        own: gradient of the sample's cross-entropy. gradient: of that of the labels.
        weight: negative for ascent. labels: (K,); the samples' own if None.
    """
    labels = base.train_labels[positions] if labels is None else labels
    arrival = first_arrivals(base, positions, along(own, direction), direction, target)
    odds = log_odds(base.train_logits[positions], labels)
    odds_there = log_odds(moved_logits(base, positions, arrival, direction), labels)
    slope = -along(gradient, direction) / torch.sigmoid(-odds)
    bend = ((odds_there - odds - slope * arrival) / arrival**2).nan_to_num(0.0)

    def pull(s: Tensor) -> Tensor:
        """The loss's derivative along the line; none where it would turn back."""
        rise = slope + 2 * bend * s
        rise = torch.where(rise * slope > 0, rise, 0.0)
        return -weight * torch.sigmoid(-(odds + slope * s + bend * s**2)) * rise

    right = base.train_logits[positions].argmax(dim=1) == base.train_labels[positions]
    end, steps = _walk(algorithm, pull, along(direction, direction), arrival)
    flips = (end >= arrival).to(end.dtype)
    if target is not None:
        end = torch.where(flips == 1, arrival, end)
    known = (right | (target is not None)) & ~end.isnan()
    return Course(direction, *(part.where(known, torch.nan) for part in (end, steps, flips)))


def _walk(
    algorithm: Stepwise, pull: Callable[[Tensor], Tensor], square: Tensor, arrival: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the algorithm's optimiser gets to on the line, and in how many steps: (K,) twice.

    A member ends beyond where it arrives, as its last step is a whole one.

    Args:
        pull: derivative of the loss at s. square: |d|^2, (K,). arrival: NaN where there is none.
    """
    s = torch.zeros_like(arrival)
    optimizer = dataclasses.replace(algorithm, weight_decay=0.0).make_optimizer([s])
    end, steps = torch.zeros_like(s), torch.zeros_like(s)
    for _ in range(algorithm.budget):
        going = ~(end >= arrival)
        if not going.any():
            break
        s.grad = pull(s) / square
        optimizer.step()
        end, steps = torch.where(going, s, end), steps + going
    return end, steps


def _prepared(base: BaseModel, algorithm: Stepwise, positions: Tensor) -> State:
    """What the algorithm prepares for the members."""
    shared = base.once(algorithm, lambda: algorithm.shared(base))
    prepare = base.model.each(lambda forget: dict(algorithm.prepare(base.model, forget, shared)))
    state: State = prepare(forget_samples(base, positions, seed=0))
    return state


def _gradient(
    base: BaseModel,
    images: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """The gradient of each image's cross-entropy under its label, (K, ...) a parameter.

    Args:
        temperature: by which logits are divided.
    """

    def loss(params: Params, image: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(base.model.at(params)(image[None]) / temperature, label[None])

    gradient = base.model.each(grad(loss), in_dims=(None, 0, 0))
    found: dict[str, Tensor] = gradient(dict(base.params), images, labels)
    return found
