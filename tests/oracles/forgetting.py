"""Is a sample forgotten: attacks and moments of reference models, by loops from the definitions.

Throughout, u holds phi of models that saw the sample and were made to forget it, o phi of models
that never saw it; phi are log-odds in nats, one number a model. sd is with n - 1. NaN and empty
sequences are nobody's case here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import median

from scipy.stats import norm, t

Values = Sequence[float]
CAP = 50.0


def log_odds(logits: Values, label: int) -> float:
    """phi = logit_y - logsumexp of the other logits (Carlini et al. 2022, 2112.03570)."""
    others = [float(v) for k, v in enumerate(logits) if k != label]
    top = max(others)
    return float(logits[label]) - top - math.log(math.fsum(math.exp(v - top) for v in others))


def auc(positive: Values, negative: Values) -> float:
    """P(positive > negative) + P(positive = negative) / 2."""
    wins = 0.0
    for a in positive:
        for b in negative:
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
    return wins / (len(positive) * len(negative))


def tpr_at(positive: Values, negative: Values, fpr: float) -> float:
    """Largest share of positives >= t, of all t where the share of negatives >= t is <= fpr.

    t is every observed score and infinity; nothing is interpolated.
    """
    best = 0.0
    for threshold in [*positive, *negative, math.inf]:
        if _share(negative, threshold) <= fpr:
            best = max(best, _share(positive, threshold))
    return best


def _share(values: Values, low: float, high: float = math.inf) -> float:
    return sum(1 for v in values if low <= v <= high) / len(values)


def _moments(values: Values) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def offline_lira(phi: float, out: Values) -> float:
    """1 - Phi((phi - mean) / sd) by the models that never saw it (Carlini et al. 2022)."""
    return math.erfc(z_score(phi, *_moments(out)) / math.sqrt(2)) / 2


def online_lira(phi: float, inside: Values, out: Values) -> float:
    """log N(phi; those that saw it) - log N(phi; those that never did) (Carlini et al. 2022)."""
    return float(norm.logpdf(phi, *_moments(inside)) - norm.logpdf(phi, *_moments(out)))


def leave_one_out_ratio(u: Values, o: Values) -> tuple[list[float], list[float]]:
    """Log ratios of two normals, of u over o, for each model by the moments of the others.

    U-LiRA (Hayes et al. 2024, 2403.01218) where the models that are told apart also give the
    moments: a model is left out of its own side's. sd is at least 1e-3. At least three a side.
    """

    def density(phi: float, values: Values) -> float:
        mean, sd = _moments(values)
        sd = max(sd, 1e-3)
        return -math.log(sd) - ((phi - mean) / sd) ** 2 / 2

    of_u, of_o = [], []
    for j, phi in enumerate(u):
        others = [v for k, v in enumerate(u) if k != j]
        of_u.append(density(phi, others) - density(phi, o))
    for j, phi in enumerate(o):
        others = [v for k, v in enumerate(o) if k != j]
        of_o.append(density(phi, u) - density(phi, others))
    return of_u, of_o


def leave_pair_out_auc(u: Values, o: Values) -> float:
    """Share of pairs in which u has the larger ratio, both left out of both fits (ties a half)."""

    def density(phi: float, values: Values) -> float:
        mean, sd = _moments(values)
        return -math.log(max(sd, 1e-3)) - ((phi - mean) / max(sd, 1e-3)) ** 2 / 2

    won = 0.0
    for j, a in enumerate(u):
        for k, b in enumerate(o):
            rest_u = [v for i, v in enumerate(u) if i != j]
            rest_o = [v for i, v in enumerate(o) if i != k]
            ratio_a = density(a, rest_u) - density(a, rest_o)
            ratio_b = density(b, rest_u) - density(b, rest_o)
            won += 1.0 if ratio_a > ratio_b else 0.5 if ratio_a == ratio_b else 0.0
    return won / (len(u) * len(o))


def challenge_epsilon(u: Values, o: Values, delta: float = 1e-5, orientations: int = 2) -> float:
    """Epsilon of one sample in the NeurIPS 2023 machine unlearning challenge, 0 to 50.

    google-deepmind/unlearning_evaluation, metric.py @ffae0ff. As published:

    - "Peaky": where the smaller of the two ranges (max - min) is less than .01 of the larger one,
      epsilon is 50. Two ranges of 0 are not peaky.
    - A single threshold says "positive" at phi >= t.
    - A double threshold says "peaked" at l <= phi <= r, where peaked is the side with the smaller
      range; at equal ranges the side with the smaller median, and at equal medians o. Nothing
      asks the opposite. With w the peaked side's range and M its maximum, r is within 2 of M, and
      l within 2 of r - w.
    - FPR, FNR both 0: 50. Exactly one of them 0: left out. Otherwise the larger one of
      log(1 - delta - FPR) - log FNR and log(1 - delta - FNR) - log FPR, without those of what is
      not above 0 (so a rate of 1 gives nothing above 0). Epsilon is the largest, and at least 0.

    Not as published:

    - Every t, l and r is tried, by the sets of models that they cut off; published is a grid of
      100 thresholds a unit of phi, whose epsilon is never larger.
    - Both sides are once the positive one of single thresholds; published, and with one
      orientation, only the one with the larger median (u if they are equal).
    - Where no threshold is left, epsilon is 0 (published, an assertion fails).
    """
    ranges = [max(side) - min(side) for side in (u, o)]
    if max(ranges) > 0 and min(ranges) / max(ranges) < 0.01:
        return CAP
    values = sorted({*u, *o})
    found = [0.0]
    pairs = [(u, o), (o, u)] if median(u) >= median(o) else [(o, u), (u, o)]
    for threshold in values:
        for positive, negative in pairs[:orientations]:
            missed = sum(1 for v in positive if v < threshold) / len(positive)
            found.append(_epsilon(_share(negative, threshold), missed, delta))

    peaked, wide = (u, o) if ranges[0] < ranges[1] else (o, u)
    if ranges[0] == ranges[1] and median(u) < median(o):
        peaked, wide = u, o
    # An interval is known by the first and the last value in it: before < l <= first, and
    # last <= r < after. Is there such a pair with M - 2 <= r <= M + 2, -w - 2 <= l - r <= -w + 2?
    top, width = max(peaked), min(ranges)
    edges = [-math.inf, *values, math.inf]
    for i, j in itertools.combinations_with_replacement(range(1, len(edges) - 1), 2):
        before, first, last, after = edges[i - 1], edges[i], edges[j], edges[j + 1]
        lowest, highest = max(last, top - 2), min(after, top + 2)  # of r
        if lowest > top + 2 or lowest >= after:
            continue
        if first - lowest < -width - 2 or before - highest >= -width + 2:
            continue
        missed = sum(1 for v in peaked if not first <= v <= last) / len(peaked)
        found.append(_epsilon(_share(wide, first, last), missed, delta))
    return max(found)


def _epsilon(fpr: float, fnr: float, delta: float) -> float:
    """Of one threshold; 0 for one that is left out, which alters no maximum with 0 in it."""
    if fpr == 0 or fnr == 0:
        return CAP if fpr == fnr else 0.0
    pairs = [(fpr, fnr), (fnr, fpr)]
    return max((math.log((1 - delta - a) / b) for a, b in pairs if 1 - delta - a > 0), default=0)


def klom(u: Values, o: Values, bins: int = 20, clip: float = 100) -> float:
    """KL(u || o) of the margins' histograms, in nats; NaN where no u is in a bin.

    KL divergence of margins (RoyRin/data-unlearning-bench, unlearning_bench/eval.py @eb261f9;
    the margin is phi). Both are clipped to [-clip, clip]. Bins of equal width go from the smallest
    to the largest value of both, a width of 1 for all of them together if these are the same. A
    bin is closed below and open above, the last one too, so the very largest value (of either
    side, with all its equals) is in none and counted nowhere. Shares are of those that are in bins.
    Where u has a share, o's is at least eps = 1e-5; o's are then divided by their sum.
    """
    u, o = ([min(max(v, -clip), clip) for v in side] for side in (u, o))
    low, high = min(*u, *o), max(*u, *o)
    high = high if high > low else low + 1
    edges = [low + k * ((high - low) / bins) for k in range(bins)] + [high]
    of_u = [sum(1 for v in u if a <= v < b) for a, b in itertools.pairwise(edges)]
    of_o = [sum(1 for v in o if a <= v < b) for a, b in itertools.pairwise(edges)]
    if sum(of_u) == 0:
        return math.nan
    p = [count / sum(of_u) for count in of_u]
    q = [count / max(sum(of_o), 1) for count in of_o]
    q = [max(b, 1e-5) if a > 0 else b for a, b in zip(p, q, strict=True)]
    total = math.fsum(q)
    return math.fsum(a * math.log(a * total / b) for a, b in zip(p, q, strict=True) if a > 0)


def energy_distance(u: Values, o: Values) -> float:
    """2 E|U - O| - E|U - U'| - E|O - O'|, each over all pairs, a value with itself too.

    Szekely and Rizzo (2013), the V-statistic; in units of phi, >= 0. In exact fractions.
    """
    return float(_energy([Fraction(v) for v in u], [Fraction(v) for v in o]))


def _energy(u: Sequence[Fraction], o: Sequence[Fraction]) -> Fraction:
    total = Fraction(0)
    for a, b, weight in ((u, o, 2), (u, u, -1), (o, o, -1)):
        total += weight * sum(abs(x - y) for x in a for y in b) / Fraction(len(a) * len(b))
    return total


def permutation_p(u: Values, o: Values) -> float:
    """Share of all splits into len(u) and len(o) whose energy distance is as large as observed.

    The observed split is one of them; 1e-12 of the distance less is as large.
    """
    pooled = [Fraction(v) for v in (*u, *o)]
    observed = _energy(pooled[: len(u)], pooled[len(u) :]) * (1 - Fraction(1, 10**12))
    large = total = 0
    for chosen in itertools.combinations(range(len(pooled)), len(u)):
        inside = [pooled[k] for k in chosen]
        outside = [v for k, v in enumerate(pooled) if k not in chosen]
        large, total = large + (_energy(inside, outside) >= observed), total + 1
    return large / total


def digamma(x: float) -> float:
    """psi(x) = psi(x + 1) - 1 / x, from 30 on by Stirling's series; x > 0."""
    if x < 30:
        return digamma(x + 1) - 1 / x
    return math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def trigamma(x: float) -> float:
    """psi'(x) = psi'(x + 1) + 1 / x^2, from 30 on by Stirling's series; x > 0."""
    if x < 30:
        return trigamma(x + 1) + 1 / x**2
    return 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def moderated(variances: Values, dof: Values) -> tuple[float, float, list[float]]:
    """Prior degrees of freedom, prior variance, and each sample's shrunk variance.

    Smyth (2004), limma's fitFDist and squeezeVar, by the moments of log s_g^2. Those with less than
    one degree of freedom are left out of the fit and get the prior variance. At least two must be
    left, with variances above 0. Where they are no more scattered than chance, the prior has
    infinitely many degrees of freedom and s0^2 = exp(mean e), the limit of the other case (limma
    since 2017: the mean variance).
    """
    fitted = [(s, d) for s, d in zip(variances, dof, strict=True) if d >= 1]
    n = len(fitted)
    e = [math.log(s) - digamma(d / 2) + math.log(d / 2) for s, d in fitted]
    mean = math.fsum(e) / n
    chance = math.fsum(trigamma(d / 2) for _, d in fitted) / n
    excess = math.fsum((v - mean) ** 2 for v in e) / (n - 1) - chance
    if excess <= 0:
        prior = math.exp(mean)
        return math.inf, prior, [prior for _ in variances]
    low, high = 1e-9, 1e12  # trigamma falls
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > excess else (low, middle)
    half = math.sqrt(low * high)
    prior = math.exp(mean + digamma(half) - math.log(half))
    shrunk = []
    for s, d in zip(variances, dof, strict=True):
        shrunk.append((2 * half * prior + d * s) / (2 * half + d) if d >= 1 else prior)
    return 2 * half, prior, shrunk


def z_score(phi: float, mean: float, sd: float) -> float:
    """(phi - mean) / sd."""
    return (phi - mean) / sd


def is_forgotten(z: float, n_out: int, dof_total: float) -> bool:
    """Whether |z| <= t's 95% point * sqrt(1 + 1 / n_out): a new draw against an estimated mean."""
    point = norm.ppf(0.95) if math.isinf(dof_total) else t.ppf(0.95, dof_total)
    return bool(abs(z) <= point * math.sqrt(1 + 1 / n_out))


def mapped_target(phi: float, mu_in: float, sd_in: float, mu_out: float, sd_out: float) -> float:
    """mu_out + sd_out (phi - mu_in) / sd_in: the same place among those that never saw it."""
    return mu_out + sd_out * (phi - mu_in) / sd_in
