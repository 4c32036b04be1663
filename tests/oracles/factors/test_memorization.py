"""Memorization by hand."""

import math

import numpy as np
import pytest

from tests.oracles.factors.memorization import memorization


def test_memorization_by_hand() -> None:
    # Sample 0: in models 0 and 1 (1 and 1 correct), not in 2 and 3 (1, 0): 1 - 1/2.
    # Sample 1: in model 2 only (wrong), not in 0, 1, 3 (1, 1, 0): 0 - 2/3. Samples 2 and 3: nan.
    correct = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    included = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    values = memorization(correct, included)
    assert values[:2] == pytest.approx([0.5, -2 / 3])
    assert all(math.isnan(value) for value in values[2:])
    assert len(values) == 4
