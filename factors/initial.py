"""The forget sample under the base model, before anything is unlearned."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.family import Column, Family
from unlearning.base_model import BaseModel, sample_gradients
from unlearning.losses import log_prob, margin, prob_errors, wide

PAUL = "Paul et al. 2021 (arXiv 2107.07075)"


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


FAMILY = Family(
    name="initial",
    pre=initial,
    declared=(
        Column(
            "confidence",
            "Initial Confidence",
            unit="probability",
            harder="high",
            description="probability of the true label of the sample under the base model",
        ),
        Column(
            "margin",
            "Initial Margin",
            unit="logit",
            harder="high",
            description="logit of the true label of the sample minus the highest other, base model",
        ),
        Column(
            "loss",
            "Initial Loss",
            unit="nats",
            harder="low",
            description="cross-entropy of the sample under the base model",
        ),
        Column(
            "entropy",
            "Initial Entropy",
            unit="nats",
            harder="low",
            description="entropy of the class probabilities of the sample under the base model",
        ),
        Column(
            "el2n",
            "Error Norm (EL2N)",
            unit="probability",
            harder="low",
            description="L2 norm of the class probabilities of the sample minus its one-hot label, "
            "at the trained weights",
            source=PAUL,
        ),
        Column(
            "grad_norm",
            "Gradient Norm",
            unit="nats / weight",
            harder="low",
            description="L2 norm of the gradient of the sample's cross-entropy at the base model: "
            "GraNd, at the trained weights",
            source=PAUL,
        ),
    ),
)
