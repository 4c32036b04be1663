"""Learn a wrong label for the sample: SalUn without its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from indelible.unlearning.algorithm import (
    Forget,
    Loss,
    Retain,
    State,
    WithRetain,
    relabel_loss,
    retain_loss,
    wrong_label,
)
from indelible.unlearning.base import Model


@dataclass(frozen=True, kw_only=True)
class RandomLabel(WithRetain):
    """A step descends on CE(x_f, y') + CE(retain batch); y' is a wrong label drawn once."""

    name = "random_label"
    source = "Graves et al. 2021 (arXiv 2010.10981)"
    logged: ClassVar[tuple[str, ...]] = ("relabel_target",)

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The wrong label."""
        return {"relabel_target": wrong_label(forget)}

    def losses(self, step: int) -> tuple[Loss, ...]:
        """One update a step."""
        return (relabel,)


def relabel(model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
    """CE(x_f, y') + CE(retain batch)."""
    return relabel_loss(model, forget, state) + retain_loss(model, retain)


ALGORITHM = RandomLabel
