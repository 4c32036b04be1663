"""Selective synaptic dampening: shrink the weights that matter more to the sample than to all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from unlearning.algorithm import Direct, Forget, Members, SetState, State, forget_loss
from unlearning.base_model import BaseModel, Model, Params, sample_gradients
from unlearning.hyperparameters import Between, hyperparameter
from unlearning.losses import wide


@dataclass(frozen=True, kw_only=True)
class SelectiveSynapticDampening(Direct):
    """Where imp_f > alpha imp_D, theta *= min(dampening imp_D / imp_f, 1), once.

    The importance of a parameter is the mean of squared per-sample gradients: imp_D over the
    training data, imp_f over the sample alone. They are squared in float64, because in float32 the
    squares of small gradients are zero.
    """

    name = "ssd"
    citation = "Foster et al. 2024 (arXiv 2308.07707)"
    logged = ("selected_weights",)
    takes_sets = True

    alpha: float = hyperparameter(
        10.0,
        "importance ratio from which on a weight shrinks",
        above=0,
        searched=Between(0.1, 100),
    )
    dampening: float = hyperparameter(1.0, "the paper's lambda", above=0, searched=Between(0.1, 1))
    importance_samples: int = hyperparameter(
        10_000, "training samples of imp_D, at most", at_least=1
    )

    def shared_memory(self, base: BaseModel) -> float:
        """The sum of squares and the mean, both in float64."""
        return float(2 * 8 * sum(p.numel() for p in base.params.values()))

    def shared(self, base: BaseModel) -> State:
        """imp_D by name."""
        at = base.some(self.importance_samples)
        return importance(base.model, base.train_inputs[at], base.train_labels[at])

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The factor of each weight, and how many are selected."""
        gradient = grad(lambda params: forget_loss(model.at(params), forget))(dict(model.params))
        squares = {name: wide(g).square() for name, g in gradient.items()}
        return self._dampening(model, squares, shared)

    def prepare_set(self, model: Model, forget: Forget, shared: State) -> SetState:
        """The same, with the mean of the samples' squared gradients for imp_f."""
        of_set = importance(model, forget.image, forget.label)
        return SetState({}, self._dampening(model, of_set, shared))

    def _dampening(self, model: Model, of_forget: Params, shared: State) -> State:
        """The factor of each weight, by what is important to what is forgotten."""
        factors, selected = {}, 0
        for name, own in of_forget.items():
            chosen = own > self.alpha * shared[name]
            shrunk = (self.dampening * shared[name] / own).clamp(max=1)
            factors[name] = torch.where(chosen, shrunk, 1.0).to(model.params[name].dtype)
            selected = selected + chosen.sum()
        return {"factors": factors, "selected_weights": selected}

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        """The dampened parameters."""
        theta, factors = members.base.params, members.state["factors"]
        return {name: theta[name] * factor for name, factor in factors.items()}


def importance(model: Model, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The mean of the samples' squared gradients, by parameter: (N, C, H, W) and (N,)."""
    total = {name: torch.zeros_like(wide(p)) for name, p in model.params.items()}
    for block in sample_gradients(model, images, labels, tuple(total)):
        for name, gradients in block.items():
            total[name] += wide(gradients).square().sum(dim=0)
    return {name: squares / len(labels) for name, squares in total.items()}


ALGORITHM = SelectiveSynapticDampening
