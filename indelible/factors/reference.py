"""Did it come out like a model that never saw the sample? What GT cannot tell."""

from __future__ import annotations

import torch
from torch import Tensor

from indelible.factors.family import Chunk, Column, Family, softmax_distance


def reference(chunk: Chunk) -> dict[str, Tensor]:
    """The distance from the leave-one-out model, NaN where there is none."""
    base = chunk.base
    gap = torch.full((len(chunk.positions),), torch.nan, dtype=torch.float64)
    for k, sample in enumerate(base.dataset.train.ids[chunk.positions.cpu()].tolist()):
        if sample in base.companions.left_out:
            other = base.companions.left_out[sample].to(base.device)
            gap[k] = softmax_distance(chunk.test_logits[k], other)
    return {"unlearning_gap": gap}


FAMILY = Family(
    name="reference",
    post=reference,
    declared=(
        Column(
            "unlearning_gap",
            "Unlearning Gap",
            unit="probability",
            harder="high",
            description="mean over the test set of the L2 distance of class probabilities from "
            "those of the leave-one-out model",
            undefined="there is no leave-one-out model of the sample (train --leave-out)",
            source="",
        ),
    ),
)
