"""SCRUB: a student that agrees with its teacher on retain batches and disagrees on the sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from unlearning.algorithm import Forget, Loss, Retain, State, WithRetain
from unlearning.base_model import Model
from unlearning.hyperparameters import Between, hyperparameter
from unlearning.losses import cross_entropy, divergence


@dataclass(frozen=True, kw_only=True)
class Scrub(WithRetain):
    """`retain_batches` min updates, then (while step <= `max_steps_forget`) one max update.

    Min: descend on gamma CE + alpha KL(teacher || student) over a retain batch. Max: descend on
    -KL(teacher || student) of x_f. The min updates come first, because the student starts as the
    teacher, where the gradient of the KL is zero. The teacher is the base model.
    """

    name = "scrub"
    citation = "Kurmanji et al. 2023 (arXiv 2302.09880)"
    takes_sets = True

    gamma: float = hyperparameter(0.99, "weight of the retain cross-entropy", at_least=0)
    alpha: float = hyperparameter(
        0.001, "weight of the retain distillation", at_least=0, searched=Between(1e-3, 10)
    )
    temperature: float = hyperparameter(
        4.0, "temperature T of both KL terms", above=0, searched=Between(1, 16)
    )
    retain_batches: int = hyperparameter(1, "min updates in a step", at_least=0)
    max_steps_forget: int = hyperparameter(20, "steps that end with a max update", at_least=0)

    @property
    def retain_draws(self) -> tuple[int, int]:
        """A batch for each min update."""
        return self.retain_batches, self.retain_batch

    def losses(self, step: int) -> tuple[Loss, ...]:
        """The min updates, then the max update."""
        min_losses = tuple(partial(self.min_loss, draw) for draw in range(self.retain_batches))
        return (*min_losses, self.max_loss) if step <= self.max_steps_forget else min_losses

    def min_loss(
        self, draw: int, model: Model, forget: Forget, retain: Retain, state: State
    ) -> Tensor:
        """The loss of a min update, on one retain batch."""
        logits = model(retain.images[draw])
        distillation = divergence(retain.logits[draw], logits, self.temperature)
        return self.gamma * cross_entropy(logits, retain.labels[draw]) + self.alpha * distillation

    def max_loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """The loss of a max update, on the forget sample."""
        return -divergence(forget.logits[None], model(forget.image[None]), self.temperature)


ALGORITHM = Scrub
