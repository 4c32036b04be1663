"""Memorisation: how much likelier a sample is predicted right if it was in the training data."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import Column, Family
from unlearning.base_model import BaseModel


def memorization(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """The estimates among the base model's companions, NaN where there is none."""
    known = base.companions.memorization
    ids = base.dataset.train.ids[positions.cpu()].tolist()
    values = [known.get(sample, torch.nan) for sample in ids]
    return {"memorization": torch.tensor(values, dtype=torch.float64)}


def memorization_estimate(correct: Tensor, included: Tensor) -> Tensor:
    """P[f(x) = y | x in training] - P[f(x) = y | x not], over an ensemble.

    Feldman & Zhang 2020 (arXiv 2008.03703), Eq. 1. NaN where a sample was in all or in none.

    Args:
        correct, included: (models, samples) bool.

    Returns: (samples,) float64.
    """
    with_it, right = included.double(), correct.double()
    inside = (right * with_it).sum(dim=0) / with_it.sum(dim=0)
    outside = (right * (1 - with_it)).sum(dim=0) / (1 - with_it).sum(dim=0)
    return inside - outside


FAMILY = Family(
    name="memorization",
    pre=memorization,
    of_companions=lambda companions, sample: companions.memorization.get(sample),
    declared=(
        Column(
            "memorization",
            "Memorisation",
            unit="probability",
            harder="low",
            description="how much likelier models trained with the sample are to get it right "
            "than models trained without",
            undefined="no ensemble was trained (train --memorization-models), or the sample was "
            "in all or in none of its parts",
            source="Feldman & Zhang 2020 (arXiv 2008.03703)",
        ),
    ),
)
