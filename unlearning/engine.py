"""Unlearn training samples one by one: a member is one sample and one algorithm.

The engine knows no algorithm. It takes the members that the base model classifies correctly, lets
them take their steps together, their weights stacked, and ends each as soon as its prediction
flips. Or it takes those of which the log-odds of their label are above a target, ends each at the
first step that brings them there, and shortens that step to end on the target.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearning import algorithms
from unlearning.algorithm import Algorithm, Direct, Forget, Loss, Members, Retain, State, Stepwise
from unlearning.base_model import BaseModel, Params
from unlearning.errors import Stopped, UserError
from unlearning.execution import Execution, by_device, gradients, map_members, stacked_copies
from unlearning.losses import log_odds, prob_and_loss, widest
from unlearning.outcome import Status, Unlearned
from unlearning.sampling import draw_retain, forget_samples

HALVINGS = 12  # of the last step, where members end on a target
SLACK = 0.25  # of log-odds, above their targets, within which a forget set has arrived


def unlearn(
    base: BaseModel,
    algorithm: Algorithm,
    positions: Tensor,
    seed: int,
    execution: Execution = Execution.STACKED,
    stop: Callable[[], bool] = lambda: False,
    target: Tensor | None = None,
) -> Unlearned:
    """Unlearn the training samples at `positions` (K,), one a member.

    The result of a member follows from (base model, algorithm, sample, seed, target); how the
    members are executed changes only the order of floating-point sums. Raises Stopped when `stop`,
    asked before each step, says so.

    Args:
        target: (K,) log-odds of the samples' labels, at or below which members end; at the flip
            if None.
    """
    with algorithms.REGISTRY.by(algorithm.name):
        logits, labels = base.train_logits[positions], base.train_labels[positions]
        result = nothing_done(base, algorithm, logits, labels)
        wanted = logits.argmax(dim=1) == labels
        if target is not None:
            result.status[:] = [Status.NOTHING_TO_FORGET] * len(labels)
            target = target.to(base.device, widest(base.device))
            wanted = (log_odds(logits, labels) > target) | algorithm.is_exact
        rows = wanted.nonzero().squeeze(1)
        if not len(rows):
            return result
        execution = execution if len(rows) > 1 and base.stacks else Execution.SEQUENTIAL
        target = None if target is None else target[rows]
        forget = forget_samples(base, positions.to(base.device)[rows], seed, target)
        shared = base.once(algorithm, lambda: algorithm.shared(base))
        prepare = map_members(
            lambda forget: dict(algorithm.prepare(base.model, forget, shared)), execution
        )
        members = forget, prepare(forget), draw_retain(base, algorithm, forget.position, seed)
        return take_steps(base, algorithm, rows, result, members, execution, stop, target)


def take_steps(
    base: BaseModel,
    algorithm: Any,
    rows: Tensor,
    result: Unlearned,
    members: tuple[Forget, State, Tensor],
    execution: Execution = Execution.SEQUENTIAL,
    stop: Callable[[], bool] = lambda: False,
    target: Tensor | None = None,
) -> Unlearned:
    """The result of K members once all of them have ended. Raises Stopped as `unlearn` does.

    Args:
        rows: of these members in the result, (K,).
        members: the forget samples, each part with a leading axis of K, or forget sets (K, M, ...);
            what the algorithm prepared, likewise; and the positions of the retain samples, (K,
            steps, batches of a step, samples of a batch).
        target: (K,), see `unlearn`; of a forget set (K, M), of which no step is shortened.
    """
    kind = _Proposals if isinstance(algorithm, Direct) else _Steps
    stack = kind(base, algorithm, rows, result, members, execution, stop, target)
    for step in range(1, algorithm.budget + 1):
        if stop():
            raise Stopped
        stack.take_step(step)
        if not len(stack.rows):
            break
    return result


def faster_execution(
    base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int
) -> Execution:
    """The execution that takes less time a member and step, measured on up to eight members.

    They take one step either way, after a first time to warm up; the results are thrown away. For
    an algorithm without steps the device decides.
    """
    if not isinstance(algorithm, Stepwise):
        return by_device(base.device)
    if len(positions) == 1 or not base.stacks:
        return Execution.SEQUENTIAL
    short = dataclasses.replace(algorithm, max_steps=1)

    def seconds(execution: Execution) -> float:
        unlearn(base, short, positions[:8], seed, execution)
        started = time.perf_counter()
        unlearn(base, short, positions[:8], seed, execution)
        return time.perf_counter() - started

    return min(Execution, key=seconds)


def nothing_done(base: BaseModel, algorithm: Any, logits: Tensor, labels: Tensor) -> Unlearned:
    """The result of K members before the first step, and of those for which no step is taken.

    Args:
        logits, labels: of the forget samples, (K, classes) and (K,); of sets, (K, M, ...).
    """
    size, before = len(labels), _prob_and_loss(logits, labels)
    no_steps = torch.full((size, algorithm.budget), torch.nan, dtype=torch.float64)
    prob, loss = (torch.cat([part[:, None], no_steps], dim=1) for part in before)
    return Unlearned(
        params={
            name: stacked_copies(p, size, channels_last=True) for name, p in base.params.items()
        },
        buffers={},
        status=[Status.ALREADY_WRONG] * size,
        steps=torch.zeros(size, dtype=torch.int64),
        kept=torch.zeros(size, dtype=torch.int64),
        elapsed_s=torch.zeros(size, dtype=torch.float64),
        forget_prob=prob,
        forget_loss=loss,
        moved=torch.zeros(size, dtype=torch.bool),
        details={name: torch.full((size,), torch.nan) for name in algorithm.logged},
        is_exact=algorithm.is_exact,
    )


def _prob_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """p and CE of K members' forget samples, of sets their means, (K,) float64 in main memory."""
    parts = (part.cpu().double() for part in prob_and_loss(logits, labels))
    prob, loss = (part.reshape(len(part), -1).mean(dim=1) for part in parts)
    return prob, loss


class _Stack:
    """The K members that have not ended. A subclass says how a step changes their weights.

    Attributes:
        params, buffers: by name, (K, ...) each; of the buffers those that change.
        best, regret: the weights after the step with the least regret, likewise, and that regret,
            (K,), for algorithms that go back to it.
        target: log-odds at or below which members end, (K,); at the flip if None.
    """

    def __init__(
        self,
        base: BaseModel,
        algorithm: Any,
        rows: Tensor,
        result: Unlearned,
        members: tuple[Forget, State, Tensor],
        execution: Execution,
        stop: Callable[[], bool],
        target: Tensor | None,
    ) -> None:
        self.base, self.algorithm, self.execution, self.stop = base, algorithm, execution, stop
        self.rows, self.result, self.target = rows, result, target
        self.forget, self.state, self.retain = members
        self.params = {
            # vmap makes grouped convolutions, which are faster if weights are not channels-last.
            name: stacked_copies(p, len(rows), execution is Execution.SEQUENTIAL)
            for name, p in base.params.items()
        }
        self.buffers: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.regret = torch.full((len(rows),), torch.inf, dtype=torch.float64)

    def change_weights(self, step: int) -> None:
        """Change the members' parameters, and buffers if need be, as a step does."""
        raise NotImplementedError

    def shorten(self, before: Params, arrived: Tensor, logits: Tensor) -> None:
        """Shorten the step of members that arrived, (K,) bool, so that they end on the target.

        By bisection on the line from the weights before the step. It changes the logits, too.
        """
        assert self.target is not None
        stays, weights = arrived.nonzero().squeeze(1), self.params | self.buffers
        start = {
            # Buffers that this step was the first to change were the base model's before it.
            name: before.get(name, self.base.state[name].expand(p.shape))[arrived]
            for name, p in weights.items()
        }
        change = {name: p[arrived] - start[name] for name, p in weights.items()}
        image, label = self.forget.image[arrived], self.forget.label[arrived]
        near, far = (torch.full_like(self.target[arrived], end) for end in (0.0, 1.0))
        for _ in range(HALVINGS):
            share = (near + far) / 2
            found = self.logits(_along(start, change, share), image)
            is_past = log_odds(found, label) <= self.target[arrived]
            near, far = torch.where(is_past, near, share), torch.where(is_past, share, far)
        there = _along(start, change, far)
        logits[stays] = self.logits(there, image)
        for name, p in there.items():
            weights[name].data[stays] = p

    def take_step(self, step: int) -> None:
        """One unlearning step of every member; those that end leave the stack."""
        started = time.perf_counter()
        before = {name: p.detach().clone() for name, p in (self.params | self.buffers).items()}
        self.change_weights(step)
        with torch.no_grad():
            logits, finite = self._evaluate(before)
            if self.target is None:
                differs = logits.argmax(dim=-1) != self.forget.label
                arrived = finite & differs.reshape(len(differs), -1).all(dim=1)
            else:
                phi, is_set = log_odds(logits, self.forget.label), logits.ndim > 2
                near = phi <= self.target + SLACK * is_set
                arrived = finite & near.reshape(len(near), -1).all(dim=1)
                if self.algorithm.is_exact:  # it is a model that never saw the sample
                    arrived = finite
                elif arrived.any() and not is_set:
                    self.shorten(before, arrived, logits)
            self._record(step, logits, finite.cpu(), arrived.cpu())
            seconds = time.perf_counter() - started
            self.result.elapsed_s[self.rows.cpu()] += seconds / len(self.rows)
            ended = ~finite | arrived | (step == self.algorithm.budget)
            if ended.any():
                self._finish(ended)
                self.keep(~ended)

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, (K,) bool."""
        self.rows, self.regret = self.rows[stay], self.regret[stay.cpu()]
        self.target = None if self.target is None else self.target[stay]
        self.forget = Forget(*(part[stay] for part in self.forget))
        self.state, self.buffers, self.best = (
            _select(part, stay) for part in (self.state, self.buffers, self.best)
        )

    def _evaluate(self, before: Params) -> tuple[Tensor, Tensor]:
        """Logits of the forget samples, (K, classes), and whether all of a member is finite.

        Where it is not, the member has the weights from before the step again.
        """
        weights = self.params | self.buffers
        logits = self.logits(weights, self.forget.image)
        everything = [part.reshape(len(part), -1) for part in (logits, *weights.values())]
        finite = torch.stack([part.isfinite().all(dim=1) for part in everything]).all(dim=0)
        if not finite.all():
            for name, p in weights.items():
                # Buffers that this step was the first to change were the base model's before it.
                p[~finite] = before[name][~finite] if name in before else self.base.state[name]
        return logits, finite

    def logits(self, weights: Params, images: Tensor) -> Tensor:
        """Logits of the forget samples of members with these weights, (K, classes)."""
        model = self.base.model

        def of_member(weights: Params, image: Tensor) -> Tensor:
            at = model.at(weights)
            return at(image) if image.ndim == 4 else at(image[None])[0]

        logits: Tensor = map_members(of_member, self.execution)(weights, images)
        return logits

    def _record(self, step: int, logits: Tensor, finite: Tensor, arrived: Tensor) -> None:
        """Write into the result what the step came to."""
        rows, result = self.rows.cpu(), self.result
        prob, loss = _prob_and_loss(logits, self.forget.label)
        result.forget_prob[rows[finite], step] = prob[finite]
        result.forget_loss[rows[finite], step] = loss[finite]
        result.steps[rows[finite]] = step
        kept = finite & self._store_better(prob, finite)
        result.kept[rows[kept]] = step
        for member, row in enumerate(rows.tolist()):
            ended = Status.FLIPPED if kept[member] else Status.REWOUND
            if self.target is not None:
                ended = Status.AT_REFERENCE
            ended = ended if arrived[member] else Status.MAX_STEPS
            result.status[row] = ended if finite[member] else Status.NON_FINITE

    def _store_better(self, prob: Tensor, finite: Tensor) -> Tensor:
        """Whether the weights after this step replace those of the best one so far, (K,) bool."""
        regret = None if self.target is not None else self.algorithm.regret(prob, self.state)
        if regret is None:  # the last step is always the best
            return torch.ones_like(finite)
        _hold_shape("regret", regret, prob)
        better: Tensor = finite & (regret < self.regret)
        self.regret = torch.where(better, regret, self.regret)
        for name, p in (self.params | self.buffers).items():
            if name not in self.best:
                self.best[name] = stacked_copies(self.base.state[name], len(better))
            self.best[name][better] = p[better]
        return better

    def _finish(self, ended: Tensor) -> None:
        """Write the weights and details of the members that end, (K,) bool, into the result."""
        rows, result, start = self.rows[ended], self.result, self.base.state
        for name, weights in (self.best or self.params | self.buffers).items():
            stacked = result.params if name in result.params else result.buffers
            if name not in stacked:
                stacked[name] = stacked_copies(start[name], len(result.status))
            stacked[name][rows] = weights[ended]
            differs = (weights[ended] != start[name]).reshape(len(rows), -1).any(dim=1)
            result.moved[rows.cpu()] |= differs.cpu()
        for row in rows.tolist():
            if result.status[row] is Status.MAX_STEPS and not result.moved[row]:
                result.status[row] = Status.UNCHANGED
        at, state = rows.cpu(), _select(self.state, ended)
        report = self.algorithm.report(state, result.steps[at], result.kept[at])
        for name in self.algorithm.logged:
            _hold_shape("report", report[name], at)
            result.details[name][at] = report[name].cpu().to(torch.float32)


class _Steps(_Stack):
    """Members that take optimiser steps."""

    def __init__(self, *job: Any) -> None:
        super().__init__(*job)
        self.train_model = self.base.model  # the one whose losses are differentiated
        if self.algorithm.batch_norm == "batch":
            network = _with_batch_statistics(self.base.network)
            self.train_model = self.base.as_model(network)
            self.buffers = {
                name: stacked_copies(buffer, len(self.rows))
                for name, buffer in network.named_buffers()
            }
        for p in self.params.values():
            p.requires_grad_()
        self.optimizer = self.algorithm.make_optimizer(list(self.params.values()))

    def change_weights(self, step: int) -> None:
        """An optimiser step for each loss, each followed by the constraint."""
        at, base = self.retain[:, step - 1], self.base
        retain = Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])
        constraint = self.algorithm.constraint()
        constrain = map_members(
            lambda params, state: dict(constraint(params, base.params, state)), self.execution
        )
        for loss in self.algorithm.losses(step):
            gradient_of = gradients(partial(self._loss, loss), self.execution)
            job = (self.params, self.buffers, self.forget, retain, self.state)
            for name, gradient in gradient_of(*job).items():
                self.params[name].grad = gradient
            self.optimizer.step()
            with torch.no_grad():
                found = {} if constraint is None else constrain(self.params, self.state)
                for name, weights in found.items():
                    _hold_shape("constraint", weights, self.params[name])
                    self.params[name].copy_(weights)

    def _loss(self, loss: Loss, params: Params, buffers: Params, *rest: Any) -> Tensor:
        """The loss of one member. Raises ValueError where it is not one number, ()."""
        found = loss(self.train_model.at({**params, **buffers}), *rest)
        _hold_shape("a loss", found, found.new_empty(()))
        return found

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, with their optimiser's state."""
        size = len(self.rows)
        super().keep(stay)
        self.retain = self.retain[stay]
        for p in self.params.values():
            p.data, p.grad = p.data[stay], None
            for name, value in self.optimizer.state[p].items():
                if isinstance(value, Tensor) and value.shape[:1] == (size,):
                    self.optimizer.state[p][name] = value[stay]


class _Proposals(_Stack):
    """Members of an algorithm that gives their parameters itself."""

    def change_weights(self, step: int) -> None:
        """Take what the algorithm proposes."""
        members = Members(self.base, self.forget, self.state, self.execution, self.stop)
        state = self.base.state
        for name, weights in self.algorithm.propose(members, step).items():
            _hold_shape("propose", weights, state[name].expand(len(self.rows), *state[name].shape))
            (self.params if name in self.params else self.buffers)[name] = weights

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay."""
        super().keep(stay)
        self.params = {name: p[stay] for name, p in self.params.items()}


def _hold_shape(method: str, found: Tensor, like: Tensor) -> None:
    """Raise ValueError where members' numbers would be spread over others in silence."""
    if found.shape != like.shape:
        raise ValueError(f"{method} gives {tuple(found.shape)}, and takes {tuple(like.shape)}")


def _along(start: Params, change: Params, share: Tensor) -> dict[str, Tensor]:
    """Weights at a share (K,) of the way of their change, by name, (K, ...) each."""
    return {
        name: p + (share.reshape(-1, *[1] * (p.ndim - 1)) * change[name]).to(p.dtype)
        for name, p in start.items()
    }


def _select(stacked: Mapping[str, Any], chosen: Tensor) -> dict[str, Any]:
    """Some members, (K,) bool, of tensors, or mappings of them, with a leading axis of K."""
    selected: dict[str, Any] = pytree.tree_map(lambda part: part[chosen], stacked)
    return selected


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """A copy whose batch normalisation uses, and keeps track of, the statistics of each batch."""
    network = copy.deepcopy(network)
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        raise UserError("batch_norm is 'batch', but the base model has no batch normalisation")
    for layer in layers:
        layer.train()
    return network
