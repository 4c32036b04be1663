"""A sample among the penultimate features of all training samples, and in the last layer alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from factors.family import Column, Family
from unlearning.base_model import BaseModel
from unlearning.losses import prob_errors, wide

NEIGHBOURS = 10
BLOCK = 256  # samples whose distances to all others are taken at a time
RIDGE = 1e-6  # of the mean of the diagonal, for features that are constant or depend on each other
DAMPING = 0.1  # of the mean of the Hessian's diagonal


def representation(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Agreement of the neighbours, leverage, and self-influence of the last layer."""
    features = base.once("representation/features", lambda: wide(base.train_features))
    spread = base.once("representation/spread", lambda: Spread.of(features))
    blocks = base.once("representation/last_layer", lambda: LastLayer.of(base))
    return {
        "knn_agreement": knn_agreement(features, base.train_labels, positions),
        "leverage": spread.leverage(features[positions]),
        "last_layer_influence": blocks.self_influence(
            with_constant(features[positions], base),
            prob_errors(base.train_logits[positions], base.train_labels[positions]),
        ),
    }


def knn_agreement(features: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
    """Share of the nearest other samples, `NEIGHBOURS` or all there are, with the same label.

    Euclidean distance. Of samples that are equally far, those with the lower position come first.

    Args:
        features: (N, D). labels: (N,). positions: (K,), of the samples whose neighbours are sought.

    Returns: (K,) float64.
    """
    features = wide(features)
    shares = [_agreement(features, labels, some) for some in positions.split(BLOCK)]
    return torch.cat(shares)


def _agreement(features: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
    k = min(NEIGHBOURS, len(features) - 1)
    # Not by a matrix product: rounding would make equal samples unequally far.
    exact = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(features[positions], features, compute_mode=exact)
    distance[torch.arange(len(positions)), positions] = torch.inf
    farthest = distance.topk(k, largest=False).values[:, -1:]
    nearer, equal = distance < farthest, distance == farthest
    left = k - nearer.sum(dim=1, keepdim=True)
    near = nearer | (equal & (equal.cumsum(dim=1) <= left))
    same = labels == labels[positions][:, None]
    return wide((near & same).sum(dim=1)) / k


@dataclass(frozen=True)
class Spread:
    """How the features of all training samples are spread.

    Attributes:
        count: how many samples there are. mean: (D,), of their features.
        root: (D, D), the Cholesky factor of X^T X + ridge I, of the centred features X.
    """

    count: int
    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Spread:
        """From the features of all training samples, (N, D)."""
        mean = wide(features).mean(dim=0)
        centred = wide(features) - mean
        scatter = centred.T @ centred
        return cls(len(features), mean, _root(scatter, RIDGE * scatter.diagonal().mean()))

    def leverage(self, features: Tensor) -> Tensor:
        """x^T (X^T X + ridge I)^-1 x with a constant in x, which is not penalised: (K, D) to (K,).

        Since the features are centred, the constant has the part 1/N.
        """
        return 1 / self.count + _quadratic(self.root, wide(features) - self.mean)


@dataclass(frozen=True)
class LastLayer:
    """The Hessian of the mean cross-entropy in the last layer, class by class.

    Of the classes x classes blocks of D x D, with D the features and a constant for the bias, those
    on the diagonal: H_k = mean over i of p_ik (1 - p_ik) a_i a_i^T. All of it would have (D x
    classes)^2 numbers.

    Attributes:
        roots: the Cholesky factors of H_k + damping I, (classes, D, D).
    """

    roots: Tensor

    @classmethod
    def of(cls, base: BaseModel) -> LastLayer:
        """Of a base model, over all its training samples."""
        inputs = with_constant(base.train_features, base)
        prob = torch.softmax(wide(base.train_logits), dim=1)
        weights = prob * (1 - prob) / len(prob)
        squares = inputs.square().sum(dim=1)
        unknowns = prob.shape[1] * inputs.shape[1]
        damping = DAMPING * (weights.sum(dim=1) @ squares) / unknowns
        roots = [_root((inputs.T * of_class) @ inputs, damping) for of_class in weights.T]
        return cls(torch.stack(roots))

    def self_influence(self, inputs: Tensor, errors: Tensor) -> Tensor:
        """g^T (H + damping I)^-1 g, with g = e (x) a the gradient of a sample: sum over classes k.

        Args:
            inputs: a, what enters the last layer, (K, D).
            errors: e, probabilities minus one-hot labels, (K, classes).

        Returns: (K,) float64.
        """
        of_classes = [_quadratic(root, inputs) for root in self.roots]
        return (errors.square() * torch.stack(of_classes, dim=1)).sum(dim=1)


def with_constant(features: Tensor, base: BaseModel) -> Tensor:
    """Features, and a one where the last layer has a bias: (N, D) to (N, D or D + 1), float64."""
    features = wide(features)
    if base.head.bias is None:
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


FAMILY = Family(
    name="representation",
    pre=representation,
    declared=(
        Column(
            "knn_agreement",
            "Neighbours' Agreement",
            unit="share",
            harder="high",
            description="share of the 10 nearest other training samples in the penultimate "
            "features that have the label of the sample",
            source="after Papernot & McDaniel 2018 (arXiv 1803.04765)",
        ),
        Column(
            "leverage",
            "Leverage",
            unit="1",
            harder="low",
            description="leverage of the sample in a linear regression on the penultimate features "
            "and a constant, with a ridge of 1e-6 of the mean of X^T X's diagonal",
            source="Hoaglin & Welsch 1978",
        ),
        Column(
            "last_layer_influence",
            "Self-Influence (Last Layer)",
            unit="nats",
            harder="low",
            description="influence of the sample on its own cross-entropy in the last layer: "
            "g^T (H + damping I)^-1 g, with H block-diagonal over classes and damping a tenth of "
            "the mean of its diagonal",
            source="after Koh & Liang 2017 (arXiv 1703.04730)",
        ),
    ),
)
