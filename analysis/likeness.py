"""Which factors say the same, and which samples are alike by the factors of their features."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage

from analysis.answers import Answers
from analysis.statistics import Floats, whole_ranks
from analysis.words import Rows

FEATURES = ("density", "representation")  # families that look at the penultimate features alone
SAME = 0.8  # |rho| from which on two factors say the same
FEWEST = 3  # samples, and factors of a map


def alike(answers: Answers) -> dict[str, Any]:
    """The factors known before unlearning, in groups whose mean |rho| is at least SAME (average
    linkage).

    Returns:
        titles: of the factors, those of a group side by side.
        strengths: |rho| of each two, (factors, factors); None where one is constant or fewer than
            FEWEST samples have both.
        sizes: how many factors the groups have, the largest first.
    """
    factors, values = _of_samples(answers)
    strengths = [[_strength(a, b) for b in values] for a in values]
    order, groups = range(len(values)), [*range(len(values))]
    if len(values) > 1:
        apart = [1 - (strengths[i][j] or 0) for i in order for j in order if i < j]
        tree = linkage(apart, "average", optimal_ordering=True)
        order, groups = leaves_list(tree), fcluster(tree, 1 - SAME, "distance").tolist()
    return {
        "titles": [factors[i]["title"] for i in order],
        "strengths": [[strengths[i][j] for j in order] for i in order],
        "sizes": sorted(Counter(groups).values(), reverse=True),
    }


def _strength(a: Floats, b: Floats) -> float | None:
    both = np.isfinite(a) & np.isfinite(b)
    x, y = (whole_ranks(side[both])[0].astype(float) for side in (a, b))
    size = math.sqrt(float(x @ x) * float(y @ y))
    return round(abs(float(x @ y)) / size, 3) if both.sum() >= FEWEST and size else None


def sample_map(answers: Answers) -> dict[str, Any] | None:
    """The first two principal components of the ranks of the factors of FEATURES.

    Of the samples that have all of them. None where there are too few factors or samples.

    Returns:
        sample_id, x, y: of each sample, its place.
        titles: the factors that the place follows from.
        shares: of the variance of their ranks, along x and y.
    """
    factors, values = _of_samples(answers)
    own = [k for k, row in enumerate(factors) if row["family"] in FEATURES]
    of_all = np.isfinite([values[k] for k in own]).all(axis=0)
    ranks = {k: whole_ranks(values[k][of_all])[0].astype(float) for k in own}
    told = {factors[k]["title"]: rank / rank.std() for k, rank in ranks.items() if rank.any()}
    if min(len(told), of_all.sum()) < FEWEST:
        return None
    left, sizes, right = np.linalg.svd(np.stack([*told.values()], 1), full_matrices=False)
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(1)])  # of the largest part
    x, y = (left[:, :2] * sizes[:2] * signs).T.round(3).tolist()
    samples = np.array([*answers.first_attempts])[of_all].tolist()
    shares = (sizes**2 / (sizes**2).sum())[:2].tolist()
    return {"sample_id": samples, "x": x, "y": y, "titles": [*told], "shares": shares}


def _of_samples(answers: Answers) -> tuple[Rows, list[Floats]]:
    """The factors known before unlearning, and their values, in the order of the samples (n,)."""
    places = [*answers.first_attempts.values()]
    found = [row for row in answers.rows("points") if row["phase"] == "pre"]
    return found, [np.array(row["values"], float)[places] for row in found]
