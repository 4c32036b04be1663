"""Distance of parameter shift (DPS): how far unlearning moved the parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from indelible.factors.family import Chunk, Column, Family


def distance(chunk: Chunk) -> dict[str, Tensor]:
    """Both distances, layer by layer."""
    pairs = [(chunk.base.params[name], after) for name, after in chunk.unlearned.params.items()]
    absolute = [
        (before.double() - after.double()).abs().flatten(1).mean(dim=1) for before, after in pairs
    ]
    kl = [parameter_kl(before, after) for before, after in pairs]
    return {
        "model_distance_abs": torch.stack(absolute).mean(dim=0),
        "model_distance_kl": torch.stack(kl).mean(dim=0),
    }


def parameter_kl(before: Tensor, after: Tensor) -> Tensor:
    """KL(softmax(flat before) || softmax(flat after)) in float64: (...) and (K, ...) to (K,).

    Parameters are no distribution; five ways to make them one are in use. This is the one that a
    deep-learning library's kl_div suggests: a softmax over all entries of a tensor.
    """
    log_p = torch.log_softmax(before.double().flatten(), dim=0)
    log_q = torch.log_softmax(after.double().flatten(1), dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


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
            "model_distance_kl",
            "Model Distance - KL (DPS)",
            unit="nats",
            harder="high",
            description="mean over parameter tensors of KL(softmax(before) || softmax(after))",
        ),
    ),
)
