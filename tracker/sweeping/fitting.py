"""A predictor is fitted on the attempts that are in a store, and validated on what it left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from analysis.statistics import bootstrap_interval
from tracker.sweeping.attempted import Attempt
from tracker.sweeping.attempted import of as outcomes_of
from tracker.sweeping.calibration import SCALES, Floats, level_of
from tracker.sweeping.features import Known
from tracker.sweeping.predictor import FLIPS, OfAlgorithm, Target
from tracker.sweeping.ranks import normal_scores
from tracker.sweeping.regression import (
    Constant,
    Ints,
    Model,
    coverage,
    fit_flips,
    fit_ridge,
    out_of_fold,
)
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError

FEWEST = 30  # samples from which a predictor is fitted
RESAMPLES = 1000  # of the interval of a rho

Scores = dict[str, float]


@dataclass(frozen=True)
class Examples:
    """What is known of samples, and what attempts on them came to: a row a base model and sample.

    Attributes:
        features: (n, F), NaN where one is undefined. names: F of them.
        groups: (n,), sample ids: those of two base models are one group.
        means: what the attempts on a sample came to, by target, on the scale on which it is
            fitted: means over repeats, (n,) each. ones: the same of one of them.
        rows, flipped: (m,), of each attempt its row, and whether it flipped.
        forecasts: what the index says, by target, on the same scales. margins: (n,).
    """

    features: Floats
    names: tuple[str, ...]
    groups: Ints
    means: Mapping[str, Floats]
    ones: Mapping[str, Floats]
    rows: Ints
    flipped: Floats
    forecasts: Mapping[str, Floats]
    margins: Floats

    @property
    def samples(self) -> int:
        """How many different samples there are."""
        return len(np.unique(self.groups))

    def as_bytes(self) -> bytes:
        """All of it, so that the same examples are known again."""
        told = [*self.means.values(), *self.ones.values(), *self.forecasts.values(), self.margins]
        arrays = (self.features, self.groups, self.rows, self.flipped, *told)
        return b"".join([str(self.names).encode(), *(array.tobytes() for array in arrays)])


@dataclass(frozen=True)
class Part:
    """What is known of samples of one base model, and attempts on some of them."""

    known: Known
    attempts: Sequence[Attempt]

    @property
    def keys(self) -> list[str]:
        """Of the attempts."""
        return [attempt.key for attempt in self.attempts]

    def by_row(self) -> dict[int, list[Attempt]]:
        """The attempts by the row of their sample, of samples that have any."""
        row_of = {sample: row for row, sample in enumerate(self.known.sample_ids)}
        found: dict[int, list[Attempt]] = {}
        for attempt in self.attempts:
            found.setdefault(row_of[attempt.sample_id], []).append(attempt)
        return found


def examples(parts: Sequence[Part], algorithm: str) -> Examples:
    """The examples of an algorithm, of the samples of one or more base models.

    Features that are undefined or equal in all rows are left out.
    """
    by_row = [part.by_row() for part in parts]
    rows = [[*found] for found in by_row]
    tries = [tries for found in by_row for tries in found.values()]

    def joined(of_part: Callable[[Known], Floats]) -> Floats:
        known = [of_part(part.known)[some] for part, some in zip(parts, rows, strict=True)]
        return np.concatenate(known)

    def outcomes(name: str) -> list[Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return [SCALES[name].to(outcomes_of(some, name)) for some in tries]

    def forecast(name: str) -> Floats:
        said = joined(lambda known: known.forecasts[algorithm][name])
        return said if name == FLIPS else SCALES[name].to(said)

    names = tuple(parts[0].known.scores[algorithm])
    features = joined(lambda known: known.table(algorithm, names))
    varied = [k for k, column in enumerate(features.T) if len({*column[~np.isnan(column)]}) > 1]
    return Examples(
        features=features[:, varied],
        names=tuple(names[k] for k in varied),
        groups=np.array([some[0].sample_id for some in tries], dtype=np.int64),
        means={name: np.array([of.mean() for of in outcomes(name)]) for name in SCALES},
        ones={name: np.array([of[0] for of in outcomes(name)]) for name in SCALES},
        rows=np.repeat(np.arange(len(tries)), [len(some) for some in tries]),
        flipped=np.array([each.outcome[FLIPS] for some in tries for each in some]),
        forecasts={name: forecast(name) for name in (*SCALES, FLIPS)},
        margins=joined(lambda known: known.margins),
    )


def fit(algorithm: Algorithm, of: Examples, fitted_on: Mapping[str, Sequence[str]]) -> OfAlgorithm:
    """The models of an algorithm's targets, each with its scores.

    Args:
        fitted_on: the keys of the attempts, by the weights' SHA-256 of their base model.
    """
    targets = {name: _fitted(of, name) for name in SCALES} | {FLIPS: _fitted_flips(of)}
    return OfAlgorithm(
        settings=algorithm.settings(),
        features=of.names,
        targets=targets,
        fitted_on={base: tuple(keys) for base, keys in fitted_on.items()},
        samples=of.samples,
    )


def refuse_few(algorithm: str, samples: Collection[int]) -> None:
    """Raise UserError of an algorithm with attempts on fewer than FEWEST samples."""
    if len(samples) < FEWEST:
        raise UserError(
            f"a predictor of {algorithm} is fitted on attempts on {FEWEST} samples or more with "
            f"these settings, and the store has attempts on {len(samples)}: sweep more first"
        )


def _fitted(of: Examples, name: str) -> Target:
    """The model of one target, with the width of its interval.

    Where the index has a forecast, the model is of the difference to it. Elsewhere it is of the
    normal score of the rank: damage and GT are skewed, and have two regimes where not all flip.
    """
    forecasts = of.forecasts[name]
    corrects = bool(np.isfinite(forecasts).any())
    known = np.isfinite(of.means[name]) & np.isfinite(of.ones[name])
    known &= np.isfinite(forecasts) | (not corrects)
    features, groups = of.features[known], of.groups[known]
    if len(np.unique(groups)) < FEWEST:
        return Target(None, None, {})
    mean, one, forecasts = of.means[name][known], of.ones[name][known], forecasts[known]
    reference = None if corrects else np.sort(mean)

    def scaled(values: Floats) -> Floats:
        return values - forecasts if reference is None else normal_scores(values, reference)

    target, single = scaled(mean), scaled(one)
    without = out_of_fold(fit_ridge, features, target, groups)
    scores = {
        "n": float(len(mean)),
        **_rho("", without + forecasts if corrects else without, mean),
        **_rho("index_", forecasts, mean),
        **_rho("margin_", of.margins[known], mean),
        "coverage": coverage(without, single, groups),
    }
    half = level_of(np.abs(single - without))
    return Target(fit_ridge(features, target, groups), half, scores, reference)


def _fitted_flips(of: Examples) -> Target:
    """The model of flips, with the mean squares of what it and others say of them."""
    features, groups = of.features[of.rows], of.groups[of.rows]
    without = out_of_fold(fit_flips, features, of.flipped, groups)
    rates = out_of_fold(_rate, features, of.flipped, groups)
    scores = {
        "n": float(len(of.groups)),
        "brier": float(np.mean((without - of.flipped) ** 2)),
        "rate_brier": float(np.mean((rates - of.flipped) ** 2)),
    }
    index = of.forecasts[FLIPS][of.rows]
    if np.isfinite(index).all():
        scores["index_brier"] = float(np.mean((index - of.flipped) ** 2))
    return Target(fit_flips(features, of.flipped, groups), None, scores)


def _rate(features: Floats, flipped: Floats, groups: Ints) -> Model:
    return Constant(float(flipped.mean()))


def _rho(prefix: str, predicted: Floats, measured: Floats) -> Scores:
    """Spearman's rho with the bounds of its 95% interval; nothing where there is no order.

    Of the margin, which lies beside a target either way round, the absolute value.
    """
    both = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[both], measured[both]
    if min(len(np.unique(x)), len(np.unique(y))) < 2:
        return {}
    rho = float(spearmanr(x, y).statistic)
    if prefix == "margin_":
        return {"margin_rho": abs(rho)}
    ends = bootstrap_interval(x.tolist(), y.tolist(), RESAMPLES, 0) or ()
    bounds = {
        f"{prefix}rho_{end}": value for end, value in zip(("low", "high"), ends, strict=False)
    }
    return {f"{prefix}rho": rho, **bounds}
