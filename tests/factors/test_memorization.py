"""Memorisation over an ensemble."""

from __future__ import annotations

import numpy as np
import torch

from factors.memorization import memorization_estimate
from tests.oracles.factors.memorization import memorization


def test_memorization_equals_the_oracle_and_is_undefined_in_all_or_none() -> None:
    rng = np.random.default_rng(0)
    correct, included = rng.random((12, 30)) < 0.7, rng.random((12, 30)) < 0.7
    included[:, 0], included[:, 1] = True, False
    estimates = memorization_estimate(torch.from_numpy(correct), torch.from_numpy(included))
    expected = memorization(correct, included)
    np.testing.assert_allclose(estimates, expected, rtol=1e-12)
    assert estimates[:2].isnan().all()
