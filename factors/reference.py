"""How near the unlearned model is to one that never saw the sample, which GT does not measure."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.distance import softmax_distance
from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.base_model import BaseModel, Companions


def reference(chunk: Chunk) -> dict[str, Tensor]:
    """Distances from the leave-one-out models, and their ratio to those of the base model.

    NaN where there is no such model, and for an algorithm that gives that very model.
    """
    base = chunk.base
    gap = gaps(base, chunk.positions, chunk.test_logits)
    if chunk.unlearned.is_exact:
        gap = torch.full_like(gap, torch.nan)
    untouched = gaps(base, chunk.positions, base.test_logits.expand_as(chunk.test_logits))
    relative = (gap / untouched).where(untouched > 0, torch.nan)
    return {"unlearning_gap": gap, "relative_gap": relative}


def gaps(base: BaseModel, positions: Tensor, test_logits: Tensor) -> Tensor:
    """Distances of K models from the leave-one-out models of their samples: (K,) float64.

    NaN where there is no such model.

    Args:
        positions: (K,), the samples' in the training split. test_logits: (K, N, classes).
    """
    distances = torch.full((len(positions),), torch.nan, dtype=torch.float64)
    for k, sample in enumerate(base.dataset.train.ids[positions.cpu()].tolist()):
        if sample in base.companions.left_out:
            other = base.companions.left_out[sample].to(base.device)
            distances[k] = softmax_distance(test_logits[k], other)
    return distances


def left_out_logits(companions: Companions, sample: int) -> Tensor | None:
    """What the factors of this family follow from: the test set's logits without the sample."""
    return companions.left_out.get(sample)


NO_MODEL = "there is no leave-one-out model of the sample (train --leave-out)"
ITSELF = "the algorithm is retraining, which comes to that model itself"

FAMILY = Family(
    name="reference",
    post=reference,
    of_companions=left_out_logits,
    declared=(
        Column(
            "unlearning_gap",
            "Unlearning Gap",
            unit="probability",
            harder="high",
            description="mean over the test set of the L2 distance of class probabilities from "
            "those of the leave-one-out model",
            undefined=f"{NO_MODEL}, or {ITSELF}",
            source="",
        ),
        Column(
            "relative_gap",
            "Relative Unlearning Gap",
            unit="",
            harder="high",
            description="unlearning_gap / untouched_gap: below 1 it is nearer to the leave-one-out "
            "model than the untouched base model is",
            undefined=f"{NO_MODEL}, or it is the base model's equal, or {ITSELF}",
            source="",
        ),
    ),
)
