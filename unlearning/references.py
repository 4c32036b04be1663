"""Reference models: what models by the base model's recipe say of a sample that they never saw.

Each reference model sees a random part of the training samples. Whoever asks whether a sample is
forgotten asks whether the model stands where those stand that never saw it (LiRA, Carlini et al.
2022, arXiv 2112.03570).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

from unlearning.moderation import moderated

TAIL = 0.95  # a sample counts as forgotten within the middle 90% of models that never saw it


class Moments(NamedTuple):
    """Of phi over the models of one kind, (samples,) float64 each; NaN where there are too few.

    Attributes:
        mean, sd: sd is moderated: drawn to that of all samples, the more the fewer models there
            are. models: how many there are. freedom: degrees of freedom of sd.
    """

    mean: Tensor
    sd: Tensor
    models: Tensor
    freedom: Tensor

    def z(self, phi: Tensor, rows: Tensor) -> Tensor:
        """(phi - mean) / sd of the samples in these rows, (K,)."""
        return (phi - self.mean[rows]) / self.sd[rows]

    def z_error(self, z: Tensor, rows: Tensor) -> Tensor:
        """Standard error that few models leave in z, (K,): of the mean and of sd."""
        return (1 / self.models[rows] + z.square() / (2 * self.freedom[rows])).sqrt()

    def limit(self, rows: Tensor) -> Tensor:
        """|z| within which 90% of further models of this kind are expected, (K,).

        1.645 for many models; of few it is the prediction interval of Student's t.
        """
        freedom = self.freedom[rows].numpy()
        finite = np.where(np.isinf(freedom), 1.0, freedom)
        quantile = np.where(np.isinf(freedom), ndtri(TAIL), stdtrit(finite, TAIL))
        return torch.from_numpy(quantile) * (1 + 1 / self.models[rows]).sqrt()


@dataclass(frozen=True)
class References:
    """What reference models say of the training samples.

    Attributes:
        sample_ids: of all training samples, in order.
        included: (models, samples) bool, whether a model saw a sample.
        phi: (models, samples) float64, log-odds of the sample's label, `losses.log_odds`.
        correct: (models, samples) bool, whether the label is predicted.
        test_accuracy: (models,) float64.
    """

    sample_ids: tuple[int, ...]
    included: Tensor
    phi: Tensor
    correct: Tensor
    test_accuracy: Tensor

    def __len__(self) -> int:
        return len(self.phi)

    def only(self, models: Tensor) -> References:
        """What some of the models say, by their indices or a mask."""
        parts = (self.included, self.phi, self.correct, self.test_accuracy)
        return References(self.sample_ids, *(part[models] for part in parts))

    @cached_property
    def rows(self) -> dict[int, int]:
        """The samples' columns, by sample id."""
        return {sample: row for row, sample in enumerate(self.sample_ids)}

    def of(self, sample: int) -> Tensor:
        """What all models say of one sample, (2, models) float64: phi, and whether they saw it."""
        row = self.rows[sample]
        return torch.stack([self.phi[:, row], self.included[:, row].double()])

    @cached_property
    def outside(self) -> Moments:
        """Of the models that did not see a sample."""
        return moments(self.phi, ~self.included)

    @cached_property
    def inside(self) -> Moments:
        """Of the models that saw it."""
        return moments(self.phi, self.included)

    def mapped(self, phi: Tensor, rows: Tensor) -> Tensor:
        """Where models would stand had they never seen their sample, (K,).

        A model keeps its place among its kind: mu_out + sd_out (phi - mu_in) / sd_in.

        Args:
            phi: of the K models that saw the samples in these rows, each for its own sample.
        """
        out = self.outside
        return out.mean[rows] + out.sd[rows] * self.inside.z(phi, rows)


def moments(phi: Tensor, chosen: Tensor) -> Moments:
    """Moments of phi (models, samples) over the models that are chosen for each sample.

    Args:
        chosen: (models, samples) bool.
    """
    count = chosen.sum(dim=0).double()
    mean = phi.where(chosen, 0.0).sum(dim=0) / count
    squares = (phi - mean).where(chosen, 0.0).square().sum(dim=0)
    freedom = count - 1
    prior, _, variance = moderated((squares / freedom).numpy(), freedom.numpy())
    known = count > 1
    sd = torch.from_numpy(variance).sqrt().where(known, torch.nan)
    return Moments(mean.where(known, torch.nan), sd, count, freedom + prior)
