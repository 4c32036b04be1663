"""Influence unlearning: a Newton-like step, made longer until the prediction flips."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from unlearning.algorithm import (
    Direct,
    Forget,
    Members,
    SetState,
    State,
    cross_entropy,
    forget_loss,
)
from unlearning.base_model import BaseModel, Model, Params, sample_gradients
from unlearning.errors import UserError
from unlearning.hyperparameters import Between, hyperparameter
from unlearning.losses import wide
from unlearning.memory import size_of


@dataclass(frozen=True, kw_only=True)
class Influence(Direct):
    """theta + alpha / n F^-1 (g_f - mean g_r), with alpha doubled until the prediction flips.

    F = damping I + mean of g g^T is the damped empirical Fisher matrix of m training samples, the
    same for all forget samples, and mean g_r their mean gradient. F is inverted exactly, by
    Woodbury's identity with an m x m matrix; WoodFisher approximates that. n is the size of the
    training set.
    """

    name = "influence"
    citation = "Izzo et al. 2021 (arXiv 2002.10077); Singh & Alistarh 2020 (arXiv 2004.14340)"
    logged = ("alpha",)
    takes_sets = True

    layers: str = hyperparameter(
        "last",
        "parameters that move: of the last layer, or all",
        choices=("last", "all"),
        searched=("last", "all"),
    )
    damping: float = hyperparameter(
        1e-3, "added to the Fisher matrix's diagonal", above=0, searched=Between(1e-5, 1)
    )
    fisher_samples: int = hyperparameter(
        500, "training samples m of the Fisher matrix, at most", at_least=1
    )
    alpha_start: float = hyperparameter(1.0, "first alpha", above=0)
    alpha_max: float = hyperparameter(2.0**19, "alpha after which it gives up", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha_max < self.alpha_start:
            raise UserError(
                f"influence.alpha_max is {self.alpha_max}: accepted is >= alpha_start "
                f"({self.alpha_start})"
            )

    @property
    def budget(self) -> int:
        """How many times alpha can be tried: alpha_start and its doublings."""
        return 1 + math.floor(math.log2(self.alpha_max / self.alpha_start))

    def moving(self, base: BaseModel) -> tuple[str, ...]:
        """The names of the parameters that move."""
        return tuple(base.head_parameters if self.layers == "last" else base.params)

    def shared_memory(self, base: BaseModel) -> float:
        """The samples' gradients, at first as they come, then in float64, and their products."""
        m = min(self.fisher_samples, len(base.train_labels))
        weights = [base.params[name] for name in self.moving(base)]
        entries = sum(p.numel() for p in weights)
        return float(m * (2 * size_of(weights) + 8 * entries) + 3 * 8 * m * m)

    def shared(self, base: BaseModel) -> State:
        """The samples' gradients (m, P), their mean, and a Cholesky factor, in float64."""
        names = self.moving(base)
        at = base.some(self.fisher_samples)
        blocks = sample_gradients(base.model, base.train_inputs[at], base.train_labels[at], names)
        gradients = wide(torch.cat([flat(block, 1) for block in blocks]))
        inner = gradients @ gradients.T
        inner.diagonal().add_(len(at) * self.damping)
        return {
            "names": names,
            "gradients": gradients,
            "mean": gradients.mean(dim=0),
            "cholesky": torch.linalg.cholesky(inner),
            "size": len(base.train_labels),
        }

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The direction F^-1 (g_f - mean g_r) / n, by name."""
        return {"direction": self._direction(model, lambda at: forget_loss(at, forget), shared)}

    def prepare_set(self, model: Model, forget: Forget, shared: State) -> SetState:
        """The sum of the samples' directions."""
        size = len(forget.label)
        of_mean = self._direction(
            model, lambda at: cross_entropy(at, forget.image, forget.label), shared
        )
        return SetState({}, {"direction": {name: size * part for name, part in of_mean.items()}})

    def _direction(
        self, model: Model, loss: Callable[[Model], Tensor], shared: State
    ) -> dict[str, Tensor]:
        """The direction that follows from the gradient of a loss, by name."""
        names, gradients = shared["names"], shared["gradients"]
        moving = {name: model.params[name] for name in names}
        gradient = grad(lambda params: loss(model.at({**model.params, **params})))(moving)
        change = wide(flat(gradient, 0)) - shared["mean"]
        solved = torch.cholesky_solve((gradients @ change)[:, None], shared["cholesky"])[:, 0]
        direction = (change - gradients.T @ solved) / self.damping / shared["size"]
        parts = direction.split([p.numel() for p in moving.values()])
        return {
            name: part.reshape(p.shape).to(p.dtype)
            for (name, p), part in zip(moving.items(), parts, strict=True)
        }

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        """theta + alpha times the direction; alpha doubles with each step."""
        alpha = self.alpha_start * 2.0 ** (step - 1)
        theta, direction = members.base.params, members.state["direction"]
        return {name: theta[name] + alpha * part for name, part in direction.items()}

    def report(self, state: State, steps: Tensor, kept: Tensor) -> Mapping[str, Tensor]:
        """The last alpha."""
        return {"alpha": self.alpha_start * 2.0 ** (steps - 1)}


def flat(gradient: Params, start: int) -> Tensor:
    """All parameters in one tensor, flattened from the dimension `start` on."""
    return torch.cat([part.flatten(start) for part in gradient.values()], dim=start)


ALGORITHM = Influence
