"""How strong the strongest of many factors is by chance alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics import Floats, whole_ranks

Places = NDArray[np.int64]
Truths = NDArray[np.bool_]

MOST, FEWEST, SEED = 4999, 999, 0
WORK = 2 * 10**7  # places to draw, from which on there are fewer permutations
BLOCK = 2**20  # places that are in memory at once
ROUNDING = 1e-10  # by which means of |rho| may differ that are the same


def choice_p_values(attempts: Sequence[Sequence[float]] | Floats) -> list[float | None]:
    """For each factor the probability that, by chance, some factor is as strong as this one.

    A factor's strength is the mean over the algorithms of Spearman's |rho| with GT, as a multiple
    of the spread that chance gives it: |rho| sqrt((n - 1) / (m - 1)), where the factor is known for
    n samples, and m is the largest n of the algorithm. The p-value is corrected for the choice
    among the factors by the single step of max T (Westfall & Young 1993): GT is permuted over the
    samples, for all algorithms and factors at once, and a factor's strength is compared with the
    largest strength under each permutation.

    Args:
        attempts: (attempts, 3 + factors): number of the algorithm, sample, GT, and the value of
            each factor, NaN where there is none.

    Returns:
        A p-value for each factor; None where no rho is defined.
    """
    table = np.asarray(attempts, dtype=np.float64).T
    a, s = (np.unique(column, return_inverse=True)[1] for column in table[:2])
    gt = np.full((a.max() + 1, s.max() + 1), np.nan)
    values = np.full((len(table) - 3, *gt.shape), np.nan)
    gt[a, s], values[:, a, s] = table[2], table[3:]
    strengths, maxima = held_against(gt, values)
    above = (maxima >= strengths[:, None] - ROUNDING).sum(1)
    p_values = (1 + above) / (1 + len(maxima))
    return [None if math.isnan(t) else float(p) for t, p in zip(strengths, p_values, strict=True)]


def held_against(
    gt: Floats, values: Floats, drawn: Iterable[Places] | None = None
) -> tuple[Floats, Floats]:
    """The strength of each factor, and the largest strength of all under each permutation of GT.

    Args:
        gt: (algorithms, samples), NaN where there is none.
        values: (factors, algorithms, samples), NaN where there is none.
        drawn: permutations of the samples, in parts; if None they are drawn here.

    Returns:
        Strengths, NaN where no rho is defined, and the maxima.
    """
    n, masks, groups = gt.shape[1], dict[bytes, Truths](), []
    defined = np.zeros(len(values))
    for own, of_factors in zip(gt, values.swapaxes(0, 1), strict=True):
        is_there = ~np.isnan(of_factors) & ~np.isnan(own)
        most = is_there.sum(1).max()
        for there in np.unique(is_there, axis=0):  # factors that the same samples have
            of_gt = _unit_ranks(own[there])
            columns = {
                int(k): _unit_ranks(of_factors[k, there])
                for k in np.flatnonzero((is_there == there).all(1))
            }
            columns = {k: column for k, column in columns.items() if column.any()}
            if columns and of_gt.any():
                key, factors = there.tobytes(), list(columns)
                length = math.sqrt((there.sum() - 1) / (most - 1))  # shorter the fewer there are
                masks[key], defined[factors] = there, defined[factors] + 1
                groups.append((key, of_gt, factors, length * np.stack(list(columns.values()), 1)))

    def strengths(places: Places) -> Floats:
        total = np.zeros((len(places), len(values)))
        moved = {key: induced(places, there) for key, there in masks.items()}
        for key, of_gt, factors, columns in groups:
            total[:, factors] += np.abs(of_gt.take(moved[key]) @ columns)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / defined)

    observed = strengths(np.arange(n)[None])[0]
    if not defined.any():
        return observed, np.empty(0)
    if drawn is None:
        drawn = permutations(n, min(MOST, max(FEWEST, WORK // (n * len(masks)))))
    return observed, np.concatenate([np.nanmax(strengths(places), axis=1) for places in drawn])


def permutations(n: int, count: int, seed: int = SEED) -> Iterator[Places]:
    """Seeded permutations of n things, (count, n), in parts."""
    random, block = np.random.default_rng(seed), max(1, BLOCK // n)
    for start in range(0, count, block):
        rows = np.tile(np.arange(n), (min(block, count - start), 1))
        yield random.permuted(rows, axis=1)


def induced(drawn: Places, there: Truths) -> Places:
    """Permutations of some samples that follow from permutations of all samples.

    Where a sample would get the value of one that is not there, it gets what that one would get,
    and so on. So all permutations stay equally likely, and two sets that differ by few samples are
    permuted nearly alike.

    Args:
        drawn: (permutations, samples). there: a mask over the samples.
    """
    if there.all():
        return drawn
    found = drawn.compress(there, axis=1)
    flat = found.ravel()  # the same numbers, as compress leaves them in one piece
    missing = np.flatnonzero(~there.take(flat))
    while len(missing):
        flat[missing] = drawn[missing // found.shape[1], flat[missing]]
        missing = missing[~there.take(flat[missing])]
    return np.asarray((np.cumsum(there) - 1).take(found))


def _unit_ranks(values: Floats) -> Floats:
    """Average ranks less their mean, of length one; zeros where all are equal."""
    ranks, _ = whole_ranks(values)
    return np.asarray(ranks / max(1.0, float(np.linalg.norm(ranks))))
