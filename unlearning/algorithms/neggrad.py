"""NegGrad+: ascend on the forget sample while descending on a retain batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearning.algorithm import Forget, Retain, State, WithRetain, forget_loss, retain_loss
from unlearning.base_model import Model
from unlearning.hyperparameters import Between, hyperparameter


@dataclass(frozen=True, kw_only=True)
class NegGradPlus(WithRetain):
    """A step descends on alpha CE(retain batch) - (1 - alpha) CE(x_f, y_f)."""

    name = "neggrad"
    citation = "Kurmanji et al. 2023 (arXiv 2302.09880)"
    takes_sets = True

    alpha: float = hyperparameter(
        0.95, "weight of the retain loss", at_least=0, at_most=1, searched=Between(1e-3, 0.99)
    )

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """The retain loss minus the forget loss, weighted."""
        return self.alpha * retain_loss(model, retain) - (1 - self.alpha) * forget_loss(
            model, forget
        )


ALGORITHM = NegGradPlus
