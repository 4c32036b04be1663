"""How far the unlearned model is from the base model."""

import math
from collections.abc import Mapping

import numpy as np
import scipy.special
import scipy.stats
from torch import Tensor

from tests.oracles.arrays import Numbers, as_float64, mean_row_distance
from tests.oracles.predictions import probabilities


def model_distance_abs(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Mean over the parameter tensors of the mean absolute difference."""
    means = []
    for name in before:
        difference = as_float64(before[name]) - as_float64(after[name])
        means.append(float(np.mean(np.abs(difference))))
    return float(np.mean(means))


def model_distance_l2(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Root of the sum, over the elements of all parameters, of the squared differences."""
    total = 0.0
    for name in before:
        total += float(np.sum((as_float64(before[name]) - as_float64(after[name])) ** 2))
    return math.sqrt(total)


def model_distance_kl(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Mean over the parameter tensors of KL(softmax(flat before) || softmax(flat after))."""
    divergences = []
    for name in before:
        p = scipy.special.softmax(as_float64(before[name]).flatten())
        q = scipy.special.softmax(as_float64(after[name]).flatten())
        divergences.append(float(scipy.stats.entropy(p, q)))
    return float(np.mean(divergences))


def activation_distance(logits_before: Numbers, logits_after: Numbers) -> float:
    """Mean over the samples of the L2 distance of the softmax vectors."""
    return mean_row_distance(probabilities(logits_before), probabilities(logits_after))


def feature_distance(features_before: Numbers, features_after: Numbers) -> float:
    """Mean over the samples of the L2 distance of the features."""
    return mean_row_distance(as_float64(features_before), as_float64(features_after))
