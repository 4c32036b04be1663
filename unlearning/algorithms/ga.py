"""Gradient ascent on the forget sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearning.algorithm import Forget, Retain, State, Stepwise, forget_loss
from unlearning.base_model import Model


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Stepwise):
    """A step descends on -CE(x_f, y_f)."""

    name = "ga"
    citation = "Golatkar et al. 2020 (arXiv 1911.04933), there called NegGrad"
    takes_sets = True

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """-CE(x_f, y_f)."""
        return -forget_loss(model, forget)


ALGORITHM = GradientAscent
