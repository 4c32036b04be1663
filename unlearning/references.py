"""Reference models: what models by the base model's recipe say of a sample that they never saw.

Each reference model sees a random part of the training samples. Whoever asks whether a sample is
forgotten asks whether the model stands where those stand that never saw it (LiRA, Carlini et al.
2022, arXiv 2112.03570). A base model sees all of the samples, and is surer than the reference
models of everything, also of what it never saw. How much it is surer of the test samples is
therefore added to where they stand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
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

    def raised(self, shift: float) -> Moments:
        """The same with means that are so many standard deviations higher."""
        return self._replace(mean=self.mean + shift * self.sd)

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
        included: (models, samples) bool, whether a model saw a sample, in the order of the split.
        phi: (models, samples) float64, log-odds of the sample's label, `losses.log_odds`.
        correct: (models, samples) bool, whether the label is predicted.
        test_phi: (models, test samples) float64.
        shift: standard deviations by which the models' means are raised: see `seen_from`.
    """

    included: Tensor
    phi: Tensor
    correct: Tensor
    test_phi: Tensor
    shift: float = 0.0

    def __len__(self) -> int:
        return len(self.phi)

    def only(self, models: Tensor) -> References:
        """What some of the models say, by their indices or a mask."""
        return References(
            self.included[models], self.phi[models], self.correct[models], self.test_phi[models]
        )

    def seen_from(self, test_phi: Tensor) -> References:
        """The same, shifted to how sure another model is of samples that none of them saw.

        The shift is the median over the test samples of z, without moderation.

        Args:
            test_phi: (test samples,), of that model.
        """
        sd, mean = torch.std_mean(self.test_phi, dim=0)
        return replace(self, shift=((test_phi - mean) / sd).nanquantile(0.5).item())

    @cached_property
    def digest(self) -> str:
        """What the models say, as a fingerprint."""
        parts = (self.included, self.phi, self.test_phi)
        said = b"".join(part.contiguous().numpy().tobytes() for part in parts)
        return hashlib.sha256(said).hexdigest()[:16]

    @cached_property
    def outside(self) -> Moments:
        """Of the models that did not see a sample."""
        return moments(self.phi, ~self.included).raised(self.shift)

    @cached_property
    def inside(self) -> Moments:
        """Of the models that saw it."""
        return moments(self.phi, self.included).raised(self.shift)

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
