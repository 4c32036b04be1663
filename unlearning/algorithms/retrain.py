"""Retraining from scratch without the sample: exact unlearning, the reference for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unlearning import models
from unlearning.algorithm import Direct, Members
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.memory import Memory, at_work, differentiated, size_of
from unlearning.training import Subsets, all_but, train_on


@dataclass(frozen=True, kw_only=True)
class Retrain(Direct):
    """Train with the base model's recipe, seed and batches, without the sample. It is one step."""

    name = "retrain"
    citation = "exact unlearning; Cao & Yang 2015"
    is_exact = True
    takes_sets = True

    def memory(self, base: BaseModel, execution: Execution) -> Memory:
        """Also a batch of each member in training."""
        batch = base.origin.recipe.batch_size if base.origin else 0
        images = batch * size_of([base.train_inputs[:1]]) + differentiated(base, batch)
        return super().memory(base, execution) + at_work(images, execution)

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        """Parameters and buffers of models that never saw their sample."""
        return left_out_models(members.base, members.forget.position, members.stop)


def left_out_models(
    base: BaseModel,
    positions: Tensor,
    stop: Callable[[], bool] = lambda: False,
    further_seed: int = 0,
) -> dict[str, Tensor]:
    """Leave-one-out models of the samples at `positions` (K,): parameters and buffers, (K, ...).

    They start from the weights from which the base model's training started and see the same
    batches without the sample, so that they differ from it by nothing but the sample.

    Args:
        positions: with (K, M), each of K models is without M samples.
        further_seed: added to the base model's seed; if it is not 0, other weights and batches.

    Raises UserError where the base model's recipe is not known.
    """
    subsets = all_but(positions.cpu(), len(base.train_labels))
    return train_again(base, subsets, stop, further_seed)


def train_again(
    base: BaseModel,
    subsets: Subsets,
    stop: Callable[[], bool] = lambda: False,
    further_seed: int = 0,
) -> dict[str, Tensor]:
    """The base model trained again on K subsets of its data: parameters and buffers, (K, ...).

    Args:
        further_seed: added to the base model's seed.

    Raises UserError where the base model's recipe is not known.
    """
    if base.origin is None:
        raise UserError(
            "retraining needs the base model's recipe, and this one was imported: "
            "train it with 'indelible train'"
        )
    recipe = base.origin.recipe.with_seed(further_seed)
    network = models.build(base.origin.arch, base.dataset, recipe.seed)
    network = network.to(base.device, base.train_inputs.dtype)
    return train_on(subsets, network, base.train_inputs, base.train_labels, recipe, stop)


ALGORITHM = Retrain
