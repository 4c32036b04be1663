"""How well a model does before and after unlearning. A difference is before minus after."""

import math

from tests.oracles.arrays import Labels, Numbers, as_float64, as_ints
from tests.oracles.predictions import accuracy, mean_cross_entropy, mean_true_probability

__test__ = False  # some factors are called test_...


def test_accuracy(logits: Numbers, labels: Labels) -> float:
    """Accuracy over the test set."""
    return accuracy(logits, labels)


def test_loss_diff(before: Numbers, after: Numbers, labels: Labels) -> float:
    """Mean cross-entropy over the test set, from the logits before and after."""
    return mean_cross_entropy(before, labels) - mean_cross_entropy(after, labels)


def test_prob_diff(before: Numbers, after: Numbers, labels: Labels) -> float:
    """Mean probability of the true label over the test set."""
    return mean_true_probability(before, labels) - mean_true_probability(after, labels)


def remaining_accuracy(logits: Numbers, labels: Labels, left_out: int) -> float:
    """Accuracy over all rows but `left_out`."""
    values = as_float64(logits)
    targets = as_ints(labels)
    kept = [row for row in range(len(targets)) if row != left_out]
    return accuracy(values[kept], [targets[row] for row in kept])


def remaining_loss_diff(before: Numbers, after: Numbers, labels: Labels, left_out: int) -> float:
    """Mean cross-entropy over all rows but `left_out`; NaN without rows."""
    targets = as_ints(labels)
    kept = [row for row in range(len(targets)) if row != left_out]
    if not kept:
        return math.nan
    kept_labels = [targets[row] for row in kept]
    return test_loss_diff(as_float64(before)[kept], as_float64(after)[kept], kept_labels)


def forget_prob_diff(before: Numbers, after: Numbers, label: int) -> float:
    """Probability of the true label, from the logits (K,) of the forget sample."""
    return test_prob_diff(as_float64(before)[None], as_float64(after)[None], [label])


def forget_loss_diff(before: Numbers, after: Numbers, label: int) -> float:
    """Cross-entropy, from the logits (K,) of the forget sample."""
    return test_loss_diff(as_float64(before)[None], as_float64(after)[None], [label])
