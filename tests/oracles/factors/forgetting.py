"""Where a model stands among reference models that never saw the sample, by loops over these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.oracles.forgetting import Values, is_forgotten, mapped_target, moderated, z_score

Table = Sequence[Values]


@dataclass(frozen=True)
class Models:
    """What reference models say, and how sure the base model is of the test samples.

    Attributes:
        phi: of each model, log-odds of each training sample. included: likewise, whether it saw
            the sample. test_phi: of each model, of each test sample. base_test_phi: of the base.
    """

    phi: Table
    included: Sequence[Sequence[bool]]
    test_phi: Table
    base_test_phi: Values


@dataclass(frozen=True)
class Kind:
    """Of the models that saw a sample, or of those that did not."""

    mean: float
    sd: float
    models: int
    freedom: float


def mean_and_variance(values: Values) -> tuple[float, float]:
    """With n - 1; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan, math.nan
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def shift(said: Models) -> float:
    """Median over the test samples of the base model's z among the reference models."""
    found = []
    for column, phi in enumerate(said.base_test_phi):
        mean, variance = mean_and_variance([row[column] for row in said.test_phi])
        found.append(z_score(phi, mean, math.sqrt(variance)))
    return median(found)


def kind(said: Models, sample: int, saw: bool) -> Kind:
    """Moments of one sample. Variances of all samples are moderated together, then means shifted.

    NaN where fewer than two models are of the kind.
    """
    values = []
    for column in range(len(said.phi[0])):
        rows = zip(said.phi, said.included, strict=True)
        values.append([phi[column] for phi, included in rows if included[column] == saw])
    found = [mean_and_variance(each) for each in values]
    freedom = [len(each) - 1 for each in values]
    prior, _, shrunk = moderated([variance for _, variance in found], freedom)
    if freedom[sample] < 1:
        return Kind(math.nan, math.nan, freedom[sample] + 1, math.nan)
    sd = math.sqrt(shrunk[sample])
    mean = found[sample][0] + shift(said) * sd
    return Kind(mean, sd, freedom[sample] + 1, freedom[sample] + prior)


def reference_phi(said: Models, sample: int) -> float:
    """Mean of the models that never saw the sample, shifted."""
    return kind(said, sample, saw=False).mean


def reference_sd(said: Models, sample: int) -> float:
    """Their moderated standard deviation."""
    return kind(said, sample, saw=False).sd


def z_untouched(phi: float, said: Models, sample: int) -> float:
    """(phi of the base model - mean) / sd."""
    return z(phi, said, sample)


def z(phi: float, said: Models, sample: int) -> float:
    """(phi of the unlearned model - mean) / sd."""
    out = kind(said, sample, saw=False)
    return z_score(phi, out.mean, out.sd)


def z_error(phi: float, said: Models, sample: int) -> float:
    """sqrt(1 / n + z^2 / (2 d)): variances of an estimated mean and of an estimated sd."""
    out, found = kind(said, sample, saw=False), z(phi, said, sample)
    if math.isnan(found):
        return math.nan
    return math.sqrt(1 / out.models + found**2 / (2 * out.freedom))


def forgotten(phi: float, said: Models, sample: int) -> float:
    """1 where the model is within the middle 90% of those that never saw the sample, else 0."""
    out, found = kind(said, sample, saw=False), z(phi, said, sample)
    return math.nan if math.isnan(found) else float(is_forgotten(found, out.models, out.freedom))


def target(phi: float, said: Models, sample: int) -> float:
    """Where the base model would stand, had it never seen the sample; phi is the base model's."""
    inside, out = (kind(said, sample, saw) for saw in (True, False))
    return mapped_target(phi, inside.mean, inside.sd, out.mean, out.sd)
