"""Fine-tuning on the remaining data towards sparse weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unlearning.algorithm import Forget, Loss, Retain, State, WithRetain, retain_loss
from unlearning.base_model import Model
from unlearning.hyperparameters import Between, hyperparameter


@dataclass(frozen=True, kw_only=True)
class SparseFineTuning(WithRetain):
    """A step descends on CE(retain batch) + a_t ||theta||_1.

    The weight a_t = alpha (1 - (t - 1) / max_steps) of step t decays linearly towards zero.
    """

    name = "ft_l1"
    citation = "Liu et al. 2024 (arXiv 2304.04934), l1-sparse"
    takes_sets = True

    alpha: float = hyperparameter(
        5e-4, "first weight of the L1 norm", at_least=0, searched=Between(1e-5, 1e-2)
    )

    def losses(self, step: int) -> tuple[Loss, ...]:
        """One update a step."""
        return (partial(self.descend, self.alpha * (1 - (step - 1) / self.max_steps)),)

    def descend(
        self, weight: float, model: Model, forget: Forget, retain: Retain, state: State
    ) -> Tensor:
        """The retain loss and the weighted L1 norm of all parameters."""
        norm = torch.stack([p.abs().sum() for p in model.params.values()]).sum()
        return retain_loss(model, retain) + weight * norm


ALGORITHM = SparseFineTuning
