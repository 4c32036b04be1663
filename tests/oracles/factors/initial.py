"""What the base model makes of the forget sample, from its logits (K,)."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracles.arrays import Numbers, as_float64
from tests.oracles.predictions import cross_entropies, probabilities


def confidence(logits: Numbers, label: int) -> float:
    """Softmax probability of the label."""
    return float(probabilities(logits)[label])


def margin(logits: Numbers, label: int) -> float:
    """Logit of the label minus the highest of the others."""
    values = [float(value) for value in as_float64(logits)]
    return values[label] - max(value for k, value in enumerate(values) if k != label)


def loss(logits: Numbers, label: int) -> float:
    """Cross-entropy of one row."""
    return float(cross_entropies(as_float64(logits)[np.newaxis], [label])[0])


def entropy(logits: Numbers) -> float:
    """-sum p log p of the softmax, in nats, with 0 log 0 = 0."""
    return sum(-p * math.log(p) for p in map(float, probabilities(logits)) if p > 0)


def el2n(logits: Numbers, label: int) -> float:
    """||p - e_y||_2, where p_y - 1 is minus the sum of the other probabilities."""
    probs = [float(p) for p in probabilities(logits)]
    others = [p for k, p in enumerate(probs) if k != label]
    return math.sqrt(math.fsum(others) ** 2 + math.fsum(p**2 for p in others))


def grad_norm(model: nn.Module, image: Tensor, label: int) -> float:
    """L2 norm over all parameters of the gradient of CE(image, label), in eval mode, float64."""
    plain = copy.deepcopy(model).double().eval().requires_grad_(True)
    logits = plain(image.detach().double().unsqueeze(0))
    F.cross_entropy(logits, torch.tensor([label], device=logits.device)).backward()
    total = 0.0
    for parameter in plain.parameters():
        if parameter.grad is not None:
            total += float(np.sum(as_float64(parameter.grad) ** 2))
    return math.sqrt(total)
