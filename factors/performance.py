"""Tolerance of performance shift (TPS), and the outcome on the forget sample itself."""

from __future__ import annotations

from torch import Tensor

from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.losses import log_prob, wide


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


FAMILY = Family(
    name="performance",
    post=performance,
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
