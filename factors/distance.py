"""Distance of parameter shift (DPS): how far unlearning moved parameters, outputs and features."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.losses import wide


def distance(chunk: Chunk) -> dict[str, Tensor]:
    """Distances of parameters, and of outputs and features on the test set."""
    base = chunk.base
    pairs = [(base.params[name], after) for name, after in chunk.unlearned.params.items()]
    shifts = [(wide(before) - wide(after)).flatten(1) for before, after in pairs]
    kl = [parameter_kl(before, after) for before, after in pairs]
    moved = wide(chunk.test_features) - wide(base.test_features)
    return {
        "model_distance_abs": torch.stack([s.abs().mean(dim=1) for s in shifts]).mean(dim=0),
        "model_distance_l2": torch.stack([s.square().sum(dim=1) for s in shifts]).sum(dim=0).sqrt(),
        "model_distance_kl": chunk.change(torch.stack(kl).mean(dim=0)),
        "activation_distance": chunk.change(softmax_distance(chunk.test_logits, base.test_logits)),
        "feature_distance": torch.linalg.vector_norm(moved, dim=2).mean(dim=1),
    }


def parameter_kl(before: Tensor, after: Tensor) -> Tensor:
    """KL(softmax(flat before) || softmax(flat after)) in float64: (...) and (K, ...) to (K,).

    Parameters are not a probability distribution, and there are five ways in use to make them one.
    This one takes a softmax over all entries of a tensor, as suits the kl_div of torch.
    """
    log_p = torch.log_softmax(wide(before).flatten(), dim=0)
    log_q = torch.log_softmax(wide(after).flatten(1), dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def softmax_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean L2 distance of class probabilities: logits (..., N, classes) twice to (...) float64."""
    difference = torch.softmax(wide(a), dim=-1) - torch.softmax(wide(b), dim=-1)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1).mean(dim=-1)
    return distance


FAMILY = Family(
    name="distance",
    post=distance,
    declared=(
        Column(
            "model_distance_abs",
            "Model Distance - Absolute (DPS)",
            unit="weight",
            harder="high",
            description="mean over parameter tensors of the mean absolute difference",
        ),
        Column(
            "model_distance_l2",
            "Model Distance - L2 (DPS)",
            unit="weight",
            harder="high",
            description="Euclidean distance of all parameters",
            source="",
        ),
        Column(
            "model_distance_kl",
            "Model Distance - KL (DPS)",
            unit="nats",
            harder="high",
            description="mean over parameter tensors of KL(softmax(before) || softmax(after))",
        ),
        Column(
            "activation_distance",
            "Activation Distance (DPS)",
            unit="probability",
            harder="high",
            description="mean over the test set of the L2 distance of class probabilities",
            source="Chundawat et al. 2023 (arXiv 2205.08096)",
        ),
        Column(
            "feature_distance",
            "Feature Distance (DPS)",
            unit="feature",
            harder="high",
            description="mean over the test set of the L2 distance of penultimate features",
            source="",
        ),
    ),
)
