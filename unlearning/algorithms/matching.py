"""Matching: the sample's log-odds are moved to those of models that never saw it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from unlearning.algorithm import Forget, Retain, State, WithRetain, retain_loss
from unlearning.base_model import Model
from unlearning.hyperparameters import Between, hyperparameter
from unlearning.losses import log_odds


@dataclass(frozen=True, kw_only=True)
class Matching(WithRetain):
    """A step descends on CE(retain batch) + weight * H(phi(x_f) - target), H being Huber's loss.

    Oracle Matching draws a model to what models say that never saw the forget set. Here it is the
    log-odds phi of the label, and the target is the one at which the attempt ends: that of the
    reference or, at the flip, that of one guess among the classes.
    """

    name = "matching"
    citation = "after Oracle Matching, Georgiev et al. 2024 (arXiv 2410.23232)"
    takes_sets = True

    lr: float = hyperparameter(1e-3, "learning rate", above=0, searched=Between(1e-5, 0.1))
    weight: float = hyperparameter(
        1.0, "weight of the forget sample's loss", at_least=0, searched=Between(1e-2, 10)
    )
    max_steps: int = hyperparameter(100, "steps after which unlearning gives up", at_least=1)

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """The retain loss plus the weighted distance from the target."""
        phi = log_odds(model(forget.image[None]), forget.label[None])[0]
        return retain_loss(model, retain) + self.weight * F.huber_loss(phi, forget.target)


ALGORITHM = Matching
