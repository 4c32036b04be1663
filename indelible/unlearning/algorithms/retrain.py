"""Retraining from scratch without the sample: exact unlearning, the reference for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from indelible.errors import UserError
from indelible.unlearning import models
from indelible.unlearning.algorithm import Direct, Members
from indelible.unlearning.base import BaseModel
from indelible.unlearning.execution import Execution
from indelible.unlearning.memory import Memory, at_work, differentiated, size_of
from indelible.unlearning.training import train_on_parts


@dataclass(frozen=True, kw_only=True)
class Retrain(Direct):
    """The base model's recipe and seed on the remaining data. One step, however long."""

    name = "retrain"
    source = "exact unlearning; Cao & Yang 2015"

    def memory(self, base: BaseModel, execution: Execution) -> Memory:
        """And the samples that a member sees; while it trains, its weights, gradients and moments.

        A training batch is what a pass is of. Networks with buffers are trained one by one.
        """
        batch = base.origin.recipe.batch_size if base.origin else 0
        images = batch * size_of([base.train_inputs[:1]]) + differentiated(base, batch)
        training = 6 * size_of(base.params.values()) + images
        alone = Execution.SEQUENTIAL if list(base.network.buffers()) else execution
        positions = 3 * 8 * len(base.train_labels)  # int64, and twice on the way to them
        return super().memory(base, execution) + Memory(positions) + at_work(training, alone)

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        """Models that never saw their sample."""
        return left_out_models(
            members.base, members.forget.position, members.execution, members.stop
        )


def left_out_models(
    base: BaseModel,
    positions: Tensor,
    execution: Execution,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor]:
    """Leave-one-out models of the samples at `positions` (K,): parameters and buffers, (K, ...).

    Raises UserError where the base model's recipe is not known.
    """
    others = torch.arange(len(base.train_labels) - 1, device=positions.device)
    return train_parts(base, others + (others >= positions[:, None]), execution, stop)


def train_parts(
    base: BaseModel, parts: Tensor, execution: Execution, stop: Callable[[], bool]
) -> dict[str, Tensor]:
    """The base model trained again on parts of its data (K, S): parameters and buffers, (K, ...).

    Raises UserError where its recipe is not known.
    """
    if base.origin is None:
        raise UserError(
            "retraining needs the base model's recipe, and this one was imported: "
            "train it with 'indelible train'"
        )
    recipe = base.origin.recipe
    network = models.build(base.origin.arch, base.dataset, recipe.seed)
    network = network.to(base.device, base.train_inputs.dtype)
    return train_on_parts(
        network, base.train_inputs, base.train_labels, parts, recipe, execution, stop
    )


ALGORITHM = Retrain
