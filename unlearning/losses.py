"""Probabilities and losses of logits, in float64 and in forms that do not cancel.

The gradient of a cross-entropy with respect to the logits is softmax minus one-hot. For a sample
of which the network is sure both are nearly one, and in float32 most of their difference is
rounding: from a margin of about 10 on, rounding decides in which direction a step goes. So whatever
is differentiated or logged is computed from float64 logits; the network itself keeps its precision.
On a device without float64, the formulas alone avoid the loss of digits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NO_FLOAT64 = ("mps",)  # types of devices without it


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has none."""
    return torch.float32 if device.type in NO_FLOAT64 else torch.float64


def wide(tensor: Tensor) -> Tensor:
    """The tensor in the widest type of its device."""
    return tensor.to(widest(tensor.device))


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


def log_prob_of_models(logits: Tensor, labels: Tensor) -> Tensor:
    """The same for K models, one after the other: (K, N, classes) and (N,) to (K, N).

    So only one model's logits are in memory as float64 at a time.
    """
    return torch.stack([log_prob(of_model, labels) for of_model in logits])


def prob_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability and cross-entropy of each label: (N, classes) and (N,) to (N,) twice, float64."""
    log_p = log_prob(logits, labels)
    return log_p.exp(), -log_p


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the highest other: (N, classes) and (N,) to (N,), float64."""
    logits = wide(logits)
    own = torch.arange(logits.shape[-1], device=logits.device) == labels[:, None]
    of_label = logits.gather(-1, labels[:, None]).squeeze(-1)
    return of_label - logits.masked_fill(own, -torch.inf).max(dim=-1).values


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """phi = log p / (1 - p) of each label: (..., N, classes) and (N,) to (..., N) float64."""
    logits = wide(logits)
    labels = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    of_label = logits.gather(-1, labels).squeeze(-1)
    return of_label - logits.scatter(-1, labels, -torch.inf).logsumexp(dim=-1)


def prob_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Probabilities minus the one-hot labels: (N, classes) and (N,) to (N, classes), float64.

    That is the gradient of each cross-entropy in its logits. p_y - 1 is taken from log p_y, which
    keeps its digits where p_y is nearly one.
    """
    errors = torch.softmax(wide(logits), dim=-1)
    of_label = torch.expm1(log_prob(logits, labels))
    return errors.scatter(-1, labels[:, None], of_label[:, None])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch: (N, classes) and (N,) to (), float64."""
    return -log_prob(logits, labels).mean()


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, the mean of a batch, ().

    Args:
        teacher, student: logits, (N, classes). temperature: T, by which logits are divided.
    """
    # Written out, because vmap has no rule for torch's kl_div.
    log_t = torch.log_softmax(wide(teacher) / temperature, dim=-1)
    log_s = torch.log_softmax(wide(student) / temperature, dim=-1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(dim=-1).mean()
