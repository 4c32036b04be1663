"""A sample among the penultimate features of all training samples (SUE), and in the last layer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from factors.family import NO_HEAD, PAPER, Column, Family
from unlearning.base_model import BaseModel
from unlearning.losses import prob_errors, wide

BLOCK = 256  # samples whose distances to all others are taken at a time
PAIRS_OF = 2000  # samples whose pairwise distances give the bandwidth, at most
NEIGHBOURS = 10
RIDGE = 1e-6  # of the mean of the diagonal, for features that are constant or depend on each other
DAMPING = 0.1  # of the mean of the Hessian's diagonal


def density(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Kernel density and entanglement of each forget sample."""
    if base.head is None:
        return _undefined(DENSITY, positions)
    standard = base.once("features/standard", lambda: standardise(base.train_features))
    bandwidth = base.once("features/bandwidth", lambda: median_distance(standard))
    return {
        "kde_density": kde_density(standard, positions, bandwidth),
        "entanglement": entanglement(_features(base), positions),
    }


def representation(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Agreement of the neighbours, leverage, and self-influence of the last layer."""
    if base.head is None:
        return _undefined(REPRESENTATION, positions)
    features = _features(base)
    scatter = base.once("features/scatter", lambda: scatter_root(features))
    blocks = base.once("features/last_layer", lambda: last_layer_roots(base))
    return {
        "knn_agreement": knn_agreement(features, base.train_labels, positions),
        "leverage": leverage(features, positions, scatter),
        "last_layer_influence": last_layer_influence(base, positions, blocks),
    }


def _undefined(family: Family, positions: Tensor) -> dict[str, Tensor]:
    nothing = torch.full(positions.shape, torch.nan, dtype=torch.float64)
    return {column.name: nothing for column in family.declared}


def _features(base: BaseModel) -> Tensor:
    return base.once("features", lambda: wide(base.train_features))


def standardise(features: Tensor) -> Tensor:
    """Zero mean and unit variance a feature, in float64; a constant feature becomes zero."""
    centred = wide(features) - wide(features).mean(dim=0)
    spread = centred.std(dim=0, correction=0)
    return centred / spread.where(spread > 0, 1.0)


def kde_density(features: Tensor, positions: Tensor, bandwidth: float) -> Tensor:
    """Log of the mean Gaussian kernel exp(-d^2 / 2h^2) between a sample and all others.

    Rizwan et al. 2024, Eq. 8. Without the kernel's normalising constant, which is the same for
    all samples.

    Args:
        features: (N, D). positions: (K,), of the samples whose density is computed. bandwidth: h.

    Returns: (K,).
    """
    densities = []
    for some in positions.split(BLOCK):
        exponent = -(_distances(features[some], features) ** 2) / (2 * bandwidth**2)
        exponent[torch.arange(len(some)), some] = -torch.inf
        densities.append(exponent.logsumexp(dim=1) - math.log(len(features) - 1))
    return torch.cat(densities)


def median_distance(features: Tensor) -> float:
    """The median distance over all pairs; over those of a fixed 2,000 samples if there are more."""
    some = features
    if len(features) > PAIRS_OF:
        some = features[np.random.default_rng(0).permutation(len(features))[:PAIRS_OF]]
    rows, columns = torch.triu_indices(len(some), len(some), offset=1)
    # Of two middle values numpy takes the mean, and torch would take the lower one.
    return float(np.median(_distances(some, some)[rows, columns].cpu().numpy()))


def entanglement(features: Tensor, positions: Tensor) -> Tensor:
    """Entanglement of one sample with all others: 4 Var(R) / ||phi_f - mu_R||^2.

    The score of Zhao et al. 2024 (arXiv 2406.01257) for a forget set of one, with the mean of
    both sets' centres as the common centre. Var(R) is the mean squared distance of the remaining
    samples from their centre mu_R. NaN where phi_f lies there.

    Args:
        features: (N, D) float64. positions: (K,), of the samples.
    """
    own, size = features[positions], len(features) - 1
    centre = (features.sum(dim=0) - own) / size
    squares = features.square().sum() - own.square().sum(dim=1)
    variance = squares / size - centre.square().sum(dim=1)
    apart = (own - centre).square().sum(dim=1)
    return (4 * variance / apart).where(apart > 0, torch.nan)


def knn_agreement(features: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
    """Share of the nearest other samples, `NEIGHBOURS` or all there are, with the same label.

    Euclidean distance. Of samples that are equally far, those with the lower position come first.

    Args:
        features: (N, D). labels: (N,). positions: (K,), of the samples whose neighbours are sought.

    Returns: (K,) float64.
    """
    features, shares, k = wide(features), [], min(NEIGHBOURS, len(features) - 1)
    for some in positions.split(BLOCK):
        distance = _distances(features[some], features)
        distance[torch.arange(len(some)), some] = torch.inf
        farthest = distance.topk(k, largest=False).values[:, -1:]
        nearer, equal = distance < farthest, distance == farthest
        left = k - nearer.sum(dim=1, keepdim=True)
        near = nearer | (equal & (equal.cumsum(dim=1) <= left))
        shares.append(wide((near & (labels == labels[some][:, None])).sum(dim=1)) / k)
    return torch.cat(shares)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not by a matrix product: rounding would make equal samples unequally far.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def scatter_root(features: Tensor) -> Tensor:
    """The Cholesky factor of X^T X + ridge I, of the centred features X: (N, D) to (D, D)."""
    centred = wide(features) - wide(features).mean(dim=0)
    scatter = centred.T @ centred
    return _root(scatter, RIDGE * scatter.diagonal().mean())


def leverage(features: Tensor, positions: Tensor, root: Tensor) -> Tensor:
    """x^T (X^T X + ridge I)^-1 x with a constant in x, which is not penalised: (K,).

    Since the features are centred, the constant has the part 1/N.

    Args:
        features: of all training samples, (N, D). positions: (K,). root: as by `scatter_root`.
    """
    mean = wide(features).mean(dim=0)
    return 1 / len(features) + _quadratic(root, wide(features[positions]) - mean)


def last_layer_roots(base: BaseModel) -> Tensor:
    """The Hessian of the mean cross-entropy in the last layer, class by class.

    Of the classes x classes blocks of D x D, with D the features and a constant for the bias, those
    on the diagonal: H_k = mean over i of p_ik (1 - p_ik) a_i a_i^T. All of it would have (D x
    classes)^2 numbers.

    Returns: the Cholesky factors of H_k + damping I, (classes, D, D).
    """
    inputs = _with_constant(base.train_features, base)
    prob = torch.softmax(wide(base.train_logits), dim=1)
    weights = prob * (1 - prob) / len(prob)
    unknowns = prob.shape[1] * inputs.shape[1]
    damping = DAMPING * (weights.sum(dim=1) @ inputs.square().sum(dim=1)) / unknowns
    return torch.stack([_root((inputs.T * of_class) @ inputs, damping) for of_class in weights.T])


def last_layer_influence(base: BaseModel, positions: Tensor, roots: Tensor) -> Tensor:
    """g^T (H + damping I)^-1 g, with g = e (x) a the gradient of a sample: (K,) float64.

    Here a is what enters the last layer, and e probabilities minus the one-hot label.

    Args:
        positions: (K,). roots: as by `last_layer_roots`.
    """
    inputs = _with_constant(base.train_features[positions], base)
    errors = prob_errors(base.train_logits[positions], base.train_labels[positions])
    of_classes = torch.stack([_quadratic(root, inputs) for root in roots], dim=1)
    return (errors.square() * of_classes).sum(dim=1)


def _with_constant(features: Tensor, base: BaseModel) -> Tensor:
    """Features, and a one where the last layer has a bias: (N, D) to (N, D or D + 1), float64."""
    features = wide(features)
    if base.head is None or base.head.bias is None:
        return features
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def _root(matrix: Tensor, ridge: Tensor) -> Tensor:
    """The Cholesky factor of matrix + ridge I; ridge is taken as 1 where all is zero."""
    ridge = ridge.where(ridge > 0, 1.0)
    root: Tensor = torch.linalg.cholesky(matrix + ridge * torch.eye(len(matrix)).to(matrix))
    return root


def _quadratic(root: Tensor, rows: Tensor) -> Tensor:
    """x^T (root root^T)^-1 x of each row x: (D, D) and (K, D) to (K,)."""
    whitened: Tensor = torch.linalg.solve_triangular(root, rows.T, upper=False)
    return whitened.square().sum(dim=0)


DENSITY = Family(
    name="density",
    pre=density,
    undefined=NO_HEAD,
    declared=(
        Column("kde_density", "Kernel Density (SUE)", "log density", "high").defined(
            "log of the mean Gaussian kernel between the features of the sample and "
            "those of the remaining data",
            source=PAPER,
        ),
        Column("entanglement", "Entanglement (ES)", "ratio", "high").defined(
            "4 Var(R) / ||phi_f - mu_R||^2 in the penultimate features",
            undefined=f"the features of the sample are the remaining data's mean, or {NO_HEAD}",
            source="Zhao et al. 2024 (arXiv 2406.01257)",
        ),
    ),
)

REPRESENTATION = Family(
    name="representation",
    pre=representation,
    undefined=NO_HEAD,
    declared=(
        Column("knn_agreement", "Neighbours' Agreement", "share", "high").defined(
            "share of the 10 nearest other training samples in the penultimate "
            "features that have the label of the sample",
            source="after Papernot & McDaniel 2018 (arXiv 1803.04765)",
        ),
        Column("leverage", "Leverage", "1", "low").defined(
            "leverage of the sample in a linear regression on the penultimate features "
            "and a constant, with a ridge of 1e-6 of the mean of X^T X's diagonal",
            source="Hoaglin & Welsch 1978",
        ),
        Column("last_layer_influence", "Self-Influence (Last Layer)", "nats", "low").defined(
            "influence of the sample on its own cross-entropy in the last layer: "
            "g^T (H + damping I)^-1 g, with H block-diagonal over classes and damping a tenth of "
            "the mean of its diagonal",
            source="after Koh & Liang 2017 (arXiv 1703.04730)",
        ),
    ),
)

FAMILIES = (DENSITY, REPRESENTATION)
