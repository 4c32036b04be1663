"""The membership attack by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
import sklearn.metrics

from tests.oracles.factors.membership import (
    membership_attack,
    mia_attack_accuracy,
    mia_attack_strength,
    mia_forgotten,
    mia_margin,
    of_class,
)


def test_membership_attack_by_hand() -> None:
    # Members 0.9, 0.8, 0.6; others 0.95, 0.6, 0.3. (members >= t) + (others < t):
    # t 0.3: 3 + 0; 0.6: 3 + 1; 0.8: 2 + 2; 0.9: 1 + 2; 0.95: 0 + 2. A tie at 4 of 6: t = 0.6.
    members, others = [0.9, 0.8, 0.6], [0.95, 0.6, 0.3]
    found = membership_attack(members, others, 0.5)
    assert found == pytest.approx((0.6, 1.0, 0.1, 4 / 6))
    # At the threshold it is still a member, with margin 0.
    assert membership_attack(members, others, 0.6) == (0.6, 0.0, 0.0, 4 / 6)
    found = membership_attack(members, others, 0.85)
    assert found == pytest.approx((0.6, 0.0, -0.25, 4 / 6))
    assert mia_forgotten(members, others, 0.6) == 0
    assert mia_forgotten(members, others, 0.59) == 1
    assert mia_margin(members, others, 0.5) == pytest.approx(0.1)
    assert mia_attack_accuracy(members, others) == pytest.approx(4 / 6)


def test_the_attack_is_on_one_class() -> None:
    # Class 1 of these is the case above.
    train_p, train_y = [0.9, 0.1, 0.8, 0.6], [1, 0, 1, 1]
    test_p, test_y = [0.3, 0.95, 0.99, 0.6], [1, 1, 2, 1]
    assert of_class(train_p, train_y, 1) == [0.9, 0.8, 0.6]
    assert of_class(test_p, test_y, 1) == [0.3, 0.95, 0.6]
    for absent in (0, 2):
        sides = of_class(train_p, train_y, absent), of_class(test_p, test_y, absent)
        assert all(map(math.isnan, membership_attack(*sides, 0.5)))


def test_attack_strength_by_hand() -> None:
    # All members above all others: D = 1, sqrt(3 * 1 / 4). The other way around: D = 0.
    assert mia_attack_strength([0.7, 0.8, 0.9], [0.1]) == pytest.approx(math.sqrt(0.75))
    assert mia_attack_strength([0.1], [0.7, 0.8, 0.9]) == 0.0


def test_membership_attack_counts_sides_equally() -> None:
    # Members 0.5 (three times), others 0.4 and 0.7: t 0.4: 1 + 0; 0.5: 1 + 1/2; 0.7: 0 + 1/2.
    found = membership_attack([0.5] * 3, [0.4, 0.7], 0.25)
    assert found == (0.5, 1.0, 0.25, 0.75)


def test_membership_attack_with_unequal_sides() -> None:
    # Ten members, three others. t 1: 10/10 + 0/3; 2: 10/10 + 1/3 = 40/30; 3: 7/10 + 1/3;
    # 4: 7/10 + 2/3 = 41/30; 5: 1/10 + 2/3; 6: 1/10 + 3/3.
    members = [2.0] * 3 + [4.0] * 6 + [6.0]
    found = membership_attack(members, [1.0, 3.0, 5.0], 0.0)
    assert found == pytest.approx((4.0, 1.0, 4.0, 41 / 60))


def test_membership_attack_ties_are_exact() -> None:
    # t 1: 5/5 + 0/5; 2: 5/5 + 1/5 = 6/5; 3: 4/5 + 1/5; 4: 4/5 + 2/5 = 6/5; 9: 0/5 + 2/5.
    # In floating point 4/5 + 2/5 exceeds 5/5 + 1/5, and t would be 4.
    assert 4 / 5 + 2 / 5 > 5 / 5 + 1 / 5
    members, others = [2.0, 4.0, 4.0, 4.0, 4.0], [1.0, 3.0, 9.0, 9.0, 9.0]
    assert membership_attack(members, others, 3.0) == (2.0, 0.0, -1.0, 0.6)


def test_membership_attack_edges() -> None:
    # Perfectly separated: the smallest member. The reverse: the smallest value, all members.
    assert membership_attack([3.0, 4.0], [1.0, 2.0], 2.5) == (3.0, 1.0, 0.5, 1.0)
    assert membership_attack([1.0, 2.0], [3.0, 4.0], 1.5) == (1.0, 0.0, -0.5, 0.5)
    # Indistinguishable: t is the one value there is.
    assert membership_attack([1.0], [1.0, 1.0], 1.0) == (1.0, 0.0, 0.0, 0.5)
    assert all(map(math.isnan, membership_attack([], [1.0], 0.5)))
    assert all(map(math.isnan, membership_attack([1.0], [], 0.5)))


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_membership_attack_against_sklearn(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    members = np.round(rng.beta(4, 2, size=15), decimals)
    others = np.round(rng.beta(2, 2, size=11), decimals)
    truth = np.array([1] * 15 + [0] * 11)
    values = np.concatenate([members, others])
    best = (math.nan, -1.0)
    for t in np.unique(values):
        score = float(sklearn.metrics.balanced_accuracy_score(truth, values >= t))
        if score > best[1] + 1e-12:
            best = (float(t), score)
    threshold, forgotten, margin, accuracy = membership_attack(members, others, 0.5)
    assert (threshold, accuracy) == pytest.approx(best)
    assert forgotten == (threshold > 0.5)
    assert margin == threshold - 0.5
