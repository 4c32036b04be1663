"""Unlearn training samples one by one: a member is one sample and one algorithm.

The engine knows no algorithm. It takes the members that the base model classifies correctly, lets
them take their steps together, their weights stacked, and ends each as soon as its prediction
flips.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearning import algorithms
from unlearning.algorithm import Algorithm, Forget, Loss, Members, Retain, State, Stepwise
from unlearning.base_model import BaseModel, Params
from unlearning.errors import Stopped, UserError
from unlearning.execution import Execution, by_device, gradients, map_members, stacked_copies
from unlearning.losses import prob_and_loss
from unlearning.outcome import Status, Unlearned
from unlearning.sampling import draw_retain, forget_samples


def unlearn(
    base: BaseModel,
    algorithm: Algorithm,
    positions: Tensor,
    seed: int,
    execution: Execution = Execution.STACKED,
    stop: Callable[[], bool] = lambda: False,
) -> Unlearned:
    """Unlearn the training samples at `positions` (K,), one a member.

    The result of a member follows from (base model, algorithm, sample, seed); how the members are
    executed changes only the order of floating-point sums. Raises Stopped when `stop`, asked
    before each step, says so.
    """
    with algorithms.REGISTRY.by(algorithm.name):
        result = _nothing_done(base, algorithm, positions)
        right = base.train_logits[positions].argmax(dim=1) == base.train_labels[positions]
        rows = right.nonzero().squeeze(1)
        if not len(rows):
            return result
        execution = execution if len(rows) > 1 else Execution.SEQUENTIAL
        kind = _Steps if isinstance(algorithm, Stepwise) else _Proposals
        stack = kind(base, algorithm, positions.to(base.device)[rows], seed, execution, stop)
        stack.rows, stack.result = rows, result
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
    """The execution that takes less time a member and step, measured on a few of the members.

    Up to eight members take one step either way, after a first time to warm up; the results are
    thrown away. There is nothing to measure for a single member, and for an algorithm without steps
    the device decides.
    """
    if not isinstance(algorithm, Stepwise):
        return by_device(base.device)
    if len(positions) == 1:
        return Execution.SEQUENTIAL
    short = dataclasses.replace(algorithm, max_steps=1)

    def seconds(execution: Execution) -> float:
        unlearn(base, short, positions[:8], seed, execution)
        started = time.perf_counter()
        unlearn(base, short, positions[:8], seed, execution)
        return time.perf_counter() - started

    return min(Execution, key=seconds)


def _nothing_done(base: BaseModel, algorithm: Algorithm, positions: Tensor) -> Unlearned:
    """The result before the first step, and of members for which no step is taken."""
    size = len(positions)
    prob, loss = prob_and_loss(base.train_logits[positions], base.train_labels[positions])
    no_steps = torch.full((size, algorithm.budget), torch.nan, dtype=torch.float64)
    return Unlearned(
        params={
            name: stacked_copies(p, size, channels_last=True) for name, p in base.params.items()
        },
        buffers={},
        status=[Status.ALREADY_WRONG] * size,
        steps=torch.zeros(size, dtype=torch.int64),
        kept=torch.zeros(size, dtype=torch.int64),
        elapsed_s=torch.zeros(size, dtype=torch.float64),
        forget_prob=torch.cat([prob.cpu().double()[:, None], no_steps], dim=1),
        forget_loss=torch.cat([loss.cpu().double()[:, None], no_steps], dim=1),
        moved=torch.zeros(size, dtype=torch.bool),
        details={name: torch.full((size,), torch.nan) for name in algorithm.logged},
        is_exact=algorithm.is_exact,
    )


class _Stack:
    """The K members that have not ended. A subclass says how a step changes their weights.

    Attributes:
        rows: (K,), the row of each member in `result`, which has those that ended too.
        forget: the forget samples, each part with a leading axis of K.
        state: what the algorithm prepared, likewise.
        params, buffers: by name, (K, ...) each; of the buffers those that change.
        best, regret: the weights after the step with the least regret, likewise, and that regret,
            (K,), for algorithms that go back to it.
    """

    rows: Tensor
    result: Unlearned

    def __init__(
        self,
        base: BaseModel,
        algorithm: Any,
        positions: Tensor,
        seed: int,
        execution: Execution,
        stop: Callable[[], bool],
    ) -> None:
        self.base, self.algorithm, self.execution, self.stop = base, algorithm, execution, stop
        self.model, self.seed = base.model, seed
        self.forget = forget_samples(base, positions, seed)
        shared = base.once(algorithm, lambda: algorithm.shared(base))
        prepare = map_members(
            lambda forget: dict(algorithm.prepare(self.model, forget, shared)), execution
        )
        self.state: Mapping[str, Any] = prepare(self.forget)
        self.params = {
            # vmap makes grouped convolutions, which are faster if weights are not channels-last.
            name: stacked_copies(p, len(positions), execution is Execution.SEQUENTIAL)
            for name, p in base.params.items()
        }
        self.buffers: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.regret = torch.full((len(positions),), torch.inf, dtype=torch.float64)

    def change_weights(self, step: int) -> None:
        """Change the members' parameters, and buffers if need be, as a step does."""
        raise NotImplementedError

    def take_step(self, step: int) -> None:
        """One unlearning step of every member; those that end leave the stack."""
        started = time.perf_counter()
        before = {name: p.detach().clone() for name, p in (self.params | self.buffers).items()}
        self.change_weights(step)
        with torch.no_grad():
            logits, finite = self._evaluate(before)
            flipped = finite & (logits.argmax(dim=1) != self.forget.label)
            self._record(step, logits, finite.cpu(), flipped.cpu())
            seconds = time.perf_counter() - started
            self.result.elapsed_s[self.rows.cpu()] += seconds / len(self.rows)
            ended = ~finite | flipped | (step == self.algorithm.budget)
            if ended.any():
                self._finish(ended)
                self.keep(~ended)

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, (K,) bool."""
        self.rows, self.regret = self.rows[stay], self.regret[stay.cpu()]
        self.forget = Forget(*(part[stay] for part in self.forget))
        self.state, self.buffers, self.best = (
            _select(part, stay) for part in (self.state, self.buffers, self.best)
        )

    def _evaluate(self, before: Params) -> tuple[Tensor, Tensor]:
        """Logits of the forget samples, (K, classes), and whether all of a member is finite.

        Where it is not, the member has the weights from before the step again.
        """
        weights = self.params | self.buffers
        logits_of = map_members(
            lambda weights, image: self.model.at(weights)(image[None])[0], self.execution
        )
        logits: Tensor = logits_of(weights, self.forget.image)
        everything = [logits, *weights.values()]
        finite = torch.stack(
            [part.reshape(len(part), -1).isfinite().all(dim=1) for part in everything]
        ).all(dim=0)
        if not finite.all():
            for name, p in weights.items():
                # Buffers that this step was the first to change were the base model's before it.
                p[~finite] = before[name][~finite] if name in before else self.base.state[name]
        return logits, finite

    def _record(self, step: int, logits: Tensor, finite: Tensor, flipped: Tensor) -> None:
        """Write into the result what the step came to."""
        rows, result = self.rows.cpu(), self.result
        prob, loss = (part.cpu().double() for part in prob_and_loss(logits, self.forget.label))
        result.forget_prob[rows[finite], step] = prob[finite]
        result.forget_loss[rows[finite], step] = loss[finite]
        result.steps[rows[finite]] = step
        kept = finite & self._store_better(prob, finite)
        result.kept[rows[kept]] = step
        for row, is_finite, is_flipped, is_kept in zip(
            rows.tolist(), finite, flipped, kept, strict=True
        ):
            result.status[row] = Status.NON_FINITE
            if is_finite:
                result.status[row] = Status.FLIPPED if is_kept else Status.REWOUND
                if not is_flipped:
                    result.status[row] = Status.MAX_STEPS

    def _store_better(self, prob: Tensor, finite: Tensor) -> Tensor:
        """Whether the weights after this step replace those of the best one so far, (K,) bool."""
        regret = self.algorithm.regret(prob, self.state)
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
        moved = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for name, weights in (self.best or self.params | self.buffers).items():
            if name not in result.params and name not in result.buffers:
                result.buffers[name] = stacked_copies(start[name], len(result.status))
            stacked = result.params if name in result.params else result.buffers
            stacked[name][rows] = weights[ended]
            differs = weights[ended] != start[name]
            moved |= differs.reshape(len(rows), -1).any(dim=1)
        result.moved[rows.cpu()] = moved.cpu()
        for row in rows[~moved].tolist():
            if result.status[row] is Status.MAX_STEPS:
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
        self.retain = draw_retain(self.base, self.algorithm, self.forget.position, self.seed)
        self.train_model = self.model  # the one whose losses are differentiated
        if self.algorithm.batch_norm == "batch":
            network = _with_batch_statistics(self.base.network)
            self.train_model = self.base.as_model(network)
            self.buffers = {
                name: stacked_copies(buffer, len(self.regret))
                for name, buffer in network.named_buffers()
            }
        for p in self.params.values():
            p.requires_grad_()
        self.optimizer = self.algorithm.make_optimizer(list(self.params.values()))

    def change_weights(self, step: int) -> None:
        """An optimiser step for each loss."""
        at, base = self.retain[:, step - 1], self.base
        retain = Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])

        def gradients_of(loss: Loss) -> Mapping[str, Tensor]:
            def member_loss(
                params: Params, buffers: Params, forget: Forget, retain: Retain, state: State
            ) -> Tensor:
                model = self.train_model.at({**params, **buffers})
                return scalar(loss(model, forget, retain, state))

            gradient_of = gradients(member_loss, self.execution)
            return gradient_of(self.params, self.buffers, self.forget, retain, self.state)

        def constrained(params: Params) -> Mapping[str, Tensor]:
            constraint = self.algorithm.constraint()
            if constraint is None:
                return {}
            constrain = map_members(
                lambda params, state: dict(constraint(params, base.params, state)), self.execution
            )
            found: Mapping[str, Tensor] = constrain(params, self.state)
            return found

        take_steps(self.algorithm, step, self.params, self.optimizer, gradients_of, constrained)

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


def take_steps(
    algorithm: Stepwise,
    step: int,
    params: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    gradients_of: Callable[[Loss], Mapping[str, Tensor]],
    constrained: Callable[[Params], Mapping[str, Tensor]],
) -> None:
    """The optimiser steps of an unlearning step, one for each loss, each then constrained.

    Args:
        gradients_of: those of a loss, by parameter. constrained: what takes the place of the
            parameters after a step, as far as that is anything else.
    """
    for loss in algorithm.losses(step):
        for name, gradient in gradients_of(loss).items():
            params[name].grad = gradient
        optimizer.step()
        with torch.no_grad():
            for name, weights in constrained(params).items():
                _hold_shape("constraint", weights, params[name])
                params[name].copy_(weights)


def scalar(loss: Tensor) -> Tensor:
    """A loss. Raises ValueError where it is not one number, ()."""
    if loss.shape != ():
        raise ValueError(f"a loss has the shape {tuple(loss.shape)}, and takes one number, ()")
    return loss


def _hold_shape(method: str, found: Tensor, like: Tensor) -> None:
    """Raise ValueError where members' numbers would be spread over others in silence."""
    if found.shape != like.shape:
        raise ValueError(f"{method} gives {tuple(found.shape)}, and takes {tuple(like.shape)}")


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
