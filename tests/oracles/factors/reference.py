"""How far a model is from the one that was trained without the sample."""

from tests.oracles.arrays import Numbers
from tests.oracles.factors.distance import activation_distance


def unlearning_gap(logits_unlearned: Numbers, logits_left_out: Numbers) -> float:
    """Activation distance of the unlearned model to the one trained without the sample."""
    return activation_distance(logits_unlearned, logits_left_out)


def untouched_gap(logits_base: Numbers, logits_left_out: Numbers) -> float:
    """Activation distance of the base model to the one trained without the sample."""
    return activation_distance(logits_base, logits_left_out)


def relative_gap(
    logits_unlearned: Numbers, logits_base: Numbers, logits_left_out: Numbers
) -> float:
    """The gap that unlearning leaves, as a share of the gap that was there."""
    left = unlearning_gap(logits_unlearned, logits_left_out)
    return left / untouched_gap(logits_base, logits_left_out)
