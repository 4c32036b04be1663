"""How far an unlearned model is from the base model (DPS), and from one without the sample.

The latter is a leave-one-out model: how near unlearning comes to it, GT does not measure.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import NO_HEAD, PAPER, Column, Family
from unlearning.base_model import BaseModel
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


def reference(chunk: Chunk) -> dict[str, Tensor]:
    """Distances from the leave-one-out models, and their ratio to those of the base model.

    NaN where there is no such model, and for an algorithm that gives that very model.
    """
    base = chunk.base
    gap = gaps(base, chunk.positions, chunk.test_logits)
    if chunk.unlearned.is_exact:
        gap = torch.full_like(gap, torch.nan)
    untouched = gaps(base, chunk.positions, base.test_logits.expand_as(chunk.test_logits))
    relative = (gap / untouched).where(untouched > 0, torch.nan)
    return {"unlearning_gap": gap, "relative_gap": relative}


def gaps(base: BaseModel, positions: Tensor, test_logits: Tensor) -> Tensor:
    """Distances of K models from the leave-one-out models of their samples: (K,) float64.

    NaN where there is no such model.

    Args:
        positions: (K,), the samples' in the training split. test_logits: (K, N, classes).
    """
    distances = torch.full((len(positions),), torch.nan, dtype=torch.float64)
    for k, sample in enumerate(base.dataset.train.ids[positions.cpu()].tolist()):
        if sample in base.companions.left_out:
            other = base.companions.left_out[sample].to(base.device)
            distances[k] = softmax_distance(test_logits[k], other)
    return distances


def untouched(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """The base model's distance from each leave-one-out model, NaN where there is none."""
    return {"untouched_gap": gaps(base, positions, base.test_logits.expand(len(positions), -1, -1))}


NO_MODEL = "there is no leave-one-out model of the sample (train --leave-out)"
ITSELF = "the algorithm is retraining, which comes to that model itself"

DISTANCE = Family(
    name="distance",
    post=distance,
    declared=(
        Column("model_distance_abs", "Model Distance - Absolute (DPS)", "weight", "high").defined(
            "mean over parameter tensors of the mean absolute difference", source=PAPER
        ),
        Column("model_distance_l2", "Model Distance - L2 (DPS)", "weight", "high").defined(
            "Euclidean distance of all parameters"
        ),
        Column("model_distance_kl", "Model Distance - KL (DPS)", "nats", "high").defined(
            "mean over parameter tensors of KL(softmax(before) || softmax(after))", source=PAPER
        ),
        Column("activation_distance", "Activation Distance (DPS)", "probability", "high").defined(
            "mean over the test set of the L2 distance of class probabilities",
            source="Chundawat et al. 2023 (arXiv 2205.08096)",
        ),
        Column("feature_distance", "Feature Distance (DPS)", "feature", "high").defined(
            "mean over the test set of the L2 distance of penultimate features",
            undefined=NO_HEAD,
        ),
    ),
)

REFERENCE = Family(
    name="reference",
    post=reference,
    of_companions=lambda companions, sample: companions.left_out.get(sample),
    declared=(
        Column("unlearning_gap", "Unlearning Gap", "probability", "high").defined(
            "mean over the test set of the L2 distance of class probabilities from "
            "those of the leave-one-out model",
            undefined=f"{NO_MODEL}, or {ITSELF}",
        ),
        Column("relative_gap", "Relative Unlearning Gap", "", "high").defined(
            "unlearning_gap / untouched_gap: below 1 it is nearer to the leave-one-out "
            "model than the untouched base model is",
            undefined=f"{NO_MODEL}, or it is the base model's equal, or {ITSELF}",
        ),
    ),
)

UNTOUCHED = Family(
    name="reference",
    pre=untouched,
    of_companions=lambda companions, sample: companions.left_out.get(sample),
    declared=(
        Column("untouched_gap", "Untouched Gap", "probability", "high").defined(
            "mean over the test set of the L2 distance of the base model's class "
            "probabilities from those of the leave-one-out model: what doing nothing gives",
            undefined=NO_MODEL,
        ),
    ),
)

FAMILIES = (DISTANCE, REFERENCE, UNTOUCHED)
