"""Unlearn several samples from one model: each from what the last one left, or all at once.

None of them is rehearsed: whatever is drawn of the remaining data, or computed of it, is of the
training samples without all that are to be forgotten. One after the other, each is a member of the
ordinary engine, and the model that the last one left is its base model, so also SCRUB's teacher. At
once, the losses of a step are the means of the samples' own, on one set of weights; it ends when
all predictions have flipped. Algorithms say whether they can do that (`takes_sets`).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.utils import _pytree as pytree

from unlearning import algorithms
from unlearning.algorithm import (
    Algorithm,
    Direct,
    Forget,
    Loss,
    Members,
    Retain,
    SetState,
    State,
    Stepwise,
)
from unlearning.base_model import BaseModel, Params, logits
from unlearning.dataset import Split
from unlearning.engine import scalar, take_steps, unlearn
from unlearning.errors import Stopped, UserError
from unlearning.execution import Execution, vmapped
from unlearning.losses import prob_and_loss
from unlearning.outcome import Status, Unlearned
from unlearning.sampling import draw_retain, forget_samples, shuffled


@dataclass(frozen=True)
class SetUnlearned:
    """What unlearning M samples at once came to.

    Attributes:
        state: parameters, and buffers where they changed, by name. steps: taken.
        forget_prob: (M, steps + 1) float64, p of each before the first step and after each.
    """

    state: dict[str, Tensor]
    status: Status
    steps: int
    forget_prob: Tensor


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
) -> Unlearned:
    """Unlearn one sample from the weights that are there, as the engine does from a base model.

    Args:
        state: parameters and buffers by name. position: the sample's in the training split.
        requests: (M,), positions of all samples that are to be forgotten, this one among them.

    Raises Stopped as the engine does.
    """
    current = moved(base, state, requests[requests != position])
    sample = int(base.dataset.train.ids[position])
    at = current.dataset.train.positions([sample])
    _know_few(current, algorithm, at, seed)
    return unlearn(current, algorithm, at, seed, Execution.SEQUENTIAL, stop)


def _know_few(current: BaseModel, algorithm: Algorithm, at: Tensor, seed: int) -> None:
    """Have a model's logits of those training samples alone that unlearning one will look at.

    To pass all of them through the network would take longer than the steps do. An algorithm that
    computes something of all data is given all.
    """
    if type(algorithm).shared is not Algorithm.shared or not isinstance(algorithm, Stepwise):
        return
    at = at.to(current.device)
    seen = torch.cat([at, draw_retain(current, algorithm, at, seed).flatten()]).unique()
    found = logits(current.model, current.train_inputs[seen])
    known = found.new_full((len(current.train_labels), found.shape[1]), torch.nan)
    known[seen] = found
    vars(current)["train_outputs"] = (found.new_empty(0), known)  # what is computed once


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
) -> SetUnlearned:
    """Unlearn the samples at `positions` (M,) at once, from the weights that are there.

    Args:
        state: parameters and buffers by name.
        requests: positions of all samples that are to be forgotten, these among them.

    Raises UserError for an algorithm that cannot, Stopped when `stop`, asked before each step, says
    so.
    """
    refuse_unable(algorithm)
    rest, positions = moved(base, state, requests), positions.to(base.device)
    forget = forget_samples(base, positions, seed)
    forget = forget._replace(
        logits=logits(rest.model, forget.image), held_out_prob=rest.held_out_prob[forget.label]
    )
    shared = rest.once(algorithm, lambda: algorithm.shared(rest))
    prepared = algorithm.prepare_set(rest.model, forget, shared)
    if isinstance(algorithm, Stepwise):
        ids = base.dataset.train.ids[positions.cpu()].tolist()
        change = _by_steps(rest, algorithm, forget, prepared, [seed, *sorted(ids)])
    else:
        assert isinstance(algorithm, Direct)
        one = Forget(*(part[None] for part in forget))
        whole: State = pytree.tree_map(lambda part: part[None], prepared.whole)
        members = Members(moved(base, state), one, whole, Execution.SEQUENTIAL, stop)

        def change(step: int) -> dict[str, Tensor]:
            return {name: p[0] for name, p in algorithm.propose(members, step).items()}

    def seen(weights: Params) -> Tensor:
        return logits(rest.model.at({**rest.state, **weights}), forget.image)

    probs = [prob_and_loss(seen({}), forget.label)[0].cpu()]
    weights, steps, status = dict(rest.params), 0, Status.MAX_STEPS
    for step in range(1, algorithm.budget + 1):
        if stop():
            raise Stopped
        after = change(step)
        found = seen(after)
        if not all(part.isfinite().all() for part in (found, *after.values())):
            status = Status.NON_FINITE
            break
        weights, steps = after, step
        probs.append(prob_and_loss(found, forget.label)[0].cpu())
        if (found.argmax(dim=1) != forget.label).all():
            status = Status.FLIPPED
            break
    still = all(torch.equal(w, rest.state[name]) for name, w in weights.items())
    if status is Status.MAX_STEPS and still:
        status = Status.UNCHANGED
    return SetUnlearned(weights, status, steps, torch.stack(probs, dim=1))


Change = Callable[[int], dict[str, Tensor]]  # the weights after a step, counted from 1


def _by_steps(
    rest: BaseModel, algorithm: Stepwise, forget: Forget, prepared: SetState, key: list[int]
) -> Change:
    """Optimiser steps on the mean of the samples' losses.

    Args:
        rest: the model on the remaining data. key: of what is drawn of these.
    """
    shape = (algorithm.budget, *algorithm.retain_draws)
    order = shuffled(key, len(rest.train_labels), math.prod(shape))
    drawn = torch.from_numpy(order).reshape(shape)
    params = {name: p.clone() for name, p in rest.params.items()}
    optimizer, constraint = algorithm.make_optimizer([*params.values()]), algorithm.constraint()

    def constrained(params: Params) -> Params:
        return constraint(params, rest.params, prepared.whole) if constraint else {}

    def change(step: int) -> dict[str, Tensor]:
        at = drawn[step - 1].to(rest.device)
        images, labels = rest.train_inputs[at], rest.train_labels[at]
        known = rest.test_logits.new_empty((*at.shape, rest.test_logits.shape[1]))
        if at.numel():
            known = logits(rest.model, images.flatten(0, 1)).reshape(known.shape)
        retain = Retain(images, labels, known)

        def gradients_of(loss: Loss) -> Params:
            def mean_loss(params: Params) -> Tensor:
                model = rest.model.at(params)

                def of_one(forget: Forget, own: State) -> Tensor:
                    return scalar(loss(model, forget, retain, {**prepared.whole, **own}))

                losses: Tensor = vmapped(of_one)(forget, prepared.each)
                return losses.mean()

            found: Params = grad(mean_loss)(dict(params))
            return found

        take_steps(algorithm, step, params, optimizer, gradients_of, constrained)
        return {name: p.clone() for name, p in params.items()}

    return change
