"""Plain factors: float64, scipy, scikit-learn, foolbox and counting loops."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.spatial.distance
import scipy.special
import scipy.stats
import torch
from foolbox.attacks.deepfool import L2DeepFoolAttack
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

Array = NDArray[np.float64]
Numbers = Tensor | NDArray[Any] | Sequence[float] | Sequence[Sequence[float]]
Labels = Tensor | NDArray[Any] | Sequence[int]
Maybe = float | None


def as_float64(values: Numbers) -> Array:
    """Any array of numbers as float64 numpy."""
    if isinstance(values, Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def as_ints(values: Labels) -> list[int]:
    """Class labels as a list of Python integers."""
    return [int(value) for value in values]


# Predictions


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


def remaining_accuracy(logits: Numbers, labels: Labels, left_out: int) -> float:
    """Accuracy over all rows but `left_out`."""
    values = as_float64(logits)
    targets = as_ints(labels)
    kept = [row for row in range(len(targets)) if row != left_out]
    return accuracy(values[kept], [targets[row] for row in kept])


# Distance between parameters


def model_distance_abs(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Mean over the parameter tensors of the mean absolute difference."""
    means = []
    for name in before:
        difference = as_float64(before[name]) - as_float64(after[name])
        means.append(float(np.mean(np.abs(difference))))
    return float(np.mean(means))


def model_distance_kl(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Mean over the parameter tensors of KL(softmax(flat before) || softmax(flat after))."""
    divergences = []
    for name in before:
        p = scipy.special.softmax(as_float64(before[name]).flatten())
        q = scipy.special.softmax(as_float64(after[name]).flatten())
        divergences.append(float(scipy.stats.entropy(p, q)))
    return float(np.mean(divergences))


# Distance to the decision boundary


def deepfool_norm(
    module: nn.Module, image: Tensor, *, steps: int = 50, overshoot: float = 0.02
) -> Maybe:
    """L2 norm of foolbox's DeepFool perturbation of one image (C, H, W), without the overshoot.

    From the predicted class, all classes as candidates, no clipping (very wide bounds), in
    float64. None if the prediction has not changed after `steps` steps. foolbox adds 1e-4 to the
    length of each step, so that the norm exceeds the exact one by about 1e-4 per step.
    """
    model = copy.deepcopy(module).double().eval()
    clean = image.detach().double().unsqueeze(0)
    with torch.no_grad():
        predicted = model(clean).argmax(dim=1)
    wrapped = PyTorchModel(model, bounds=(-1e12, 1e12), device=image.device)
    attack = L2DeepFoolAttack(steps=steps, candidates=None, overshoot=overshoot)
    adversarial, _, success = attack(wrapped, clean, predicted, epsilons=None)
    if not bool(success[0]):
        return None
    return float(torch.linalg.vector_norm(adversarial - clean)) / (1.0 + overshoot)


def linear_deepfool_norm(weight: Numbers, bias: Numbers, x: Numbers) -> Maybe:
    """DeepFool's closed form for logits W x + b, with p the predicted class.

    min over k != p of |f_k - f_p| / ||w_k - w_p||; rows equal to w_p have no boundary with p and
    are skipped, None if no row is left.
    """
    w, b, point = as_float64(weight), as_float64(bias), as_float64(x).flatten()
    logits = [float(np.dot(w[k], point) + b[k]) for k in range(len(b))]
    p = int(np.argmax(logits))
    distances = []
    for k in range(len(b)):
        norm = float(np.linalg.norm(w[k] - w[p]))
        if k != p and norm > 0:
            distances.append(abs(logits[k] - logits[p]) / norm)
    return min(distances) if distances else None


def linear_boundary_distance(weight: Numbers, bias: Numbers, phi: Numbers) -> Maybe:
    """min over k of |w_k . phi + b_k| / ||w_k||; zero rows are skipped, None if no row is left."""
    w, b, point = as_float64(weight), as_float64(bias), as_float64(phi).flatten()
    distances = []
    for k in range(len(b)):
        norm = float(np.linalg.norm(w[k]))
        if norm > 0:
            distances.append(abs(float(np.dot(w[k], point) + b[k])) / norm)
    return min(distances) if distances else None


# Membership inference


def membership_threshold(
    remaining_probs: Numbers,
    remaining_labels: Labels,
    test_probs: Numbers,
    test_labels: Labels,
    forget_class: int,
) -> tuple[float, float] | None:
    """The best threshold of a confidence attack on one class, and its balanced accuracy.

    Members are the remaining training samples of the class, non-members the test samples of the
    class; "member" is said where p(true label) >= t. Every observed probability is tried as t;
    the largest (share of members called so + share of non-members called so) / 2 wins, and on
    ties the smallest t. None if the class is absent on either side.
    """
    members = of_class(remaining_probs, remaining_labels, forget_class)
    others = of_class(test_probs, test_labels, forget_class)
    if not members or not others:
        return None
    best_threshold = math.nan
    best_score = -1
    for threshold in sorted(members + others):
        member_hits = sum(1 for p in members if p >= threshold)
        other_hits = sum(1 for p in others if p < threshold)
        score = member_hits * len(others) + other_hits * len(members)  # exact, so ties are exact
        if score > best_score:
            best_score = score
            best_threshold = threshold
    return best_threshold, best_score / (2 * len(members) * len(others))


def of_class(probs: Numbers, labels: Labels, wanted: int) -> list[float]:
    """The probabilities of the samples of one class."""
    chosen = []
    for p, label in zip(as_float64(probs), as_ints(labels), strict=True):
        if label == wanted:
            chosen.append(float(p))
    return chosen


def mia_forgotten(forget_prob: float, threshold: float) -> int:
    """1 if the attack calls x_f a non-member (p < threshold), else 0."""
    return 1 if forget_prob < threshold else 0


# Kernel density


def standardised(features: Numbers) -> Array:
    """Each column minus its mean, over its population standard deviation; constant columns 0."""
    values = as_float64(features)
    result = np.zeros_like(values)
    for column in range(values.shape[1]):
        x = values[:, column]
        if x.max() > x.min():
            result[:, column] = (x - np.mean(x)) / np.std(x)
    return result


def median_distance(features: Numbers) -> float:
    """Median of the euclidean distances of all pairs of rows."""
    return float(np.median(scipy.spatial.distance.pdist(as_float64(features))))


def kde_density(features: Numbers, index: int, bandwidth: float | None = None) -> Maybe:
    """Log of the mean kernel exp(-d^2 / 2 h^2) between row `index` and all the other rows.

    Rows are standardised over all training features (x_f included); h is the median distance of
    all pairs of them (x_f included) unless given, in standardised units. scikit-learn's log
    density carries the normaliser -(D/2 log 2 pi + D log h), which is added back. None if h = 0.
    """
    rows = standardised(features)
    h = median_distance(rows) if bandwidth is None else bandwidth
    if h == 0:
        return None
    others = np.delete(rows, index, axis=0)
    density = KernelDensity(kernel="gaussian", metric="euclidean", bandwidth=h).fit(others)
    log_density = float(density.score_samples(rows[index : index + 1])[0])
    dimensions = int(rows.shape[1])
    return log_density + dimensions / 2 * math.log(2 * math.pi) + dimensions * math.log(h)


# Ground truth


def forgetting(prob_before: float, prob_after: float) -> float:
    """F = p_theta(x_f) - p_vartheta(x_f)."""
    return prob_before - prob_after


def utility(test_probs_before: Numbers, test_probs_after: Numbers) -> float:
    """U = 1 - mean over the test set of [p_theta(x) - p_vartheta(x)]."""
    return 1.0 - float(np.mean(as_float64(test_probs_before) - as_float64(test_probs_after)))


def is_missing(value: Maybe) -> bool:
    """Whether a value is None or NaN."""
    return value is None or math.isnan(value)


def gt(u: Maybe, f: Maybe, lam: Maybe) -> Maybe:
    """lam u f / (lam u + f); 0 if u <= 0 or f <= 0; None if anything is None or NaN."""
    if u is None or f is None or lam is None:
        return None
    if math.isnan(u) or math.isnan(f) or math.isnan(lam):
        return None
    if u <= 0 or f <= 0:
        return 0.0
    return lam * u * f / (lam * u + f)


def lambda_set_sizes(n_test: int) -> float:
    """One forget sample over the size of the test set."""
    return 1.0 / n_test


def lambda_mean_ratio(us: Sequence[Maybe], fs: Sequence[Maybe]) -> Maybe:
    """mean |F| / mean |U| over the samples where both are defined.

    None if there is no such sample or if mean |U| = 0.
    """
    pairs = defined_pairs(us, fs)
    mean_u = sum(abs(u) for u, _ in pairs) / len(pairs) if pairs else 0.0
    if mean_u == 0:
        return None
    return sum(abs(f) for _, f in pairs) / len(pairs) / mean_u


def lambda_one() -> float:
    """The constant 1."""
    return 1.0


# Rank correlation


def defined_pairs(x: Sequence[Maybe], y: Sequence[Maybe]) -> list[tuple[float, float]]:
    """The pairs in which neither side is None or NaN."""
    pairs = []
    for a, b in zip(x, y, strict=True):
        if a is not None and b is not None and not is_missing(a) and not is_missing(b):
            pairs.append((float(a), float(b)))
    return pairs


def average_ranks(values: Sequence[float]) -> list[float]:
    """1 + (number of smaller values) + half the number of other values that are equal."""
    ranks = []
    for a in values:
        smaller = sum(1 for b in values if b < a)
        equal = sum(1 for b in values if b == a)
        ranks.append(1 + smaller + (equal - 1) / 2)
    return ranks


def pearson(x: Sequence[float], y: Sequence[float]) -> Maybe:
    """Covariance over the product of the standard deviations; None if a side is constant."""
    mean_x = sum(x) / len(x)
    mean_y = sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread_x = sum((a - mean_x) ** 2 for a in x)
    spread_y = sum((b - mean_y) ** 2 for b in y)
    if spread_x == 0 or spread_y == 0:
        return None
    return max(-1.0, min(1.0, covariance / math.sqrt(spread_x * spread_y)))


def correlation_p_value(rho: float, n: int) -> Maybe:
    """Two-sided p of t = rho sqrt((n - 2) / (1 - rho^2)), t distribution, n - 2 degrees.

    0 if |rho| = 1; None if n < 3.
    """
    if n < 3:
        return None
    if abs(rho) == 1:
        return 0.0
    t = rho * math.sqrt((n - 2) / ((1 + rho) * (1 - rho)))
    return 2 * float(scipy.stats.t.sf(abs(t), n - 2))


def spearman(x: Sequence[Maybe], y: Sequence[Maybe]) -> tuple[Maybe, Maybe, int]:
    """(rho, p, n): Pearson of the average ranks over the n pairs without None or NaN.

    rho is None if n < 2 or a side is constant; p is None if rho is, or if n < 3.
    """
    pairs = defined_pairs(x, y)
    n = len(pairs)
    if n < 2:
        return None, None, n
    rho = pearson(average_ranks([a for a, _ in pairs]), average_ranks([b for _, b in pairs]))
    if rho is None:
        return None, None, n
    return rho, correlation_p_value(rho, n), n
