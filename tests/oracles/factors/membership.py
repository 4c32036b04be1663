"""Membership inference from the probability of the true label, on one class."""

import math
from fractions import Fraction

import scipy.stats

from tests.oracles.arrays import Labels, Numbers, as_float64, as_ints


def of_class(probs: Numbers, labels: Labels, wanted: int) -> list[float]:
    """The probabilities of the samples of one class."""
    chosen = []
    for p, label in zip(as_float64(probs), as_ints(labels), strict=True):
        if label == wanted:
            chosen.append(float(p))
    return chosen


def membership_attack(
    members: Numbers, others: Numbers, p_forget: float
) -> tuple[float, float, float, float]:
    """(threshold, forgotten, margin, attack accuracy) of "member if p >= t".

    Every observed value is tried as t; the best balanced accuracy (share of members with p >= t
    plus share of others with p < t) / 2 wins, and on ties the smallest t. forgotten is 1 if
    p_forget < t else 0, margin is t - p_forget. Four NaN if either side is empty.
    """
    ins = [float(p) for p in as_float64(members)]
    outs = [float(p) for p in as_float64(others)]
    if not ins or not outs:
        return math.nan, math.nan, math.nan, math.nan
    scores = {}
    for t in ins + outs:
        caught = Fraction(sum(1 for p in ins if p >= t), len(ins))
        cleared = Fraction(sum(1 for p in outs if p < t), len(outs))
        scores[t] = (caught + cleared) / 2
    best = max(scores.values())
    threshold = min(t for t, score in scores.items() if score == best)
    forgotten = 1.0 if p_forget < threshold else 0.0
    return threshold, forgotten, threshold - p_forget, float(best)


def mia_forgotten(members: Numbers, others: Numbers, p_forget: float) -> float:
    """Whether the attack calls the forget sample a non-member."""
    return membership_attack(members, others, p_forget)[1]


def mia_margin(members: Numbers, others: Numbers, p_forget: float) -> float:
    """By how much its probability is below the threshold."""
    return membership_attack(members, others, p_forget)[2]


def mia_attack_accuracy(members: Numbers, others: Numbers) -> float:
    """The attack's balanced accuracy."""
    return membership_attack(members, others, 0.0)[3]


def mia_attack_strength(members: Numbers, others: Numbers) -> float:
    """Smirnov's one-sided D of the two samples, times sqrt(m n / (m + n))."""
    smirnov = scipy.stats.ks_2samp(members, others, alternative="less").statistic
    m, n = len(members), len(others)
    return float(smirnov) * math.sqrt(m * n / (m + n))
