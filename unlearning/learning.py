"""How each training sample was learned: its loss and margin in every epoch of the training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.losses import log_prob, margin


@dataclass(frozen=True)
class Learning:
    """What training saw of each sample, as its turn came in each epoch, before the step.

    Attributes:
        losses: cross-entropy of the sample in nats, (epochs, training samples) float32.
        margins: logit of the label minus the highest other, (epochs, training samples) float32.
    """

    losses: Tensor
    margins: Tensor


class Recorder:
    """Follows the training samples through a training; nothing that it does changes the weights.

    It looks at the logits that training computes anyway, all those of an epoch together, so that a
    step costs next to nothing.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []
        self._margins: list[Tensor] = []

    def see(self, positions: Tensor, logits: Tensor) -> None:
        """Remember the logits (B, classes) of the training samples at `positions` (B,)."""
        self._seen.append((positions, logits.detach()))

    def end_epoch(self, labels: Tensor) -> None:
        """Compute the losses and margins of an epoch, in which each sample was seen once.

        Args:
            labels: of all training samples, (N,).
        """
        positions, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        of_samples = -log_prob(logits, labels[positions]), margin(logits, labels[positions])
        for values, kept in zip(of_samples, (self._losses, self._margins), strict=True):
            kept.append(torch.empty_like(values).index_copy(0, positions, values).float().cpu())

    @property
    def learning(self) -> Learning:
        """What was recorded in the epochs that have ended."""
        return Learning(torch.stack(self._losses), torch.stack(self._margins))
