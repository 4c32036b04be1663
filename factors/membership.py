"""Resistance to membership inference (MIA): does an attack tell that x_f was trained on?

In this file a member is a sample that was trained on, as in the literature on these attacks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import PAPER, Column, Family
from unlearning.losses import wide

NOBODY = "no other training sample seen, or no test sample, of the class"
ATTACK = "Song & Mittal 2021 (arXiv 2003.10595)"


def membership(chunk: Chunk) -> dict[str, Tensor]:
    """The attack's verdict on each forget sample, and how good the attack is."""
    train, test = chunk.train_log_prob.exp(), chunk.test_log_prob.exp()
    labels = chunk.base.train_labels[chunk.positions]
    attacks = []
    for k, label in enumerate(labels):
        members = train[k][chunk.remaining_mask[k] & (chunk.train_labels == label)]
        non_members = test[k][chunk.base.test_labels == label]
        threshold, accuracy = best_attack(members, non_members)
        m, n = len(members), len(non_members)
        strength = (2 * accuracy - 1) * (m * n / max(m + n, 1)) ** 0.5
        attacks.append(torch.stack([threshold, accuracy, strength]))
    thresholds, accuracies, strengths = torch.stack(attacks, dim=1)
    margin = thresholds - chunk.forget_prob
    return {
        "mia_forgotten": wide(margin > 0).where(~margin.isnan(), torch.nan),
        "mia_margin": margin,
        "mia_attack_accuracy": accuracies,
        "mia_attack_strength": strengths,
    }


def best_attack(members: Tensor, non_members: Tensor) -> tuple[Tensor, Tensor]:
    """The attack "a member, if p >= t" with the best balanced accuracy: t and that accuracy, ().

    The confidence-based attack of Song & Mittal 2021 (arXiv 2003.10595) on one class. All observed
    probabilities are tried as t; of equally good ones the smallest is taken, with which more
    samples are said to be members. NaN where there are no members or no non-members.

    Args:
        members: (M,) probabilities of the true label. non_members: (N,) likewise.
    """
    if not len(members) or not len(non_members):
        nothing = torch.tensor(torch.nan, dtype=members.dtype, device=members.device)
        return nothing, nothing
    candidates = torch.cat([members, non_members]).unique()
    hits = len(members) - torch.searchsorted(members.sort().values, candidates)
    rejections = torch.searchsorted(non_members.sort().values, candidates)
    # Balanced accuracy times 2 M N, in whole numbers, so that equal ones are equal.
    score = hits * len(non_members) + rejections * len(members)
    best = score.max()
    accuracy = best.to(members.dtype) / (2 * len(members) * len(non_members))
    return candidates[(score == best).nonzero()[0, 0]], accuracy


FAMILY = Family(
    name="membership",
    post=membership,
    undefined=NOBODY,
    source=ATTACK,
    declared=(
        Column(
            "mia_forgotten",
            "MIA Resistance",
            unit="0 or 1",
            harder="low",
            description="1 if an attack by confidence on the unlearned model says non-member",
            source=PAPER,
        ),
        Column(
            "mia_margin",
            "MIA Margin",
            unit="probability",
            harder="low",
            description="the attack's threshold minus the probability of the sample's label",
        ),
        Column(
            "mia_attack_accuracy",
            "MIA Attack Accuracy",
            unit="share",
            harder="high",
            description="the attack's balanced accuracy; near 0.5 its verdict says nothing",
        ),
        Column(
            "mia_attack_strength",
            "MIA Attack Strength",
            unit="",
            harder="high",
            description="(2 accuracy - 1) sqrt(M N / (M + N)), with M members and N others: the "
            "threshold is the best one for these very samples, and chance alone comes to s with "
            "about exp(-2 s^2) (Smirnov)",
        ),
    ),
)
