"""What attempts come to: GT, the models' performance (TPS), cost (NUS, NUE), membership (MIA).

Of the attack on membership: a member is a sample that was trained on, as in its literature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import PAPER, Column, Family
from unlearning.losses import log_prob, wide
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
    """GT with lambda = |D_f| / |D_s|, one over the number of test samples.

    It is computed in float64 of U and F as they are logged, whatever the device has.
    """
    lam = 1 / len(chunk.base.test_labels)
    lost, forgotten = (p.cpu().double() for p in (chunk.test_prob_diff, chunk.forget_prob_diff))
    gt = ground_truth(1 - lost, forgotten, lam)
    none = (Status.NON_FINITE, Status.NOTHING_TO_FORGET)
    known = torch.tensor([status not in none for status in chunk.unlearned.status])
    return {"gt": gt.where(known, torch.nan)}


def performance(chunk: Chunk) -> dict[str, Tensor]:
    """Accuracy after unlearning, and differences of loss and probability before minus after."""
    base = chunk.base
    test_before = log_prob(base.test_logits, base.test_labels)
    seen_before = log_prob(base.train_logits[chunk.seen], chunk.train_labels)
    forget_before = log_prob(base.train_logits[chunk.positions], base.train_labels[chunk.positions])
    return {
        "test_accuracy": wide(chunk.test_logits.argmax(-1) == base.test_labels).mean(dim=1),
        "test_loss_diff": chunk.change(chunk.test_log_prob.mean(dim=1) - test_before.mean()),
        "test_prob_diff": chunk.test_prob_diff,
        "remaining_accuracy": chunk.over_remaining(
            chunk.train_logits.argmax(dim=-1) == chunk.train_labels
        ),
        "remaining_loss_diff": chunk.change(
            chunk.over_remaining(chunk.train_log_prob - seen_before)
        ),
        "forget_prob_diff": chunk.forget_prob_diff,
        "forget_loss_diff": chunk.change(chunk.forget_log_prob - forget_before),
    }


def cost(chunk: Chunk) -> dict[str, Tensor]:
    """Steps and seconds of each member."""
    return {"steps": chunk.unlearned.steps, "elapsed_s": chunk.unlearned.elapsed_s}


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


OUTCOME = Family(
    name="outcome",
    post=outcome,
    source=PAPER,
    declared=(
        Column("gt", "Ground Truth (GT)", "half harmonic mean", "low").defined(
            "lambda U F / (lambda U + F) with lambda = 1 / test samples",
            undefined="status already_wrong, nothing_to_forget or non_finite",
        ),
    ),
)

PERFORMANCE = Family(
    name="performance",
    post=performance,
    source=PAPER,
    declared=(
        Column("test_accuracy", "Test Accuracy (TPS)", "share", "low").defined(
            "accuracy of the unlearned model on the test set"
        ),
        Column("test_loss_diff", "Test Loss Difference", "nats", "low").defined(
            "mean cross-entropy on the test set, before minus after"
        ),
        Column(
            "test_prob_diff", "Test Predictive Probability Difference", "probability", "high"
        ).defined("mean probability of the true label on the test set, before minus after"),
        Column("remaining_accuracy", "Remaining Accuracy (TPS)", "share", "low").defined(
            "accuracy of the unlearned model on the remaining data seen"
        ),
        Column("remaining_loss_diff", "Remaining Loss Difference", "nats", "low").defined(
            "mean cross-entropy on the remaining data seen, before minus after"
        ),
        Column(
            "forget_prob_diff", "Forget Predictive Probability Difference", "probability", "low"
        ).defined("probability of the true label of the sample, before minus after"),
        Column("forget_loss_diff", "Forget Loss Difference", "nats", "high").defined(
            "cross-entropy of the sample, before minus after"
        ),
    ),
)

COST = Family(
    name="cost",
    post=cost,
    is_logged=True,
    source=PAPER,
    declared=(
        Column("steps", "Epochs Elapsed in Steps (NUE)", "steps", "high").defined(
            "unlearning steps to the flip, or the budget; a step sees the sample once, "
            "as an epoch of the paper's does"
        ),
        Column("elapsed_s", "Elapsed Time (NUE)", "s", "high").defined(
            "wall time of each step over the members then in the stack, summed"
        ),
    ),
)

MEMBERSHIP = Family(
    name="membership",
    post=membership,
    undefined="no other training sample seen, or no test sample, of the class",
    source="Song & Mittal 2021 (arXiv 2003.10595)",
    declared=(
        Column("mia_forgotten", "MIA Resistance", "0 or 1", "low").defined(
            "1 if an attack by confidence on the unlearned model says non-member", source=PAPER
        ),
        Column("mia_margin", "MIA Margin", "probability", "low").defined(
            "the attack's threshold minus the probability of the sample's label"
        ),
        Column("mia_attack_accuracy", "MIA Attack Accuracy", "share", "high").defined(
            "the attack's balanced accuracy; near 0.5 its verdict says nothing"
        ),
        Column("mia_attack_strength", "MIA Attack Strength", "", "high").defined(
            "(2 accuracy - 1) sqrt(M N / (M + N)), with M members and N others: the "
            "threshold is the best one for these very samples, and chance alone comes to s with "
            "about exp(-2 s^2) (Smirnov)"
        ),
    ),
)

FAMILIES = (OUTCOME, PERFORMANCE, COST, MEMBERSHIP)
