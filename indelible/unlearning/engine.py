"""Unlearn one sample a member, many members at once: parameters stacked, steps mapped by vmap.

The engine knows no algorithm. It draws retain batches, turns the losses of a step into optimiser
steps, keeps what is finite, and lets members leave the stack as soon as their sample flips.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from indelible.unlearning.algorithm import Algorithm, Forget, Loss, Retain, State
from indelible.unlearning.base import BaseModel, Params


class Status(StrEnum):
    """How an unlearning run ended."""

    FLIPPED = "flipped"  # the prediction of the forget sample changed
    MAX_STEPS = "max_steps"  # it did not within the budget
    NON_FINITE = "non_finite"  # a step left the finite numbers; the last finite one is kept
    ALREADY_WRONG = "already_wrong"  # the base model misclassifies the sample: nothing was run


class Execution(StrEnum):
    """How the members of a chunk take their steps."""

    STACKED = "stacked"  # together, by vmap over their stacked parameters
    SEQUENTIAL = "sequential"  # one after the other; only the optimiser's part is taken together


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Unlearning was asked to stop, and did between two steps."""


@dataclass(frozen=True)
class Unlearned:
    """What became of K members.

    Attributes:
        params: unlearned parameters by name, each with a leading axis of K.
        status: K statuses.
        steps: (K,) int64, steps taken and kept.
        elapsed_s: (K,) float64, seconds: each step's wall time over the members then in the stack.
        forget_prob, forget_loss: (K, max_steps + 1) float64, p(x_f) and CE(x_f) before the first
            step and after each; NaN past a member's last step.
        details: scalars that the algorithm reports, (K,) each.
    """

    params: dict[str, Tensor]
    status: list[Status]
    steps: Tensor
    elapsed_s: Tensor
    forget_prob: Tensor
    forget_loss: Tensor
    details: dict[str, Tensor]

    def cpu(self) -> Unlearned:
        """The same with the parameters in main memory."""
        return dataclasses.replace(self, params={n: p.cpu() for n, p in self.params.items()})

    def params_of(self, member: int) -> dict[str, Tensor]:
        """The unlearned parameters of one member."""
        return {name: stacked[member] for name, stacked in self.params.items()}


def retain_positions(seed: int, sample_id: int, position: int, size: int, draws: int) -> np.ndarray:
    """Positions in the training split of a member's retain samples, in drawing order: (draws,).

    A loader's order: the remaining data shuffled, and shuffled again whenever it is used up. It
    follows from (seed, sample) alone, so a member's result does not depend on its company.

    Args:
        seed: of the unlearning. sample_id: of the forget sample. position: the forget sample's
            in the training split, which is left out. size: of the training split.
        draws: how many samples.
    """
    shuffle = np.random.default_rng([seed, sample_id])
    rounds = -(-draws // (size - 1))
    order = [shuffle.permutation(size - 1) for _ in range(rounds)]
    drawn = np.concatenate(order)[:draws] if order else np.empty(0, dtype=np.int64)
    return drawn + (drawn >= position)


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
    result = _nothing_done(base, algorithm, positions)
    right = base.train_logits[positions].argmax(dim=1) == base.train_labels[positions]
    members = right.nonzero().squeeze(1)
    if len(members):
        stack = _Stack(
            base, algorithm, positions.to(base.device)[members], members, seed, execution, result
        )
        for step in range(1, algorithm.max_steps + 1):
            if stop():
                raise Stopped
            stack.take(step)
            if not len(stack):
                break
    return result


def faster_execution(
    base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int
) -> Execution:
    """The execution that takes less time a member and step, measured on a few of the members.

    One step of up to eight members either way, each after a run to warm up. What they come to is
    thrown away.
    """
    short = dataclasses.replace(algorithm, max_steps=1)

    def seconds(execution: Execution) -> float:
        unlearn(base, short, positions[:8], seed, execution)
        started = time.perf_counter()
        unlearn(base, short, positions[:8], seed, execution)
        return time.perf_counter() - started

    return min(Execution, key=seconds)


def _nothing_done(base: BaseModel, algorithm: Algorithm, positions: Tensor) -> Unlearned:
    size, logits = len(positions), base.train_logits[positions]
    prob, loss = _prob_and_loss(logits, base.train_labels[positions])
    blank = torch.full((size, algorithm.max_steps), torch.nan, dtype=torch.float64)
    return Unlearned(
        params={name: _repeated(p, size, channels_last=True) for name, p in base.params.items()},
        status=[Status.ALREADY_WRONG] * size,
        steps=torch.zeros(size, dtype=torch.int64),
        elapsed_s=torch.zeros(size, dtype=torch.float64),
        forget_prob=torch.cat([prob.cpu()[:, None], blank], dim=1),
        forget_loss=torch.cat([loss.cpu()[:, None], blank], dim=1),
        details={name: torch.full((size,), torch.nan) for name in algorithm.logged},
    )


def _prob_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    loss = F.cross_entropy(logits.double(), labels, reduction="none")
    return torch.exp(-loss), loss


class _Stack:
    """Members in flight. What a member leaves behind goes into `result` at its row."""

    def __init__(
        self,
        base: BaseModel,
        algorithm: Algorithm,
        positions: Tensor,
        rows: Tensor,
        seed: int,
        execution: Execution,
        result: Unlearned,
    ) -> None:
        self.base, self.algorithm, self.result = base, algorithm, result
        self.rows, self.model = rows, base.model
        self.stacked = execution is Execution.STACKED and len(rows) > 1
        self.forget, self.order = _members(base, algorithm, positions, seed)
        self.state = self._each(lambda forget: dict(algorithm.prepare(self.model, forget)))(
            self.forget
        )
        for name in algorithm.logged:
            result.details[name][rows] = self.state[name].cpu().to(torch.float32)
        self.params = {
            # Grouped convolutions, into which vmap turns them, are quicker with plain weights.
            name: _repeated(p, len(rows), channels_last=not self.stacked).requires_grad_()
            for name, p in base.params.items()
        }
        self.optimizer = algorithm.make_optimizer(list(self.params.values()))

    def _each(self, function: Function) -> Function:
        """A function of one member as a function of the stack."""
        return vmap(function) if self.stacked else _one_by_one(function)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, step: int) -> None:
        """One unlearning step of every member; those that end leave."""
        started = time.perf_counter()
        before = {name: p.detach().clone() for name, p in self.params.items()}
        retain = self._retain(step)
        for loss in self.algorithm.losses(step):
            self._update(loss, retain)
        with torch.no_grad():
            logits = self._each(lambda params, image: self.model.at(params)(image[None])[0])(
                self.params, self.forget.image
            )
            finite = _finite([logits, *self.params.values()])
            self._restore(before, ~finite)
        flipped = finite & (logits.argmax(dim=1) != self.forget.label)
        self._record(step, logits, finite, flipped, started)
        ended = ~finite | flipped | (step == self.algorithm.max_steps)
        if ended.any():
            self._leave(ended)

    def _retain(self, step: int) -> Retain:
        at = self.order[:, step - 1]
        base = self.base
        return Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])

    def _update(self, loss: Loss, retain: Retain) -> None:
        base, constraint = self.base, self.algorithm.constraint()

        def member_loss(params: Params, forget: Forget, retain: Retain, state: State) -> Tensor:
            return loss(self.model.at(params), forget, retain, state)

        gradients = _of_the_sum(member_loss) if self.stacked else _one_by_one(_of_one(member_loss))
        found = gradients(self.params, self.forget, retain, self.state)
        for name, p in self.params.items():
            p.grad = found[name]
        self.optimizer.step()
        if constraint is not None:
            with torch.no_grad():
                kept = self._each(
                    lambda params, state: dict(constraint(params, base.params, state))
                )(self.params, self.state)
                for name, p in self.params.items():
                    p.copy_(kept[name])

    def _restore(self, before: Params, lost: Tensor) -> None:
        if lost.any():
            for name, p in self.params.items():
                p[lost] = before[name][lost]

    def _record(
        self, step: int, logits: Tensor, finite: Tensor, flipped: Tensor, started: float
    ) -> None:
        rows, result = self.rows.cpu(), self.result
        prob, loss = _prob_and_loss(logits, self.forget.label)
        kept = finite.cpu()
        result.forget_prob[rows[kept], step] = prob.cpu()[kept]
        result.forget_loss[rows[kept], step] = loss.cpu()[kept]
        result.steps[rows[kept]] = step
        for row, is_finite, has_flipped in zip(rows.tolist(), kept, flipped.cpu(), strict=True):
            ended_well = Status.FLIPPED if has_flipped else Status.MAX_STEPS
            result.status[row] = ended_well if is_finite else Status.NON_FINITE
        result.elapsed_s[rows] += (time.perf_counter() - started) / len(rows)

    @torch.no_grad()
    def _leave(self, ended: Tensor) -> None:
        for name, p in self.params.items():
            self.result.params[name][self.rows[ended]] = p[ended]
        stay = ~ended
        size = len(self)
        self.rows, self.order = self.rows[stay], self.order[stay]
        self.forget = Forget(*(part[stay] for part in self.forget))
        self.state = pytree.tree_map(lambda part: part[stay], self.state)
        for p in self.params.values():
            p.data, p.grad = p.data[stay], None
            for name, value in self.optimizer.state[p].items():
                if isinstance(value, Tensor) and value.shape[:1] == (size,):
                    self.optimizer.state[p][name] = value[stay]


def _members(
    base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int
) -> tuple[Forget, Tensor]:
    """The forget samples, and the retain samples' positions as (K, steps, draws, batch)."""
    draws, batch = algorithm.retain_draws
    ids = base.dataset.train.ids[positions.cpu()].tolist()
    count = algorithm.max_steps * draws * batch
    order = np.stack(
        [
            retain_positions(seed, sample, position, len(base.train_labels), count)
            for sample, position in zip(ids, positions.tolist(), strict=True)
        ]
    ).reshape(len(ids), algorithm.max_steps, draws, batch)
    uniform = [np.random.default_rng([seed, sample, 1]).random() for sample in ids]
    forget = Forget(
        image=base.train_inputs[positions],
        label=base.train_labels[positions],
        logits=base.train_logits[positions],
        uniform=torch.tensor(uniform, dtype=torch.float64, device=base.device),
    )
    return forget, torch.from_numpy(order).to(base.device)


def _finite(stacked: Iterable[Tensor]) -> Tensor:
    """(K,) bool: whether everything a member has is finite."""
    return torch.stack([part.flatten(1).isfinite().all(dim=1) for part in stacked]).all(dim=0)


Function = Callable[..., Any]


def _one_by_one(function: Function) -> Function:
    """Map a function of one member over the leading axis of all its arguments, as vmap would."""

    def mapped(*stacked: Any) -> Any:
        size = len(pytree.tree_leaves(stacked)[0])
        results = [
            function(*pytree.tree_map(lambda part, k=k: part[k], stacked)) for k in range(size)
        ]
        return pytree.tree_map(lambda *parts: torch.stack(parts), *results)

    return mapped


def _of_one(loss: Function) -> Function:
    """The gradient of one member's loss in its first argument, a mapping of tensors."""

    def gradient(params: Params, *rest: Any) -> dict[str, Tensor]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        value = loss(leaves, *rest)
        found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    return gradient


def _of_the_sum(loss: Function) -> Function:
    """The gradients of all members: that of the sum of their losses is each member's own."""
    summed = vmap(loss)

    def gradient(params: Params, *rest: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = _of_one(lambda *given: summed(*given).sum())(params, *rest)
        return found

    return gradient


def _repeated(tensor: Tensor, size: int, channels_last: bool) -> Tensor:
    """(...) to (size, ...), copies of the tensor; convolution weights in either memory format."""
    if tensor.ndim != 4 or not channels_last:
        return tensor.contiguous().expand(size, *tensor.shape).clone()
    last = tensor.permute(0, 2, 3, 1)
    return last.expand(size, *last.shape).clone().permute(0, 1, 4, 2, 3)
