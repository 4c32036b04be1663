"""What unlearning came to, from what is kept of it: checkpoints, and what is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import factors
from factors.evaluation import not_kept
from tracker.store.records import AVERAGED, KEPT_STEP
from tracker.store.records import Known as Logged
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.execution import stacked_copies
from unlearning.outcome import Status, Unlearned

State = Mapping[str, Tensor]  # parameters and buffers


def restored(
    base: BaseModel, algorithm: str, runs: Sequence[Logged], states: Sequence[State]
) -> Unlearned:
    """What unlearning came to, from what is kept of it.

    Args:
        runs: all of them with histories, or none: whoever looks at these is told so then.
        states: parameters and buffers of each member; empty where there is no checkpoint.

    Raises UserError for an algorithm that is not installed.
    """
    of, start = algorithms.get(algorithm), base.state
    before = {name: tensor.cpu() for name, tensor in start.items()}
    whole = [{name: state.get(name, before[name]) for name in before} for state in states]
    changed = [{n for n in before if not torch.equal(state[n], before[n])} for state in whole]
    buffers = set().union(*changed) - base.params.keys()
    stacked = {
        name: _stacked(start[name], [state[name] for state in whole])
        for name in (*base.params, *sorted(buffers))
    }
    steps = torch.tensor([int(run.metrics.get(AVERAGED["steps"], 0)) for run in runs])
    curves = [_curve(runs, name) for name in factors.HISTORIES]
    return Unlearned(
        params={name: stacked[name] for name in base.params},
        buffers={name: stacked[name] for name in buffers},
        status=[Status(run.tags["status"]) for run in runs],
        steps=steps,
        kept=torch.tensor(
            [int(r.tags.get(KEPT_STEP, s)) for r, s in zip(runs, steps.tolist(), strict=True)]
        ),
        elapsed_s=_numbers(runs, AVERAGED["elapsed_s"]),
        forget_prob=curves[0],
        forget_loss=curves[1],
        moved=torch.tensor([bool(names) for names in changed]),
        details={name: _numbers(runs, f"{algorithm}/{name}").float() for name in of.logged},
        is_exact=of.is_exact,
    )


def _stacked(start: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Tensors (...) as one (K, ...), in the memory format that the engine gives it.

    Args:
        start: the base model's. The memory format decides how sums are rounded.
    """
    stacked = stacked_copies(start, len(tensors), channels_last=True)
    for member, tensor in zip(stacked, tensors, strict=True):
        member.copy_(tensor)
    return stacked


def _numbers(runs: Sequence[Logged], metric: str) -> Tensor:
    """A metric of K members, (K,) float64; NaN where one has none."""
    values = [run.metrics.get(metric, torch.nan) for run in runs]
    return torch.tensor(values, dtype=torch.float64)


def _curve(runs: Sequence[Logged], name: str) -> Tensor:
    """A history of K members, (K, most steps) float64; NaN past a member's last step."""
    if not all(run.histories for run in runs):
        return not_kept()
    values = [run.histories.get(name, []) for run in runs]
    longest = max(map(len, values))
    padded = [some + [torch.nan] * (longest - len(some)) for some in values]
    return torch.tensor(padded, dtype=torch.float64)
