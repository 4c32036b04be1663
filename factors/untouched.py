"""How far the base model is from one that never saw the sample, if nothing is unlearned."""

from __future__ import annotations

from torch import Tensor

from factors.family import Column, Family
from factors.reference import NO_MODEL, gaps, left_out_logits
from unlearning.base_model import BaseModel


def untouched(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """The base model's distance from each leave-one-out model, NaN where there is none."""
    return {"untouched_gap": gaps(base, positions, base.test_logits.expand(len(positions), -1, -1))}


FAMILY = Family(
    name="reference",
    pre=untouched,
    of_companions=left_out_logits,
    declared=(
        Column(
            "untouched_gap",
            "Untouched Gap",
            unit="probability",
            harder="high",
            description="mean over the test set of the L2 distance of the base model's class "
            "probabilities from those of the leave-one-out model: what doing nothing gives",
            undefined=NO_MODEL,
            source="",
        ),
    ),
)
