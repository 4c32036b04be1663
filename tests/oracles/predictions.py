"""What logits say about labels, in float64."""

import numpy as np
import scipy.special

from tests.oracles.arrays import Array, Labels, Numbers, as_float64, as_ints


def probabilities(logits: Numbers) -> Array:
    """softmax over the last axis."""
    result: Array = scipy.special.softmax(as_float64(logits), axis=-1)
    return result


def true_probabilities(logits: Numbers, labels: Labels) -> Array:
    """Softmax probability of the true label, per row."""
    probs = probabilities(logits)
    return np.array([probs[row, label] for row, label in enumerate(as_ints(labels))])


def cross_entropies(logits: Numbers, labels: Labels) -> Array:
    """logsumexp(row) - row[true label], per row."""
    losses = []
    for row, label in zip(as_float64(logits), as_ints(labels), strict=True):
        losses.append(float(scipy.special.logsumexp(row) - row[label]))
    return np.array(losses)


def accuracy(logits: Numbers, labels: Labels) -> float:
    """Share of rows whose largest logit (the first one on ties) is at the true label."""
    hits = 0
    targets = as_ints(labels)
    for row, label in zip(as_float64(logits), targets, strict=True):
        if int(np.argmax(row)) == label:
            hits += 1
    return hits / len(targets)


def mean_cross_entropy(logits: Numbers, labels: Labels) -> float:
    """Mean over the rows of the cross-entropy."""
    return float(np.mean(cross_entropies(logits, labels)))


def mean_true_probability(logits: Numbers, labels: Labels) -> float:
    """Mean over the rows of the probability of the true label."""
    return float(np.mean(true_probabilities(logits, labels)))
