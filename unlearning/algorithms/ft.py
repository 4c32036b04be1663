"""Fine-tuning on the remaining data, of which the forget sample is not a part."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearning.algorithm import Forget, Retain, State, WithRetain, retain_loss
from unlearning.base_model import Model


@dataclass(frozen=True, kw_only=True)
class FineTuning(WithRetain):
    """A step descends on CE(retain batch): a negative control, which hardly unlearns a sample."""

    name = "ft"
    citation = "Golatkar et al. 2020 (arXiv 1911.04933)"
    takes_sets = True

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """CE(retain batch)."""
        return retain_loss(model, retain)


ALGORITHM = FineTuning
