"""An algorithm's plain loop on the data of a base model, to hold the engine against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tests.oracles import algorithms as oracles
from tests.oracles.loops import Data, Result, Retain, Task
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.outcome import Status, Unlearned
from unlearning.sampling import retain_positions


def assert_equals_loop(
    result: Unlearned,
    member: int,
    base: BaseModel,
    algorithm: Algorithm,
    position: int,
    seed: int,
    target: float | None = None,
) -> Result:
    """Hold status, steps and weights of a member against its plain loop, which is returned.

    A loop does not say where nothing moved: that is a status of the engine's.
    """
    expected = loop(base, algorithm, position, seed, result.details, member, target)
    weights = result.state_of(member)
    still = all(torch.equal(w, base.state[name]) for name, w in weights.items())
    is_idle = still and expected.status == "max_steps"
    assert result.status[member] == (Status.UNCHANGED if is_idle else expected.status)
    assert int(result.steps[member]) == expected.steps
    assert_same_weights(weights, dict(expected.model.named_parameters()))
    return expected


def loop(
    base: BaseModel,
    algorithm: Algorithm,
    position: int,
    seed: int,
    details: Mapping[str, Tensor],
    member: int,
    target: float | None = None,
) -> Result:
    """The plain loop of one member, with the engine's random draws: retain samples and labels."""
    settings: dict[str, Any] = algorithm.settings()
    settings.pop("batch_norm", None)
    batch, draws = int(settings.pop("retain_batch", 0)), int(settings.get("retain_batches", 1))
    drawn_label = details.get("relabel_target", torch.zeros(member + 1))[member].nan_to_num()
    task = Task(
        base.network,
        base.train_inputs[position],
        int(base.train_labels[position]),
        retain_of(base, position, seed, (algorithm.budget, draws, batch)),
        train=(base.train_inputs, base.train_labels),
        test=(base.test_inputs, base.test_labels),
        head=f"{base.head_name}.",
        relabel_target=int(drawn_label),
        target=target,
    )
    result: Result = oracles.find(algorithm.name).unlearn(task, **settings)
    return result


def retain_of(base: BaseModel, position: int, seed: int, shape: tuple[int, int, int]) -> Retain:
    """The batches that the engine draws: steps, slots of a step, and samples of a slot."""
    steps, slots, batch = shape
    sample, size = int(base.dataset.train.ids[position]), len(base.train_labels)
    order = retain_positions(seed, sample, position, size, steps * slots * batch).reshape(shape)

    def retain(step: int, slot: int) -> Data:
        at = torch.from_numpy(order[step - 1, slot])
        return base.train_inputs[at], base.train_labels[at]

    return retain


def assert_same_weights(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-9
) -> None:
    """Within the tolerance, of each weight and of the largest one of its tensor."""
    for key, value in expected.items():
        scale = float(value.detach().abs().max())
        torch.testing.assert_close(
            actual[key], value.detach(), rtol=tolerance, atol=tolerance * scale
        )
