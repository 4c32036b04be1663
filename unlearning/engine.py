"""Unlearn one sample a member, many members at once: parameters stacked, steps mapped by vmap.

The engine knows no algorithm. It draws retain batches, turns the losses of a step into optimiser
steps, keeps what is finite, and lets members leave the stack as soon as their sample flips.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearning.algorithm import Algorithm, Direct, Forget, Loss, Members, Retain, State, Stepwise
from unlearning.base_model import BaseModel, Params
from unlearning.errors import UserError
from unlearning.execution import Execution, Stopped, by_device, each, gradients, stacked_copies
from unlearning.losses import log_prob


class Status(StrEnum):
    """How an unlearning run ended."""

    FLIPPED = "flipped"  # the prediction of the forget sample changed
    REWOUND = "rewound"  # it did, but an earlier step is kept, at which it had not yet
    MAX_STEPS = "max_steps"  # it did not within the budget
    UNCHANGED = "unchanged"  # nor did a bit of the weights that were kept
    NON_FINITE = "non_finite"  # a step left the finite numbers; the last finite one is kept
    ALREADY_WRONG = "already_wrong"  # the base model misclassifies the sample: nothing was run


@dataclass(frozen=True)
class Unlearned:
    """What became of K members.

    Attributes:
        params: unlearned parameters by name, each with a leading axis of K.
        buffers: those that changed, where an algorithm changes them, likewise.
        status: K statuses.
        steps: (K,) int64, steps taken.
        kept: (K,) int64, the step after which the parameters were kept; the last one taken, but
            for algorithms that rewind.
        elapsed_s: (K,) float64, seconds: each step's wall time over the members then in the stack.
        forget_prob, forget_loss: (K, max_steps + 1) float64, p(x_f) and CE(x_f) before the first
            step and after each; NaN past a member's last step.
        moved: (K,) bool, whether a bit of the weights differs from the base model's.
        details: scalars that the algorithm reports, (K,) each.
        is_exact: whether the algorithm comes to models that never saw their sample.
    """

    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    status: list[Status]
    steps: Tensor
    kept: Tensor
    elapsed_s: Tensor
    forget_prob: Tensor
    forget_loss: Tensor
    moved: Tensor
    details: dict[str, Tensor]
    is_exact: bool = False

    def cpu(self) -> Unlearned:
        """The same with the weights in main memory."""
        params, buffers = (
            {name: stacked.cpu() for name, stacked in part.items()}
            for part in (self.params, self.buffers)
        )
        return dataclasses.replace(self, params=params, buffers=buffers)

    def state_of(self, member: int) -> dict[str, Tensor]:
        """The unlearned parameters of one member, and the buffers that changed."""
        both = self.params | self.buffers
        return {name: stacked[member] for name, stacked in both.items()}


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
    if not len(members):
        return result
    execution = execution if len(members) > 1 else Execution.SEQUENTIAL
    positions = positions.to(base.device)[members]
    if isinstance(algorithm, Stepwise):
        stack: _Stack = _Stepping(base, algorithm, positions, members, seed, execution, result)
    else:
        assert isinstance(algorithm, Direct)
        stack = _Proposing(base, algorithm, positions, members, seed, execution, result, stop)
    for step in range(1, algorithm.budget + 1):
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
    thrown away. An algorithm that has no steps to measure is executed as its device suggests, and
    a single member as there is no other way.
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
    size, logits = len(positions), base.train_logits[positions]
    prob, loss = _prob_and_loss(logits, base.train_labels[positions])
    blank = torch.full((size, algorithm.budget), torch.nan, dtype=torch.float64)
    return Unlearned(
        params={
            name: stacked_copies(p, size, channels_last=True) for name, p in base.params.items()
        },
        buffers={},
        status=[Status.ALREADY_WRONG] * size,
        steps=torch.zeros(size, dtype=torch.int64),
        kept=torch.zeros(size, dtype=torch.int64),
        elapsed_s=torch.zeros(size, dtype=torch.float64),
        forget_prob=torch.cat([prob.cpu()[:, None], blank], dim=1),
        forget_loss=torch.cat([loss.cpu()[:, None], blank], dim=1),
        moved=torch.zeros(size, dtype=torch.bool),
        details={name: torch.full((size,), torch.nan) for name in algorithm.logged},
        is_exact=algorithm.is_exact,
    )


def _status(is_finite: bool, is_flipped: bool, is_kept: bool) -> Status:
    """How a member ends whose last step was finite, flipped the prediction, and was kept."""
    if not is_finite:
        return Status.NON_FINITE
    if not is_flipped:
        return Status.MAX_STEPS
    return Status.FLIPPED if is_kept else Status.REWOUND


def _prob_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    log_p = log_prob(logits, labels)
    return log_p.exp(), -log_p


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
        self.base, self.execution, self.result = base, execution, result
        self.how: Algorithm = algorithm
        self.rows, self.model = rows, base.model
        self.forget, self.order = _members(base, algorithm, positions, seed)
        shared = base.once(algorithm, lambda: algorithm.shared(base))
        self.state = each(
            lambda forget: dict(algorithm.prepare(self.model, forget, shared)), execution
        )(self.forget)
        self.params = {
            # Grouped convolutions, into which vmap turns them, are quicker with plain weights.
            name: stacked_copies(p, len(rows), execution is Execution.SEQUENTIAL)
            for name, p in base.params.items()
        }
        self.buffers: dict[str, Tensor] = {}
        self.least_regret = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        self.rewound: dict[str, Tensor] = {}  # the weights of that step

    def __len__(self) -> int:
        return len(self.rows)

    def move(self, step: int) -> None:
        """Change the members' parameters, and buffers if need be."""
        raise NotImplementedError

    def take(self, step: int) -> None:
        """One unlearning step of every member; those that end leave."""
        started = time.perf_counter()
        before = {name: p.detach().clone() for name, p in self.weights().items()}
        self.move(step)
        with torch.no_grad():
            logits = each(
                lambda weights, image: self.model.at(weights)(image[None])[0], self.execution
            )(self.weights(), self.forget.image)
            finite = _finite([logits, *self.weights().values()])
            self._restore(before, ~finite)
        flipped = finite & (logits.argmax(dim=1) != self.forget.label)
        self._record(step, logits, finite, flipped, started)
        ended = ~finite | flipped | (step == self.how.budget)
        if ended.any():
            self._leave(ended)

    def weights(self) -> dict[str, Tensor]:
        """Parameters, and the buffers that change: stacked."""
        return self.params | self.buffers

    def _restore(self, before: Params, lost: Tensor) -> None:
        if lost.any():
            for name, p in self.weights().items():
                p[lost] = before[name][lost] if name in before else self.base.state[name]

    def _record(
        self, step: int, logits: Tensor, finite: Tensor, flipped: Tensor, started: float
    ) -> None:
        rows, result = self.rows.cpu(), self.result
        prob, loss = (part.cpu() for part in _prob_and_loss(logits, self.forget.label))
        finite, flipped = finite.cpu(), flipped.cpu()
        result.forget_prob[rows[finite], step] = prob[finite]
        result.forget_loss[rows[finite], step] = loss[finite]
        result.steps[rows[finite]] = step
        kept = finite & self._is_better(prob, finite)
        result.kept[rows[kept]] = step
        for row, *facts in zip(rows.tolist(), finite, flipped, kept, strict=True):
            result.status[row] = _status(*map(bool, facts))
        result.elapsed_s[rows] += (time.perf_counter() - started) / len(rows)

    @torch.no_grad()
    def _is_better(self, prob: Tensor, finite: Tensor) -> Tensor:
        """Whether this step is to be kept rather than an earlier one, (K,) bool."""
        regret = self.how.regret(prob, self.state)
        if regret is None:
            return torch.ones_like(finite)
        better = finite & (regret < self.least_regret)
        self.least_regret = torch.where(better, regret, self.least_regret)
        for name, p in self.weights().items():
            if name not in self.rewound:
                self.rewound[name] = stacked_copies(self.base.state[name], len(self))
            self.rewound[name][better] = p[better]
        return better

    @torch.no_grad()
    def _leave(self, ended: Tensor) -> None:
        rows = self.rows[ended]
        moved = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for name, p in (self.rewound or self.weights()).items():
            self._part(name)[rows] = p[ended]
            differs = p[ended] != self.base.state[name]
            moved |= differs.reshape(len(rows), -1).any(dim=1)
        self.result.moved[rows.cpu()] = moved.cpu()
        for row in rows[~moved].tolist():
            if self.result.status[row] is Status.MAX_STEPS:
                self.result.status[row] = Status.UNCHANGED
        gone, at = pytree.tree_map(lambda part: part[ended], self.state), rows.cpu()
        report = self.how.report(gone, self.result.steps[at], self.result.kept[at])
        for name in self.how.logged:
            self.result.details[name][at] = report[name].cpu().to(torch.float32)
        self.keep(~ended)

    def _part(self, name: str) -> Tensor:
        """The results' parameters or buffers of that name; at first the base model's."""
        result = self.result
        if name in result.params:
            return result.params[name]
        if name not in result.buffers:
            result.buffers[name] = stacked_copies(self.base.state[name], len(result.status))
        return result.buffers[name]

    def keep(self, stay: Tensor) -> None:
        """Let go of all members but some, (K,) bool."""
        self.rows, self.order = self.rows[stay], self.order[stay]
        self.forget = Forget(*(part[stay] for part in self.forget))
        self.state = pytree.tree_map(lambda part: part[stay], self.state)
        self.buffers = {name: buffer[stay] for name, buffer in self.buffers.items()}
        self.least_regret = self.least_regret[stay.cpu()]
        self.rewound = {name: weights[stay] for name, weights in self.rewound.items()}


class _Stepping(_Stack):
    """Members that take optimiser steps."""

    def __init__(
        self,
        base: BaseModel,
        algorithm: Stepwise,
        positions: Tensor,
        rows: Tensor,
        seed: int,
        execution: Execution,
        result: Unlearned,
    ) -> None:
        super().__init__(base, algorithm, positions, rows, seed, execution, result)
        self.algorithm, self.stepping = algorithm, self.model
        if algorithm.batch_norm == "batch":
            network = _with_batch_statistics(base.network)
            self.stepping = base.as_model(network)
            self.buffers = {
                name: stacked_copies(buffer, len(rows)) for name, buffer in network.named_buffers()
            }
        for p in self.params.values():
            p.requires_grad_()
        self.optimizer = algorithm.make_optimizer(list(self.params.values()))

    def move(self, step: int) -> None:
        """An optimiser step for each loss."""
        at, base = self.order[:, step - 1], self.base
        retain = Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])
        for loss in self.algorithm.losses(step):
            self._update(loss, retain)

    def _update(self, loss: Loss, retain: Retain) -> None:
        base, constraint = self.base, self.algorithm.constraint()

        def member_loss(
            params: Params, buffers: Params, forget: Forget, retain: Retain, state: State
        ) -> Tensor:
            return loss(self.stepping.at({**params, **buffers}), forget, retain, state)

        find = gradients(member_loss, self.execution)
        try:
            found = find(self.params, self.buffers, self.forget, retain, self.state)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "batch_norm is 'batch', but one image of this size has no statistics of its own: "
                "leave it frozen"
            ) from error
        for name, p in self.params.items():
            p.grad = found[name]
        self.optimizer.step()
        if constraint is not None:
            with torch.no_grad():
                kept = each(
                    lambda params, state: dict(constraint(params, base.params, state)),
                    self.execution,
                )(self.params, self.state)
                for name, p in self.params.items():
                    p.copy_(kept[name])

    def keep(self, stay: Tensor) -> None:
        """Let go of all members but some, with their optimiser's state."""
        size = len(self)
        super().keep(stay)
        for p in self.params.values():
            p.data, p.grad = p.data[stay], None
            for name, value in self.optimizer.state[p].items():
                if isinstance(value, Tensor) and value.shape[:1] == (size,):
                    self.optimizer.state[p][name] = value[stay]


class _Proposing(_Stack):
    """Members of an algorithm that gives their parameters itself."""

    def __init__(
        self,
        base: BaseModel,
        algorithm: Direct,
        positions: Tensor,
        rows: Tensor,
        seed: int,
        execution: Execution,
        result: Unlearned,
        stop: Callable[[], bool],
    ) -> None:
        super().__init__(base, algorithm, positions, rows, seed, execution, result)
        self.algorithm, self.stop = algorithm, stop

    def move(self, step: int) -> None:
        """Take what the algorithm gives."""
        members = Members(self.base, self.forget, self.state, self.execution, self.stop)
        found = self.algorithm.propose(members, step)
        for name, weights in found.items():
            (self.params if name in self.params else self.buffers)[name] = weights

    def keep(self, stay: Tensor) -> None:
        """Let go of all members but some."""
        super().keep(stay)
        self.params = {name: p[stay] for name, p in self.params.items()}


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """A copy whose batch normalisation uses, and keeps track of, the statistics of each batch."""
    network = copy.deepcopy(network)
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        raise UserError("batch_norm is 'batch', but the base model has no batch normalisation")
    for layer in layers:
        layer.train()
    return network


def _members(
    base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int
) -> tuple[Forget, Tensor]:
    """The forget samples, and the retain samples' positions as (K, steps, draws, batch)."""
    draws, batch = algorithm.retain_draws
    ids = base.dataset.train.ids[positions.cpu()].tolist()
    count = algorithm.budget * draws * batch
    order = np.stack(
        [
            retain_positions(seed, sample, position, len(base.train_labels), count)
            for sample, position in zip(ids, positions.tolist(), strict=True)
        ]
    ).reshape(len(ids), algorithm.budget, draws, batch)
    uniform = [np.random.default_rng([seed, sample, 1]).random() for sample in ids]
    labels = base.train_labels[positions]
    forget = Forget(
        image=base.train_inputs[positions],
        label=labels,
        logits=base.train_logits[positions],
        position=positions,
        uniform=torch.tensor(uniform, dtype=torch.float64, device=base.device),
        held_out_prob=base.held_out_prob[labels],
    )
    return forget, torch.from_numpy(order).to(base.device)


def _finite(stacked: Iterable[Tensor]) -> Tensor:
    """(K,) bool: whether everything a member has is finite."""
    return torch.stack([part.reshape(len(part), -1).isfinite().all(dim=1) for part in stacked]).all(
        dim=0
    )
