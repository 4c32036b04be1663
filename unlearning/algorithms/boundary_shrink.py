"""Boundary Shrink: move the sample to the class that lies just across the boundary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from unlearning.algorithm import Forget, Retain, State, Stepwise, cross_entropy, relabel_loss
from unlearning.base_model import BaseModel, Model
from unlearning.hyperparameters import hyperparameter


@dataclass(frozen=True, kw_only=True)
class BoundaryShrink(Stepwise):
    """A step descends on CE(x_f, y'), where y' is the class that FGSM on x_f reaches.

    The attack is on the base model. Where it does not leave the true class, y' is the class with
    the second highest logit.
    """

    name = "boundary_shrink"
    citation = "Chen et al. 2023 (arXiv 2303.11570)"
    logged = ("relabel_target",)
    takes_sets = True

    epsilon: float = hyperparameter(
        0.1, "step of the FGSM attack, of inputs as they are given", above=0, at_most=1
    )

    def shared(self, base: BaseModel) -> State:
        """Between which the attacked sample stays."""
        low, high = (base.train_inputs.new_tensor(bound) for bound in base.dataset.bounds)
        return {"low": low, "high": high}

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The class y'."""

        def loss(image: Tensor) -> Tensor:
            return cross_entropy(model, image[None], forget.label[None])

        uphill = grad(loss)(forget.image).sign()
        attacked = (forget.image + self.epsilon * uphill).clamp(shared["low"], shared["high"])
        reached = model(attacked[None])[0].argmax()
        here = torch.arange(len(forget.logits), device=forget.logits.device) == forget.label
        runner_up = forget.logits.masked_fill(here, -torch.inf).argmax()
        return {"relabel_target": torch.where(reached == forget.label, runner_up, reached)}

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """CE(x_f, y')."""
        return relabel_loss(model, forget, state)


ALGORITHM = BoundaryShrink
