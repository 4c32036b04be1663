"""The outcome by hand."""

import math

import pytest

from tests.oracles.factors import outcome


def test_gt_by_hand() -> None:
    assert outcome.gt(1.0, 1.0, 1.0) == 0.5
    assert outcome.gt(0.5, 0.25, 2.0) == pytest.approx(0.25 / 1.25)
    assert outcome.gt(0.0, 1.0, 1.0) == 0.0
    assert outcome.gt(1.0, -0.1, 1.0) == 0.0
    assert outcome.gt(None, 0.5, 1.0) is None
    assert outcome.gt(0.5, math.nan, 1.0) is None
    assert outcome.gt(-1.0, math.nan, 1.0) is None


def test_utility_forgetting_and_lambda_by_hand() -> None:
    # Falls of 0.2 and -0.1: mean 0.05.
    assert outcome.utility([0.9, 0.5], [0.7, 0.6]) == pytest.approx(0.95)
    assert outcome.forgetting(0.9, 0.4) == pytest.approx(0.5)
    assert outcome.lambda_set_sizes(200) == 0.005
    # Defined pairs: (1, 0.5) and (0.5, -0.25): 0.375 / 0.75.
    us, fs = [1.0, 0.5, None, 0.9], [0.5, -0.25, 0.3, math.nan]
    assert outcome.lambda_mean_ratio(us, fs) == pytest.approx(0.5)
    assert outcome.lambda_mean_ratio([None], [1.0]) is None
    assert outcome.lambda_one() == 1.0
