"""Size of unlearning expansion (SUE): how densely the remaining data surround x_f."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from factors.family import Column, Family
from unlearning.base_model import BaseModel
from unlearning.losses import wide

BLOCK = 256  # samples whose distances to all others are taken at a time
PAIRS_OF = 2000  # samples whose pairwise distances give the bandwidth, at most


def density(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Kernel density and entanglement of each forget sample."""
    features = base.once("density/features", lambda: standardise(base.train_features))
    bandwidth = base.once("density/bandwidth", lambda: median_distance(features))
    moments = base.once("density/moments", lambda: Moments.of(base.train_features))
    return {
        "kde_density": kde_density(features, positions, bandwidth),
        "entanglement": entanglement(base.train_features[positions], moments),
    }


class Moments(NamedTuple):
    """The sum of N feature vectors, (D,), and of all their squares, (), in float64."""

    size: int
    sum: Tensor
    squares: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of features (N, D)."""
        features = wide(features)
        return cls(len(features), features.sum(dim=0), features.square().sum())


def standardise(features: Tensor) -> Tensor:
    """Zero mean and unit variance a feature, in float64; a constant feature becomes zero."""
    centred = wide(features) - wide(features).mean(dim=0)
    spread = centred.std(dim=0, correction=0)
    return centred / spread.where(spread > 0, 1.0)


def kde_density(features: Tensor, positions: Tensor, bandwidth: float | None = None) -> Tensor:
    """Log of the mean Gaussian kernel exp(-d^2 / 2h^2) between a sample and all others.

    Rizwan et al. 2024, Eq. 8. Without the kernel's normalising constant, which is the same for
    all samples.

    Args:
        features: (N, D). positions: (K,), of the samples whose density is computed.
        bandwidth: h; the median pairwise distance if not given.

    Returns: (K,).
    """
    h = bandwidth if bandwidth is not None else median_distance(features)
    densities = []
    for some in positions.split(BLOCK):
        exponent = -(_distances(features[some], features) ** 2) / (2 * h**2)
        exponent[torch.arange(len(some)), some] = -torch.inf
        densities.append(exponent.logsumexp(dim=1) - math.log(len(features) - 1))
    return torch.cat(densities)


def entanglement(own: Tensor, everything: Moments) -> Tensor:
    """Entanglement of one sample with all others: 4 Var(R) / ||phi_f - mu_R||^2.

    The score of Zhao et al. 2024 (arXiv 2406.01257) for a forget set of one, with the mean of
    both sets' centres as the common centre. Var(R) is the mean squared distance of the remaining
    samples from their centre mu_R. NaN where phi_f lies there.

    Args:
        own: (K, D), features of the samples. everything: of the features of all samples.
    """
    own, size = wide(own), everything.size - 1
    centre = (everything.sum - own) / size
    squares = everything.squares - own.square().sum(dim=1)
    variance = squares / size - centre.square().sum(dim=1)
    apart = (own - centre).square().sum(dim=1)
    score: Tensor = 4 * variance / apart
    return score.where(apart > 0, torch.nan)


def median_distance(features: Tensor) -> float:
    """The median distance over all pairs; over those of a fixed 2,000 samples if there are more."""
    some = features
    if len(features) > PAIRS_OF:
        some = features[np.random.default_rng(0).permutation(len(features))[:PAIRS_OF]]
    rows, columns = torch.triu_indices(len(some), len(some), offset=1)
    # Of two middle values numpy takes the mean, and torch would take the lower one.
    return float(np.median(_distances(some, some)[rows, columns].cpu().numpy()))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


FAMILY = Family(
    name="density",
    pre=density,
    declared=(
        Column(
            "kde_density",
            "Kernel Density (SUE)",
            unit="log density",
            harder="high",
            description="log of the mean Gaussian kernel between the features of the sample and "
            "those of the remaining data",
        ),
        Column(
            "entanglement",
            "Entanglement (ES)",
            unit="ratio",
            harder="high",
            description="4 Var(R) / ||phi_f - mu_R||^2 in the penultimate features",
            undefined="the features of the sample are the remaining data's mean",
            source="Zhao et al. 2024 (arXiv 2406.01257)",
        ),
    ),
)
