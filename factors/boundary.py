"""Geometric distance to the decision boundary (GDDB), under the base model."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import PAPER, Column, Family
from unlearning.base_model import BaseModel, Model

BLOCK = 256  # images that DeepFool moves at a time


def boundary(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """DeepFool's norm, and the distances to the last layer's hyperplanes."""
    blocks = positions.split(BLOCK)
    norm = torch.cat([deepfool_norm(base.model, base.train_inputs[block]) for block in blocks])
    labels = base.train_labels[positions]
    right = base.train_logits[positions].argmax(dim=1) == labels
    weight, phi = base.head.weight.detach(), base.train_features[positions]
    has_bias = base.head.bias is not None
    bias = base.head.bias.detach() if has_bias else weight.new_zeros(len(weight))
    return {
        "deepfool_norm": norm.where(right, torch.nan),
        "linear_boundary_distance": linear_boundary_distance(weight, bias, phi),
        "pairwise_boundary_distance": pairwise_boundary_distance(weight, bias, phi, labels),
    }


def linear_boundary_distance(weight: Tensor, bias: Tensor, phi: Tensor) -> Tensor:
    """min over k of |w_k . phi + b_k| / ||w_k|| (Rizwan et al. 2024, Eq. 7): (N, D) to (N,)."""
    distances: Tensor = (phi @ weight.T + bias).abs() / torch.linalg.vector_norm(weight, dim=1)
    return distances.amin(dim=1)


def pairwise_boundary_distance(weight: Tensor, bias: Tensor, phi: Tensor, labels: Tensor) -> Tensor:
    """min over k != y of |(w_y - w_k) . phi + b_y - b_k| / ||w_y - w_k||: (N, D), (N,) to (N,)."""
    logits = phi @ weight.T + bias
    gap = (logits.gather(1, labels[:, None]) - logits).abs()
    normal = torch.linalg.vector_norm(weight[labels][:, None] - weight, dim=2)
    distance = (gap / normal).masked_fill(normal == 0, torch.inf)  # y, and its duplicates
    nearest: Tensor = distance.amin(dim=1)
    return nearest.where(nearest.isfinite(), torch.nan)


def deepfool_norm(
    model: Model, images: Tensor, iterations: int = 50, overshoot: float = 0.02
) -> Tensor:
    """L2 norm of DeepFool's perturbation before overshoot: (N, C, H, W) to (N,).

    Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), Algorithm 2: from the predicted class, with
    all other classes as candidates, without clipping. The overshoot is only added to test whether
    the prediction has changed; NaN where it has not after the last iteration.
    """
    start = model(images).detach().argmax(dim=1)
    moved = torch.zeros_like(images)
    crossed = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for _ in range(iterations):
        if crossed.all():
            break
        open_ = ~crossed
        at = images[open_] + (1 + overshoot) * moved[open_]
        moved[open_] = moved[open_] + _step_to_nearest(model, at, start[open_])
        with torch.no_grad():
            reached = model(images[open_] + (1 + overshoot) * moved[open_])
        crossed[open_] = reached.argmax(dim=1) != start[open_]
    norm: Tensor = torch.linalg.vector_norm(moved.flatten(1), dim=1)
    return norm.where(crossed, torch.nan)


def _step_to_nearest(model: Model, images: Tensor, start: Tensor) -> Tensor:
    """The step onto the nearest linearised boundary between `start` and another class."""
    images = images.detach().requires_grad_()
    logits = model(images)
    classes = range(logits.shape[1])
    gradients = torch.stack(
        [torch.autograd.grad(logits[:, k].sum(), images, retain_graph=True)[0] for k in classes],
        dim=1,
    ).flatten(2)
    rows = torch.arange(len(images), device=images.device)
    gap = logits.detach() - logits.detach()[rows, start][:, None]
    normal = gradients - gradients[rows, start][:, None]
    length: Tensor = torch.linalg.vector_norm(normal, dim=2)
    distance = gap.abs() / length
    distance[rows, start] = torch.inf
    nearest = distance.nan_to_num(torch.inf).argmin(dim=1)
    scale = gap[rows, nearest].abs() / length[rows, nearest] ** 2
    step: Tensor = scale[:, None] * normal[rows, nearest]
    return step.reshape(images.shape)


FAMILY = Family(
    name="boundary",
    pre=boundary,
    declared=(
        Column(
            "deepfool_norm",
            "DeepFool Norm (GDDB)",
            unit="pixel",
            harder="high",
            description="L2 norm of the DeepFool perturbation of the sample before overshoot",
            undefined="DeepFool did not converge, or status already_wrong",
            source=PAPER,
        ),
        Column(
            "linear_boundary_distance",
            "Last-Layer Boundary Distance (GDDB)",
            unit="feature",
            harder="high",
            description="min over k of |w_k . phi + b_k| / ||w_k|| in the penultimate features",
            source=PAPER,
        ),
        Column(
            "pairwise_boundary_distance",
            "Pairwise Boundary Distance (GDDB)",
            unit="feature",
            harder="high",
            description="distance of the features to the nearest boundary between the true class "
            "and another, of the last layer",
        ),
    ),
)
