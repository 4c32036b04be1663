"""Predictions by hand."""

import math

import numpy as np
import pytest

from tests.oracles import predictions


def test_predictions_by_hand() -> None:
    # Rows (log 3, 0) and (0, 0): softmax (3/4, 1/4) and (1/2, 1/2); labels 0 and 1.
    logits = [[math.log(3), 0.0], [0.0, 0.0]]
    assert predictions.probabilities(logits) == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert predictions.accuracy(logits, [0, 1]) == 0.5
    assert predictions.mean_true_probability(logits, [0, 1]) == pytest.approx(0.625)
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert predictions.mean_cross_entropy(logits, [0, 1]) == pytest.approx(expected)
