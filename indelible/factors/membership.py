"""Resistance to membership inference (MIA): does an attack still take x_f for a member?"""

from __future__ import annotations

import torch
from torch import Tensor

from indelible.factors.family import Chunk, Column, Family


def membership(chunk: Chunk) -> dict[str, Tensor]:
    """The attack's verdict on each member's own forget sample."""
    train, test = chunk.train_log_prob.exp(), chunk.test_log_prob.exp()
    train_labels, test_labels = chunk.base.train_labels, chunk.base.test_labels
    verdicts = []
    for k, position in enumerate(chunk.positions.tolist()):
        same_class = train_labels == train_labels[position]
        same_class[position] = False
        members, others = train[k][same_class], test[k][test_labels == train_labels[position]]
        threshold = attack_threshold(members, others)
        verdicts.append(
            (train[k, position] < threshold).double().where(~threshold.isnan(), torch.nan)
        )
    return {"mia_forgotten": torch.stack(verdicts)}


def attack_threshold(members: Tensor, others: Tensor) -> Tensor:
    """The threshold t of the attack "a member, if p >= t" with the best balanced accuracy, ().

    The confidence-based attack of Song & Mittal 2021 (arXiv 2003.10595) on one class: t runs over
    all observed probabilities; of equally good ones the smallest counts, in doubt for a member.
    NaN where one side is empty.

    Args:
        members: (M,) probabilities of the true label among members. others: (N,) likewise.
    """
    if not len(members) or not len(others):
        return torch.tensor(torch.nan, dtype=members.dtype, device=members.device)
    candidates = torch.cat([members, others]).unique()
    hits = len(members) - torch.searchsorted(members.sort().values, candidates)
    rejections = torch.searchsorted(others.sort().values, candidates)
    # Balanced accuracy times 2MN, in whole numbers: ties are exact.
    score = hits * len(others) + rejections * len(members)
    best: Tensor = candidates[(score == score.max()).nonzero()[0, 0]]
    return best


FAMILY = Family(
    name="membership",
    post=membership,
    declared=(
        Column(
            "mia_forgotten",
            "MIA Resistance",
            unit="0 or 1",
            harder="low",
            description="1 if a confidence attack on the unlearned model calls x_f a non-member",
            undefined="no other training sample, or no test sample, of the class",
        ),
    ),
)
