"""Gaps by hand."""

import math

import pytest

from tests.oracles.factors import reference


def test_gaps_by_hand() -> None:
    # Row 0: (3/4, 1/4) to (1/2, 1/2): sqrt(2) / 4. Row 1: the logits move, the softmax does not.
    one, other = [[math.log(3), 0.0], [0.0, 0.0]], [[0.0, 0.0], [9.0, 9.0]]
    for gap in (reference.unlearning_gap, reference.untouched_gap):
        assert gap(one, other) == pytest.approx(math.sqrt(2) / 8)
        assert gap(other, one) == pytest.approx(math.sqrt(2) / 8)
        assert gap(one, one) == 0.0
    # (3/4, 1/4) is half as far from (1/2, 1/2) as (1, 0) is.
    assert reference.relative_gap(one[:1], [[900.0, 0.0]], other[:1]) == pytest.approx(0.5)
