"""Unlearn training samples one by one: a member is one sample and one algorithm.

The engine knows no algorithm. It takes the members that the base model classifies correctly, lets
them take their steps together, and ends each as soon as its prediction flips.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unlearning import algorithms
from unlearning.algorithm import Algorithm, Direct, Stepwise
from unlearning.base_model import BaseModel
from unlearning.errors import Stopped
from unlearning.execution import Execution, by_device, stacked_copies
from unlearning.losses import prob_and_loss
from unlearning.outcome import Status, Unlearned
from unlearning.stack import Job, Stack
from unlearning.stepping import DirectStack, StepwiseStack


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
        job = Job(base, positions.to(base.device)[rows], seed, execution, stop)
        stack = _stack(algorithm, job, rows, result)
        for step in range(1, algorithm.budget + 1):
            if stop():
                raise Stopped
            stack.take_step(step)
            if not len(stack):
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


def _stack(algorithm: Algorithm, job: Job, rows: Tensor, result: Unlearned) -> Stack[Any]:
    if isinstance(algorithm, Stepwise):
        return StepwiseStack(algorithm, job, rows, result)
    assert isinstance(algorithm, Direct)
    return DirectStack(algorithm, job, rows, result)


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
