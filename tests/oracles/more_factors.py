"""More plain factors in float64: loops over the definitions. What is not defined is NaN."""

import copy
import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .factors import (
    Array,
    Labels,
    Numbers,
    as_float64,
    as_ints,
    cross_entropies,
    mean_cross_entropy,
    probabilities,
)

# The forget sample's own prediction


def confidence(logits: Numbers, label: int) -> float:
    """Softmax probability of the label."""
    return float(probabilities(logits)[label])


def margin(logits: Numbers, label: int) -> float:
    """Logit of the label minus the highest of the others."""
    values = [float(value) for value in as_float64(logits)]
    return values[label] - max(value for k, value in enumerate(values) if k != label)


def loss(logits: Numbers, label: int) -> float:
    """Cross-entropy of one row."""
    return float(cross_entropies(as_float64(logits)[np.newaxis], [label])[0])


def entropy(logits: Numbers) -> float:
    """-sum p log p of the softmax, in nats, with 0 log 0 = 0."""
    return sum(-p * math.log(p) for p in map(float, probabilities(logits)) if p > 0)


def grad_norm(model: nn.Module, image: Tensor, label: int) -> float:
    """L2 norm over all parameters of the gradient of CE(image, label), in eval mode, float64."""
    plain = copy.deepcopy(model).double().eval().requires_grad_(True)
    logits = plain(image.detach().double().unsqueeze(0))
    F.cross_entropy(logits, torch.tensor([label], device=logits.device)).backward()
    total = 0.0
    for parameter in plain.parameters():
        if parameter.grad is not None:
            total += float(np.sum(as_float64(parameter.grad) ** 2))
    return math.sqrt(total)


# Before and after


def remaining_loss_diff(
    logits_before: Numbers, logits_after: Numbers, labels: Labels, left_out: int
) -> float:
    """Mean cross-entropy over all rows but `left_out`, before minus after; NaN without rows."""
    before, after, targets = as_float64(logits_before), as_float64(logits_after), as_ints(labels)
    kept = [row for row in range(len(targets)) if row != left_out]
    if not kept:
        return math.nan
    kept_labels = [targets[row] for row in kept]
    return mean_cross_entropy(before[kept], kept_labels) - mean_cross_entropy(
        after[kept], kept_labels
    )


def model_distance_l2(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Root of the sum, over the elements of all parameters, of the squared differences."""
    total = 0.0
    for name in before:
        total += float(np.sum((as_float64(before[name]) - as_float64(after[name])) ** 2))
    return math.sqrt(total)


def mean_row_distance(a: Array, b: Array) -> float:
    """Mean over the rows of the L2 distance."""
    distances = []
    for x, y in zip(a, b, strict=True):
        distances.append(math.sqrt(squared_distance(x, y)))
    return sum(distances) / len(distances)


def activation_distance(logits_before: Numbers, logits_after: Numbers) -> float:
    """Mean over the samples of the L2 distance of the softmax vectors."""
    return mean_row_distance(probabilities(logits_before), probabilities(logits_after))


def feature_distance(features_before: Numbers, features_after: Numbers) -> float:
    """Mean over the samples of the L2 distance of the features."""
    return mean_row_distance(as_float64(features_before), as_float64(features_after))


def unlearning_gap(logits_unlearned: Numbers, logits_left_out: Numbers) -> float:
    """Activation distance of the unlearned model to the one trained without the sample."""
    return activation_distance(logits_unlearned, logits_left_out)


# Distance to the decision boundary


def pairwise_boundary_distance(weight: Numbers, bias: Numbers, phi: Numbers, label: int) -> float:
    """min over k != label of |(w_y - w_k) . phi + b_y - b_k| / ||w_y - w_k||.

    Rows equal to w_y have no boundary with y and are skipped, NaN if no row is left.
    """
    w, b, point = as_float64(weight), as_float64(bias), as_float64(phi).flatten()
    distances = []
    for k in range(len(b)):
        normal = w[label] - w[k]
        norm = float(np.linalg.norm(normal))
        if k != label and norm > 0:
            distances.append(abs(float(np.dot(normal, point) + b[label] - b[k])) / norm)
    return min(distances) if distances else math.nan


# Membership inference


def membership_attack(
    members: Numbers, others: Numbers, p_forget: float
) -> tuple[float, float, float, float]:
    """(threshold, forgotten, margin, attack accuracy) of "member if p >= t".

    Every observed value is tried as t; the best balanced accuracy (share of members with p >= t
    plus share of others with p < t) / 2 wins, and on ties the smallest t. forgotten is 1 if
    p_forget < t else 0, margin is t - p_forget. Four NaN if either side is empty.
    """
    ins = [float(p) for p in as_float64(members)]
    outs = [float(p) for p in as_float64(others)]
    if not ins or not outs:
        return math.nan, math.nan, math.nan, math.nan
    scores = {}
    for t in ins + outs:
        caught = Fraction(sum(1 for p in ins if p >= t), len(ins))
        cleared = Fraction(sum(1 for p in outs if p < t), len(outs))
        scores[t] = (caught + cleared) / 2
    best = max(scores.values())
    threshold = min(t for t, score in scores.items() if score == best)
    forgotten = 1.0 if p_forget < threshold else 0.0
    return threshold, forgotten, threshold - p_forget, float(best)


# Entanglement


def squared_distance(a: Array, b: Array) -> float:
    """||a - b||^2."""
    return sum(float(x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean_row(rows: Array) -> Array:
    """Mean of the rows."""
    return np.array([sum(map(float, column)) / len(rows) for column in rows.T])


def variance(rows: Array) -> float:
    """Mean squared distance of the rows from their mean."""
    centre = mean_row(rows)
    return sum(squared_distance(row, centre) for row in rows) / len(rows)


def entanglement_two_sets(retain_features: Numbers, forget_features: Numbers) -> float:
    """(Var(R) + Var(S)) / (1/2 (||mu_R - mu||^2 + ||mu_S - mu||^2)), mu = (mu_R + mu_S) / 2.

    NaN if the denominator is 0.
    """
    retain, forget = as_float64(retain_features), as_float64(forget_features)
    mu_r, mu_s = mean_row(retain), mean_row(forget)
    mu = (mu_r + mu_s) / 2
    between = (squared_distance(mu_r, mu) + squared_distance(mu_s, mu)) / 2
    if between == 0:
        return math.nan
    return (variance(retain) + variance(forget)) / between


def entanglement_one(retain_features: Numbers, forget_feature: Numbers) -> float:
    """4 Var(R) / ||phi_f - mu_R||^2; NaN if phi_f = mu_R."""
    retain = as_float64(retain_features)
    between = squared_distance(as_float64(forget_feature).flatten(), mean_row(retain))
    if between == 0:
        return math.nan
    return 4 * variance(retain) / between
