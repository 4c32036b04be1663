"""SalUn: learn a wrong label for the sample, with the weights that are salient for it only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from unlearning.algorithm import Constraint, Forget, SetState, State, cross_entropy, forget_loss
from unlearning.algorithms.random_label import RandomLabel
from unlearning.base_model import Model, Params
from unlearning.hyperparameters import Between, hyperparameter


@dataclass(frozen=True, kw_only=True)
class SalUn(RandomLabel):
    """A step is that of `random_label`, but weights outside a mask do not change.

    The mask holds the share `mask_fraction` of all parameters with the largest |grad CE(x_f, y_f)|
    at theta. Parameters with the same gradient as the largest one left out, in practice zero, are
    left out too; `mask_density` is the share of parameters in the mask.
    """

    name = "salun"
    citation = "Fan et al. 2023 (arXiv 2310.12508)"
    logged = ("relabel_target", "mask_density")

    mask_fraction: float = hyperparameter(
        0.5,
        "share of the parameters that may move",
        above=0,
        at_most=1,
        searched=Between(0.05, 1, log=False),
    )

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The wrong label and the saliency mask."""
        gradient = grad(lambda params: forget_loss(model.at(params), forget))(dict(model.params))
        return {**self._mask(gradient), **super().prepare(model, forget, shared)}

    def prepare_set(self, model: Model, forget: Forget, shared: State) -> SetState:
        """A wrong label of each sample, and the mask of the gradient of their mean CE."""

        def loss(params: Params) -> Tensor:
            return cross_entropy(model.at(params), forget.image, forget.label)

        labels = model.each(lambda one: super(SalUn, self).prepare(model, one, shared))
        return SetState(labels(forget), self._mask(grad(loss)(dict(model.params))))

    def _mask(self, gradient: Params) -> State:
        """The largest entries of a gradient, and what share of all they are."""
        saliency = {name: g.abs() for name, g in gradient.items()}
        flat = torch.cat([s.flatten() for s in saliency.values()])
        left_out = flat.numel() - int(self.mask_fraction * flat.numel())
        threshold = torch.kthvalue(flat, left_out).values if left_out else flat.new_tensor(-1.0)
        mask = {name: s > threshold for name, s in saliency.items()}
        density = (flat > threshold).to(flat.dtype).mean()
        return {"mask": mask, "mask_density": density}

    def constraint(self) -> Constraint:
        """Undo changes outside the mask: momentum and weight decay make some without gradients."""
        return restore_outside_mask


def restore_outside_mask(params: Params, theta: Params, state: State) -> Params:
    """The parameters inside the mask, the base model's outside."""
    return {name: torch.where(state["mask"][name], p, theta[name]) for name, p in params.items()}


ALGORITHM = SalUn
