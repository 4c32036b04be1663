"""Members that are unlearned together, with their weights stacked, until each of them ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearning import agreed
from unlearning.algorithm import Algorithm, Forget
from unlearning.base_model import BaseModel, Params
from unlearning.execution import Execution, map_members, stacked_copies
from unlearning.losses import prob_and_loss
from unlearning.outcome import Status, Unlearned
from unlearning.sampling import draw_retain, forget_samples

A = TypeVar("A", bound=Algorithm)


@dataclass(frozen=True)
class Job:
    """Which samples to unlearn from which base model, and how.

    Attributes:
        positions: (K,), the forget samples' in the training split, one a member.
        seed: of everything that is drawn at random.
        execution: how the members take their steps.
        stop: whether to stop; algorithms whose steps take long ask within a step.
    """

    base: BaseModel
    positions: Tensor
    seed: int
    execution: Execution
    stop: Callable[[], bool]


class Stack(Generic[A]):
    """The K members that have not ended. A subclass says how a step changes their weights.

    Attributes:
        rows: (K,), the row of each member in `result`, which has those that ended too.
        forget: the forget samples, each part with a leading axis of K.
        retain: (K, steps, batches, batch size), positions of the retain samples.
        state: what the algorithm prepared, likewise with a leading axis of K.
        params, buffers: by name, (K, ...) each; of the buffers those that change.
    """

    def __init__(self, algorithm: A, job: Job, rows: Tensor, result: Unlearned) -> None:
        base = job.base
        self.algorithm, self.job, self.rows, self.result = algorithm, job, rows, result
        self.model = base.model
        self.forget = forget_samples(base, job.positions, job.seed)
        self.retain = draw_retain(base, algorithm, job.positions, job.seed)
        shared = base.once(algorithm, lambda: algorithm.shared(base))
        prepare = map_members(
            lambda forget: dict(
                agreed.mapping(algorithm, "prepare", algorithm.prepare(self.model, forget, shared))
            ),
            job.execution,
        )
        self.state: Mapping[str, Any] = prepare(self.forget)
        self.params = {
            # vmap makes grouped convolutions, which are faster if weights are not channels-last.
            name: stacked_copies(p, len(rows), job.execution is Execution.SEQUENTIAL)
            for name, p in base.params.items()
        }
        self.buffers: dict[str, Tensor] = {}
        self.best = BestSteps(len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def weights(self) -> dict[str, Tensor]:
        """Parameters, and the buffers that change: stacked."""
        return self.params | self.buffers

    def change_weights(self, step: int) -> None:
        """Change the members' parameters, and buffers if need be, as a step does."""
        raise NotImplementedError

    def take_step(self, step: int) -> None:
        """One unlearning step of every member; those that end leave the stack."""
        started = time.perf_counter()
        before = {name: p.detach().clone() for name, p in self.weights().items()}
        self.change_weights(step)
        logits, finite = self._evaluate()
        self._undo(before, ~finite)
        flipped = finite & (logits.argmax(dim=1) != self.forget.label)
        self._record(step, logits, finite, flipped)
        self.result.elapsed_s[self.rows.cpu()] += (time.perf_counter() - started) / len(self)
        ended = ~finite | flipped | (step == self.algorithm.budget)
        if ended.any():
            self._finish(ended)
            self.keep(~ended)

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, (K,) bool."""
        self.rows, self.retain = self.rows[stay], self.retain[stay]
        self.forget = Forget(*(part[stay] for part in self.forget))
        self.state = _select(self.state, stay)
        self.buffers = _select(self.buffers, stay)
        self.best.keep(stay)

    @torch.no_grad()
    def _evaluate(self) -> tuple[Tensor, Tensor]:
        """Logits of the forget samples, (K, classes), and whether all of a member is finite."""
        weights = self.weights()
        logits_of = map_members(
            lambda weights, image: self.model.at(weights)(image[None])[0], self.job.execution
        )
        logits: Tensor = logits_of(weights, self.forget.image)
        return logits, _are_finite([logits, *weights.values()])

    @torch.no_grad()
    def _undo(self, before: Params, lost: Tensor) -> None:
        """Give the members that are `lost`, (K,) bool, the weights from before the step."""
        if lost.any():
            for name, p in self.weights().items():
                # Buffers that this step was the first to change were the base model's before it.
                p[lost] = before[name][lost] if name in before else self.job.base.state[name]

    def _record(self, step: int, logits: Tensor, finite: Tensor, flipped: Tensor) -> None:
        """Write into the result what the step came to."""
        rows, result = self.rows.cpu(), self.result
        prob, loss = (part.cpu().double() for part in prob_and_loss(logits, self.forget.label))
        finite, flipped = finite.cpu(), flipped.cpu()
        result.forget_prob[rows[finite], step] = prob[finite]
        result.forget_loss[rows[finite], step] = loss[finite]
        result.steps[rows[finite]] = step
        kept = finite & self._store_better(prob, finite)
        result.kept[rows[kept]] = step
        for row, *facts in zip(rows.tolist(), finite, flipped, kept, strict=True):
            result.status[row] = Status.after_step(*map(bool, facts))

    def _store_better(self, prob: Tensor, finite: Tensor) -> Tensor:
        """Whether the weights after this step replace those of the best one so far, (K,) bool."""
        regret = self.algorithm.regret(prob, self.state)
        if regret is None:  # the last step is always the best
            return torch.ones_like(finite)
        agreed.numbers(self.algorithm, "regret", {"regret": regret}, ["regret"], len(prob))
        return self.best.update(regret, finite, self.weights(), self.job.base.state)

    @torch.no_grad()
    def _finish(self, ended: Tensor) -> None:
        """Write the weights and details of the members that end, (K,) bool, into the result."""
        rows, result, start = self.rows[ended], self.result, self.job.base.state
        moved = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for name, weights in (self.best.weights or self.weights()).items():
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
        self._report(rows.cpu(), _select(self.state, ended))

    def _report(self, rows: Tensor, state: Mapping[str, Any]) -> None:
        """Write the algorithm's own numbers of some members into the result."""
        names = self.algorithm.logged
        found = self.algorithm.report(state, self.result.steps[rows], self.result.kept[rows])
        report = agreed.numbers(self.algorithm, "report", found, names, len(rows))
        for name in names:
            self.result.details[name][rows] = report[name].cpu().to(torch.float32)


class BestSteps:
    """The weights of the best step of each of K members, for algorithms that go back to it.

    Attributes:
        regret: (K,) float64, of that step; infinite before the first.
        weights: by name, (K, ...) each; none if the algorithm does not go back.
    """

    def __init__(self, size: int) -> None:
        self.regret = torch.full((size,), torch.inf, dtype=torch.float64)
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, regret: Tensor, finite: Tensor, weights: Params, start: Params) -> Tensor:
        """Take the weights of members whose regret is the least so far; which these are, (K,) bool.

        Args:
            regret: (K,), of the last step. finite: (K,) bool, whether the step counts.
            weights: after it, (K, ...). start: one member's before the first step.
        """
        better = finite & (regret < self.regret)
        self.regret = torch.where(better, regret, self.regret)
        for name, p in weights.items():
            if name not in self.weights:
                self.weights[name] = stacked_copies(start[name], len(better))
            self.weights[name][better] = p[better]
        return better

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, (K,) bool."""
        self.regret = self.regret[stay.cpu()]
        self.weights = _select(self.weights, stay)


def _select(stacked: Mapping[str, Any], chosen: Tensor) -> dict[str, Any]:
    """Some members, (K,) bool, of tensors, or mappings of them, with a leading axis of K."""
    selected: dict[str, Any] = pytree.tree_map(lambda part: part[chosen], stacked)
    return selected


def _are_finite(stacked: Iterable[Tensor]) -> Tensor:
    """(K,) bool: whether everything a member has is finite."""
    return torch.stack([part.reshape(len(part), -1).isfinite().all(dim=1) for part in stacked]).all(
        dim=0
    )
