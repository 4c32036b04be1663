"""What attempts come to: GT, what they do to the models' performance (TPS), and cost (NUS, NUE)."""

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
    """GT with lambda = |D_f| / |D_s|, one over the number of test samples."""
    lam = 1 / len(chunk.base.test_labels)
    gt = ground_truth(1 - chunk.test_prob_diff, chunk.forget_prob_diff, lam)
    finite = torch.tensor([s is not Status.NON_FINITE for s in chunk.unlearned.status])
    return {"gt": gt.where(finite.to(gt.device), torch.nan)}


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


OUTCOME = Family(
    name="outcome",
    post=outcome,
    source=PAPER,
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

PERFORMANCE = Family(
    name="performance",
    post=performance,
    source=PAPER,
    declared=(
        Column(
            "test_accuracy",
            "Test Accuracy (TPS)",
            unit="share",
            harder="low",
            description="accuracy of the unlearned model on the test set",
        ),
        Column(
            "test_loss_diff",
            "Test Loss Difference",
            unit="nats",
            harder="low",
            description="mean cross-entropy on the test set, before minus after",
        ),
        Column(
            "test_prob_diff",
            "Test Predictive Probability Difference",
            unit="probability",
            harder="high",
            description="mean probability of the true label on the test set, before minus after",
        ),
        Column(
            "remaining_accuracy",
            "Remaining Accuracy (TPS)",
            unit="share",
            harder="low",
            description="accuracy of the unlearned model on the remaining data seen",
        ),
        Column(
            "remaining_loss_diff",
            "Remaining Loss Difference",
            unit="nats",
            harder="low",
            description="mean cross-entropy on the remaining data seen, before minus after",
        ),
        Column(
            "forget_prob_diff",
            "Forget Predictive Probability Difference",
            unit="probability",
            harder="low",
            description="probability of the true label of the sample, before minus after",
        ),
        Column(
            "forget_loss_diff",
            "Forget Loss Difference",
            unit="nats",
            harder="high",
            description="cross-entropy of the sample, before minus after",
        ),
    ),
)

COST = Family(
    name="cost",
    post=cost,
    is_logged=True,
    source=PAPER,
    declared=(
        Column(
            "steps",
            "Epochs Elapsed in Steps (NUE)",
            unit="steps",
            harder="high",
            description="unlearning steps to the flip, or the budget; a step sees the sample once, "
            "as an epoch of the paper's does",
        ),
        Column(
            "elapsed_s",
            "Elapsed Time (NUE)",
            unit="s",
            harder="high",
            description="wall time of each step over the members then in the stack, summed",
        ),
    ),
)

FAMILIES = (OUTCOME, PERFORMANCE, COST)
