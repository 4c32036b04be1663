"""Reference models: what models by the base model's recipe say of a sample that they never saw.

Each reference model sees a random part of the training samples. Whoever asks whether a sample is
forgotten asks whether the model stands where those stand that never saw it (LiRA, Carlini et al.
2022, arXiv 2112.03570). A base model sees all of the samples, and is surer than the reference
models of everything, also of what it never saw. How much it is surer of the test samples is
therefore added to where they stand.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit
from torch import Tensor

Floats = NDArray[np.float64]

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


def moderated(variances: Floats, dof: Floats | float) -> tuple[float, float, Floats]:
    """Empirical Bayes variances (Smyth 2004, limma's fitFDist and squeezeVar).

    The true variances are taken for draws from s0^2 d0 / chi^2(d0). d0 and s0^2 follow from mean
    and variance of log s^2: with e = log s^2 - digamma(d / 2) + log(d / 2),
    trigamma(d0 / 2) = var e - mean trigamma(d / 2), with n - 1, and
    log s0^2 = mean e + digamma(d0 / 2) - log(d0 / 2). If the right side of the first is not
    positive, the variances differ by chance only: d0 = inf and log s0^2 = mean e.

    Args:
        variances: s^2, (samples,). dof: their degrees of freedom d, for all or for each.

    Returns:
        d0, s0^2 and the variances, (d0 s0^2 + d s^2) / (d0 + d). What has less than one degree of
        freedom is left out of the fit and gets s0^2; a variance of 0 is left out of the fit. Of a
        single one d0 is 0, so that it stays as it is; without any, all are NaN.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    dof = np.broadcast_to(np.asarray(dof, dtype=np.float64), variances.shape)
    usable = dof >= 1
    fitted = usable & (variances > 0)
    half, logs = dof[fitted] / 2, np.log(variances[fitted])
    if not len(logs):
        return math.nan, math.nan, np.full(len(variances), np.nan)
    e = logs - digamma(half) + np.log(half)
    if len(e) == 1:
        prior_dof, prior = 0.0, float(variances[fitted][0])
    elif (spread := float(e.var(ddof=1) - polygamma(1, half).mean())) <= 0:
        prior_dof, prior = math.inf, math.exp(e.mean())
    else:
        # 1 / x < trigamma(x) < 1 / x + 1 / x^2, each end moved by a half against rounding.
        ends = math.log(0.5 / spread), math.log((1 + math.sqrt(1 + 4 * spread)) / spread)
        x = math.exp(brentq(lambda t: math.log(polygamma(1, math.exp(t)) / spread), *ends))
        prior_dof, prior = 2 * x, math.exp(e.mean() + digamma(x) - math.log(x))
    shrunk = np.full(len(variances), prior)
    if math.isfinite(prior_dof):
        d = dof[usable]
        shrunk[usable] = (prior_dof * prior + d * variances[usable]) / (prior_dof + d)
    return prior_dof, prior, shrunk
