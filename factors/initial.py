"""The forget sample under the base model, and how far it is from the decision boundary (GDDB)."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import NO_HEAD, PAPER, Column, Family
from unlearning.base_model import BaseModel, Model, sample_gradients
from unlearning.losses import log_prob, margin, prob_errors, wide

PAUL = "Paul et al. 2021 (arXiv 2107.07075)"
IMAGES = 256  # that DeepFool moves at a time


def initial(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Confidence, margin, loss, entropy, EL2N and gradient norm of each sample."""
    logits, labels = wide(base.train_logits[positions]), base.train_labels[positions]
    log_p = torch.log_softmax(logits, dim=1)
    of_label = log_prob(logits, labels)
    return {
        "confidence": of_label.exp(),
        "margin": margin(logits, labels),
        "loss": -of_label,
        "entropy": -(log_p.exp() * log_p).nansum(dim=1),
        "el2n": torch.linalg.vector_norm(prob_errors(logits, labels), dim=1),
        "grad_norm": grad_norm(base, positions),
    }


def grad_norm(base: BaseModel, positions: Tensor) -> Tensor:
    """||grad CE(x_f, y_f)||_2 over all parameters: (K,) to (K,)."""
    images, labels = base.train_inputs[positions], base.train_labels[positions]
    squares = [
        # One after the other, so that each stays in the cache in float64.
        torch.stack([torch.stack([*map(_square, g)]) for g in block.values()]).sum(dim=0)
        for block in sample_gradients(base.model, images, labels, tuple(base.params))
    ]
    return torch.cat(squares).sqrt()


def _square(gradient: Tensor) -> Tensor:
    flat = wide(gradient.reshape(-1))
    return flat @ flat


def boundary(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """DeepFool's norm, and the distances to the last layer's hyperplanes."""
    blocks = positions.split(IMAGES)
    norm = torch.cat([deepfool_norm(base.model, base.train_inputs[block]) for block in blocks])
    labels = base.train_labels[positions]
    right = base.train_logits[positions].argmax(dim=1) == labels
    linear = pairwise = torch.full_like(norm, torch.nan)
    if base.head is not None:
        weight, phi = base.head.weight.detach(), base.train_features[positions]
        has_bias = base.head.bias is not None
        bias = base.head.bias.detach() if has_bias else weight.new_zeros(len(weight))
        linear = linear_boundary_distance(weight, bias, phi)
        pairwise = pairwise_boundary_distance(weight, bias, phi, labels)
    return {
        "deepfool_norm": norm.where(right, torch.nan),
        "linear_boundary_distance": linear,
        "pairwise_boundary_distance": pairwise,
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


INITIAL = Family(
    name="initial",
    pre=initial,
    declared=(
        Column("confidence", "Initial Confidence", "probability", "high").defined(
            "probability of the true label of the sample under the base model"
        ),
        Column("margin", "Initial Margin", "logit", "high").defined(
            "logit of the true label of the sample minus the highest other, base model"
        ),
        Column("loss", "Initial Loss", "nats", "low").defined(
            "cross-entropy of the sample under the base model"
        ),
        Column("entropy", "Initial Entropy", "nats", "low").defined(
            "entropy of the class probabilities of the sample under the base model"
        ),
        Column("el2n", "Error Norm (EL2N)", "probability", "low").defined(
            "L2 norm of the class probabilities of the sample minus its one-hot label, "
            "at the trained weights",
            source=PAUL,
        ),
        Column("grad_norm", "Gradient Norm", "nats / weight", "low").defined(
            "L2 norm of the gradient of the sample's cross-entropy at the base model: "
            "GraNd, at the trained weights",
            source=PAUL,
        ),
    ),
)

BOUNDARY = Family(
    name="boundary",
    pre=boundary,
    declared=(
        Column("deepfool_norm", "DeepFool Norm (GDDB)", "pixel", "high").defined(
            "L2 norm of the DeepFool perturbation of the sample before overshoot",
            undefined="DeepFool did not converge, or status already_wrong",
            source=PAPER,
        ),
        Column(
            "linear_boundary_distance", "Last-Layer Boundary Distance (GDDB)", "feature", "high"
        ).defined(
            "min over k of |w_k . phi + b_k| / ||w_k|| in the penultimate features",
            undefined=NO_HEAD,
            source=PAPER,
        ),
        Column(
            "pairwise_boundary_distance", "Pairwise Boundary Distance (GDDB)", "feature", "high"
        ).defined(
            "distance of the features to the nearest boundary between the true class "
            "and another, of the last layer",
            undefined=NO_HEAD,
        ),
    ),
)

FAMILIES = (INITIAL, BOUNDARY)
