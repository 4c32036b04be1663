"""How training learned the sample, by its own record."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import Column, Family
from unlearning.base_model import BaseModel

UNDEFINED = (
    "nothing was recorded while the base model was trained (train --no-learning-events, an "
    "imported model, or one of an earlier version)"
)


def learning(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """The five numbers of each sample, NaN where nothing was recorded."""
    recorded, at = base.companions.learning, positions.cpu()
    if recorded is None:
        nothing = torch.full((len(at),), torch.nan, dtype=torch.float64)
        return {column.name: nothing for column in LEARNING.declared}
    losses, margins = (part[:, at].double() for part in (recorded.losses, recorded.margins))
    right = margins > 0  # (epochs, K)
    forgotten = (right[:-1] & ~right[1:]).sum(dim=0)
    quartiles = losses.quantile(torch.tensor([0.25, 0.75], dtype=losses.dtype), dim=0)
    return {
        # Of a sample that was never right the number of epochs, as in the code of Toneva et al.:
        # nothing would be as few as of a sample that was always right.
        "forgetting_events": torch.where(right.any(dim=0), forgotten, len(right)).double(),
        "first_epoch_learned": (~right).cumprod(dim=0).sum(dim=0).double(),
        "cumulative_loss": losses.mean(dim=0),
        "area_under_margin": margins.mean(dim=0),
        "loss_iqr": quartiles[1] - quartiles[0],
    }


LEARNING = Family(
    name="learning",
    pre=learning,
    of_companions=lambda companions, sample: companions.learning is not None,
    undefined=UNDEFINED,
    declared=(
        Column("forgetting_events", "Forgetting Events", "events", "low").defined(
            "how often the sample was predicted right in one epoch of the training and "
            "wrong in the next; the number of epochs if it was never right",
            source="Toneva et al. 2019 (arXiv 1812.05159)",
        ),
        Column("first_epoch_learned", "First Epoch Learned", "epochs", "low").defined(
            "the first epoch in which the sample was predicted right, counted from 0; "
            "the number of epochs if it was never right",
            source="Toneva et al. 2019 (arXiv 1812.05159)",
        ),
        Column("cumulative_loss", "Cumulative Sample Loss", "nats", "low").defined(
            "cross-entropy of the sample as training saw it, mean over the epochs",
            source="Ravikumar et al. 2025 (ICML)",
        ),
        Column("area_under_margin", "Area Under the Margin", "logit", "high").defined(
            "logit of the true label minus the highest other as training saw the "
            "sample, mean over the epochs",
            source="Pleiss et al. 2020 (arXiv 2001.10528)",
        ),
        Column("loss_iqr", "Loss Trace IQR", "nats", "low").defined(
            "interquartile range over the epochs of the cross-entropy of the sample as "
            "training saw it",
            source="Pollock et al. 2024 (arXiv 2411.05743)",
        ),
    ),
)

FAMILIES = (LEARNING,)
