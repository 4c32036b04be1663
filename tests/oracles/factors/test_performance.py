"""Performance by hand."""

import math

import pytest

from tests.oracles.factors import performance

LOG3 = math.log(3)


def test_remaining_accuracy_by_hand() -> None:
    # Row 0 is right, row 1 is wrong.
    logits = [[LOG3, 0.0], [0.0, 0.0]]
    assert performance.remaining_accuracy(logits, [0, 1], 1) == 1.0
    assert performance.remaining_accuracy(logits, [0, 1], 0) == 0.0


def test_remaining_loss_diff_by_hand() -> None:
    # CE before: log 4/3, log 2, log 4. CE after: log 2, log 4/3, log 2.
    before = [[LOG3, 0.0], [0.0, 0.0], [LOG3, 0.0]]
    after = [[0.0, 0.0], [0.0, LOG3], [5.0, 5.0]]
    labels = [0, 1, 1]
    # Without row 2: (log 4/3 + log 2) / 2 - (log 2 + log 4/3) / 2 = 0.
    assert performance.remaining_loss_diff(before, after, labels, 2) == pytest.approx(0.0)
    # Without row 0: (log 2 + log 4 - log 4/3 - log 2) / 2 = log 3 / 2.
    found = performance.remaining_loss_diff(before, after, labels, 0)
    assert found == pytest.approx(LOG3 / 2)
    # The other way around the sign turns: the loss has grown.
    found = performance.remaining_loss_diff(after, before, labels, 0)
    assert found == pytest.approx(-LOG3 / 2)
    assert math.isnan(performance.remaining_loss_diff([[1.0, 0.0]], [[1.0, 0.0]], [0], 0))


def test_differences_by_hand() -> None:
    # p of class 0: 3/4 and 1/2 before, 1/2 and 1/4 after. CE: log 4/3 and log 2, log 2 and log 4.
    before, after = [[LOG3, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, LOG3]]
    assert performance.test_accuracy(before, [0, 0]) == 1.0
    assert performance.test_accuracy(after, [0, 0]) == 0.5
    assert performance.test_prob_diff(before, after, [0, 0]) == pytest.approx(0.25)
    expected = (math.log(4 / 3) - math.log(4)) / 2
    assert performance.test_loss_diff(before, after, [0, 0]) == pytest.approx(expected)
    assert performance.forget_prob_diff(before[0], after[0], 0) == pytest.approx(0.25)
    assert performance.forget_loss_diff(before[0], after[0], 1) == pytest.approx(math.log(2))
