"""Learn a wrong label for the sample: SalUn without its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unlearning.algorithm import (
    Forget,
    Retain,
    State,
    WithRetain,
    relabel_loss,
    retain_loss,
    wrong_label,
)
from unlearning.base_model import Model
from unlearning.hyperparameters import hyperparameter


@dataclass(frozen=True, kw_only=True)
class RandomLabel(WithRetain):
    """A step descends on CE(x_f, y') + CE(retain batch); y' is a wrong label drawn once.

    With `combine` = `joint` it descends on the mean of CE over the sample and the B retain samples
    instead, in which the sample has weight 1 / (1 + B). Public code does one or the other.
    """

    name = "random_label"
    citation = "Graves et al. 2021 (arXiv 2010.10981)"
    logged: ClassVar[tuple[str, ...]] = ("relabel_target",)
    takes_sets = True

    combine: str = hyperparameter(
        "sum",
        "losses of sample and retain batch: their sum, or the mean over one joint batch",
        choices=("sum", "joint"),
        searched=("sum", "joint"),
    )

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The wrong label."""
        return {"relabel_target": wrong_label(forget)}

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """CE(x_f, y') + CE(retain batch), or the mean of CE over the sample and that batch."""
        of_sample, of_batch = relabel_loss(model, forget, state), retain_loss(model, retain)
        if self.combine == "sum":
            return of_sample + of_batch
        size = retain.labels.shape[-1]
        return (of_sample + size * of_batch) / (size + 1)


ALGORITHM = RandomLabel
