"""Unlearn several samples from one model: each from what the last one left, or all at once.

None of them is rehearsed: whatever is drawn of the remaining data, or computed of it, is of the
training samples without all that are to be forgotten. One after the other, each is a member of the
ordinary engine, and the model that the last one left is its base model, so also SCRUB's teacher. At
once, the losses of a step are the means of the samples' own, on one set of weights; it ends when
all predictions have flipped, or all log-odds are at their targets. Algorithms say whether they can
do that (`takes_sets`).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearning import algorithms
from unlearning.algorithm import Algorithm, Constraint, Forget, Loss, Retain, State, Stepwise
from unlearning.base_model import BaseModel, Model, Params, logits
from unlearning.dataset import Split
from unlearning.engine import nothing_done, take_steps, unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.losses import widest
from unlearning.outcome import Unlearned
from unlearning.sampling import draw_retain, forget_samples, shuffled


def moved(base: BaseModel, state: Params, left_out: Tensor | None = None) -> BaseModel:
    """A base model with other weights and the same data, but for samples that are left out.

    Args:
        state: parameters and buffers by name. left_out: positions in the training split.

    Raises UserError if no training sample is left.
    """
    dataset, split = base.dataset, base.dataset.train
    if left_out is not None and len(left_out):
        stay = torch.ones(len(split), dtype=torch.bool)
        stay[left_out.cpu()] = False
        if not stay.any():
            raise UserError(
                f"all {len(split)} training samples are to be forgotten: that is a new model, "
                "train one"
            )
        rest = Split(split.images[stay], split.labels[stay], split.ids[stay])
        dataset = dataclasses.replace(dataset, train=rest)
    return BaseModel(network_of(base, state), dataset, base.device, base.origin)


def network_of(base: BaseModel, state: Params) -> nn.Module:
    """A copy of the base model's network with these parameters and buffers."""
    network = copy.deepcopy(base.network)
    network.load_state_dict(dict(state), strict=False)  # of tied weights it has one name
    return network


def unlearn_next(
    base: BaseModel,
    state: Params,
    algorithm: Algorithm,
    position: int,
    requests: Tensor,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    target: Tensor | None = None,
) -> Unlearned:
    """Unlearn one sample from the weights that are there, as the engine does from a base model.

    Args:
        state: parameters and buffers by name. position: the sample's in the training split.
        requests: (M,), positions of all samples that are to be forgotten, this one among them.
        target: (1,) log-odds of its label, at or below which it ends; at the flip if None.

    Raises Stopped as the engine does.
    """
    current = moved(base, state, requests[requests != position])
    at = current.dataset.train.positions([int(base.dataset.train.ids[position])])
    retain = draw_retain(current, algorithm, at, seed).flatten()
    _know_few(current, algorithm, torch.cat([at, retain.cpu()]))
    return unlearn(current, algorithm, at, seed, Execution.SEQUENTIAL, stop, target)


def _know_few(current: BaseModel, algorithm: Algorithm, seen: Tensor) -> None:
    """Have a model's logits of those training samples alone that unlearning will look at.

    To pass all of them through the network would take longer than the steps do. An algorithm that
    computes something of all data is given all.
    """
    if type(algorithm).shared is Algorithm.shared and isinstance(algorithm, Stepwise):
        seen = seen.unique().to(current.device)
        size = len(current.train_labels), len(current.dataset.classes)
        known = current.train_inputs.new_full(size, torch.nan)
        known[seen] = logits(current.model, current.train_inputs[seen])
        vars(current)["train_outputs"] = (known.new_empty(0), known)  # what is computed once


def refuse_unable(algorithm: Algorithm) -> None:
    """Raise UserError for an algorithm that cannot unlearn several samples at once."""
    if not algorithm.takes_sets:
        able = [name for name, each in algorithms.every().items() if each.takes_sets]
        raise UserError(
            f"{algorithm.name} unlearns one sample at a time: those that unlearn several at once "
            f"are {', '.join(able)}"
        )
    if isinstance(algorithm, Stepwise) and algorithm.batch_norm == "batch":
        raise UserError(
            f"{algorithm.name}.batch_norm is 'batch': several samples at once have their "
            "statistics frozen"
        )


def unlearn_at_once(
    base: BaseModel,
    state: Params,
    algorithm: Algorithm,
    positions: Tensor,
    requests: Tensor,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    target: Tensor | None = None,
) -> Unlearned:
    """Unlearn the samples at `positions` (M,) at once, from the weights that are there: one member.

    Args:
        state: parameters and buffers by name.
        requests: positions of all samples that are to be forgotten, these among them.
        target: (M,) log-odds of their labels, at or nearly at which they end; when all predictions
            have flipped if None.

    Raises UserError for an algorithm that cannot, Stopped when `stop`, asked before each step, says
    so.
    """
    refuse_unable(algorithm)
    rest, positions = moved(base, state, requests), positions.to(base.device)
    target = None if target is None else target.to(base.device, widest(base.device))
    each = forget_samples(base, positions, seed, target)
    each = each._replace(
        logits=logits(rest.model, each.image), held_out_prob=rest.held_out_prob[each.label]
    )
    shared = rest.once(algorithm, lambda: algorithm.shared(rest))
    prepared = algorithm.prepare_set(rest.model, each, shared)
    of_set: Any = algorithm
    current, what = moved(base, state), prepared.whole  # what is proposed may need all positions
    if isinstance(algorithm, Stepwise):
        of_set, current = _AtOnce(algorithm), rest
        what = {"each": prepared.each, "whole": prepared.whole}
    ids = sorted(base.dataset.train.ids[positions.cpu()].tolist())
    shape = (1, algorithm.budget, *algorithm.retain_draws)
    order = shuffled([seed, *ids], len(rest.train_labels), math.prod(shape)).reshape(shape)
    retain = torch.from_numpy(order).to(base.device)
    _know_few(rest, algorithm, retain.flatten())
    forget = Forget(*(part[None] for part in each))
    members = (forget, pytree.tree_map(lambda part: part[None], what), retain)
    result = nothing_done(current, of_set, forget.logits, forget.label)
    row = torch.zeros(1, dtype=torch.int64, device=base.device)
    target = None if target is None else target[None]
    return take_steps(current, of_set, row, result, members, stop=stop, target=target)


class _AtOnce:
    """A stepwise algorithm on forget sets: a member's loss is the mean of its samples' losses."""

    logged = ()

    def __init__(self, algorithm: Stepwise) -> None:
        self.algorithm = algorithm

    def __getattr__(self, name: str) -> Any:
        return getattr(self.algorithm, name)

    def report(self, *_: Any) -> dict[str, Tensor]:
        """Nothing: what is logged of a sample is not known of a set."""
        return {}

    def losses(self, step: int) -> tuple[Loss, ...]:
        """Those of the algorithm, of the samples of a set."""
        return tuple(partial(self._mean, loss) for loss in self.algorithm.losses(step))

    def _mean(
        self, loss: Loss, model: Model, forget: Forget, retain: Retain, state: State
    ) -> Tensor:
        def of_one(forget: Forget, own: State) -> Tensor:
            return loss(model, forget, retain, {**state["whole"], **own})

        losses: Tensor = model.each(of_one)(forget, state["each"])
        return losses.mean()

    def constraint(self) -> Constraint | None:
        """That of the algorithm, of what was prepared for the set."""
        inner = self.algorithm.constraint()
        return inner and (lambda params, theta, state: inner(params, theta, state["whole"]))
