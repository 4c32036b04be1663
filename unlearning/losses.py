"""Probabilities and losses of logits, in float64 and in forms that do not cancel.

The gradient of a cross-entropy with respect to the logits is softmax minus one-hot. For a sample
that the network is sure of both are nearly one, and what is left of the difference in float32 is
rounding: from a margin of about 10 on it decides in which direction a step goes. So whatever is
differentiated or logged is computed from float64 logits; the network itself keeps its precision.
Where a device has no float64, the forms alone keep the relative precision of what they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NO_FLOAT64 = ("mps",)  # types of devices without it


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, or as it is on a device that has none."""
    return tensor if tensor.device.type in NO_FLOAT64 else tensor.double()


def log_prob(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the labels: (..., N, classes) and (N,) to (..., N), float64.

    log p_y = -log(1 + sum over k != y of exp(z_k - z_y)): neither the value nor its gradient is a
    difference of nearly equal numbers, however sure the network is.
    """
    logits = wide(logits)
    labels = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    own = torch.arange(logits.shape[-1], device=logits.device) == labels
    of_label = logits.gather(-1, labels).squeeze(-1)
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=-1)
    return F.logsigmoid(of_label - others)


def log_prob_each(logits: Tensor, labels: Tensor) -> Tensor:
    """The same for K models one after the other: (K, N, classes) and (N,) to (K, N).

    Of float64 copies there is one model's at a time.
    """
    return torch.stack([log_prob(of_one, labels) for of_one in logits])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch: (N, classes) and (N,) to (), float64."""
    return -log_prob(logits, labels).mean()


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) at temperature T: logits (N, classes) twice to the mean, ()."""
    # Spelled out: kl_div has no batching rule.
    log_t = torch.log_softmax(wide(teacher) / temperature, dim=-1)
    log_s = torch.log_softmax(wide(student) / temperature, dim=-1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(dim=-1).mean()
