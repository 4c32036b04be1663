"""Resistance to membership inference (MIA): does an attack still take x_f for a member?"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import Chunk, Column, Family

NOBODY = "no other training sample seen, or no test sample, of the class"
ATTACK = "Song & Mittal 2021 (arXiv 2003.10595)"


def membership(chunk: Chunk) -> dict[str, Tensor]:
    """The attack's verdict on each member's own forget sample, and how good the attack is."""
    train, test = chunk.train_log_prob.exp(), chunk.test_log_prob.exp()
    labels = chunk.base.train_labels[chunk.positions]
    thresholds, accuracies, strengths = [], [], []
    for k, label in enumerate(labels):
        members = train[k][chunk.remaining[k] & (chunk.train_labels == label)]
        others = test[k][chunk.base.test_labels == label]
        threshold, accuracy = best_attack(members, others)
        thresholds.append(threshold)
        accuracies.append(accuracy)
        compared = len(members) * len(others) / max(len(members) + len(others), 1)
        strengths.append((2 * accuracy - 1) * compared**0.5)
    margin = torch.stack(thresholds) - chunk.forget_prob
    return {
        "mia_forgotten": (margin > 0).double().where(~margin.isnan(), torch.nan),
        "mia_margin": margin,
        "mia_attack_accuracy": torch.stack(accuracies),
        "mia_attack_strength": torch.stack(strengths),
    }


def best_attack(members: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The attack "a member, if p >= t" with the best balanced accuracy: t and that accuracy, ().

    The confidence-based attack of Song & Mittal 2021 (arXiv 2003.10595) on one class: t runs over
    all observed probabilities; of equally good ones the smallest counts, in doubt for a member.
    NaN where one side is empty.

    Args:
        members: (M,) probabilities of the true label among members. others: (N,) likewise.
    """
    if not len(members) or not len(others):
        nothing = torch.tensor(torch.nan, dtype=members.dtype, device=members.device)
        return nothing, nothing
    candidates = torch.cat([members, others]).unique()
    hits = len(members) - torch.searchsorted(members.sort().values, candidates)
    rejections = torch.searchsorted(others.sort().values, candidates)
    # Balanced accuracy times 2MN, in whole numbers: ties are exact.
    score = hits * len(others) + rejections * len(members)
    best = score.max()
    accuracy = best.to(members.dtype) / (2 * len(members) * len(others))
    return candidates[(score == best).nonzero()[0, 0]], accuracy


FAMILY = Family(
    name="membership",
    post=membership,
    declared=(
        Column(
            "mia_forgotten",
            "MIA Resistance",
            unit="0 or 1",
            harder="low",
            description="1 if an attack by confidence on the unlearned model says non-member",
            undefined=NOBODY,
        ),
        Column(
            "mia_margin",
            "MIA Margin",
            unit="probability",
            harder="low",
            description="the attack's threshold minus the probability of the sample's label",
            undefined=NOBODY,
            source=ATTACK,
        ),
        Column(
            "mia_attack_accuracy",
            "MIA Attack Accuracy",
            unit="share",
            harder="high",
            description="the attack's balanced accuracy; near 0.5 its verdict says nothing",
            undefined=NOBODY,
            source=ATTACK,
        ),
        Column(
            "mia_attack_strength",
            "MIA Attack Strength",
            unit="",
            harder="high",
            description="(2 accuracy - 1) sqrt(M N / (M + N)), with M members and N others: the "
            "threshold is the best one for these very samples, and chance alone comes to s with "
            "about exp(-2 s^2) (Smirnov)",
            undefined=NOBODY,
            source=ATTACK,
        ),
    ),
)
