"""The outcome, GT: how well one sample was unlearned."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.outcome import Status


def ground_truth(utility: Tensor, forgetting: Tensor, lam: float) -> Tensor:
    """GT = lambda U F / (lambda U + F), and 0 where U <= 0 or F <= 0: one of the aims failed.

    Half the harmonic mean of lambda U and F, as in Rizwan et al. 2024 (arXiv 2410.03043), Eq. 4.
    NaN where U or F is NaN, unless the other one is 0 or below.

    Args:
        utility: U, (K,), one minus the mean fall of p over the test set.
        forgetting: F, (K,), the fall of p on the forget sample.
        lam: lambda, above zero.
    """
    failed = (utility <= 0) | (forgetting <= 0)
    mean = lam * utility * forgetting / (lam * utility + forgetting)
    return mean.masked_fill(failed, 0.0)


def outcome(chunk: Chunk) -> dict[str, Tensor]:
    """GT with lambda = |D_f| / |D_s|, one over the number of test samples."""
    lam = 1 / len(chunk.base.test_labels)
    gt = ground_truth(1 - chunk.test_prob_diff, chunk.forget_prob_diff, lam)
    finite = torch.tensor([s is not Status.NON_FINITE for s in chunk.unlearned.status])
    return {"gt": gt.where(finite.to(gt.device), torch.nan)}


FAMILY = Family(
    name="outcome",
    post=outcome,
    declared=(
        Column(
            "gt",
            "Ground Truth (GT)",
            unit="half harmonic mean",
            harder="low",
            description="lambda U F / (lambda U + F) with lambda = 1 / test samples",
            undefined="status already_wrong or non_finite",
        ),
    ),
)
