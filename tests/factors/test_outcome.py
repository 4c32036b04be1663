"""GT."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.outcome import ground_truth
from tests.oracles.factors import outcome


def test_gt_equals_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    for k in range(1, len(chunk.positions)):
        u, f = 1 - post["test_prob_diff"][k].item(), post["forget_prob_diff"][k].item()
        expected = outcome.gt(u, f, outcome.lambda_set_sizes(797))
        assert expected is not None
        assert post["gt"][k].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("u", "f", "lam", "gt"),
    [
        (1.0, 1.0, 1.0, 0.5),
        (0.5, 0.25, 1.0, 1 / 6),  # 0.125 / 0.75
        (0.8, 0.4, 0.5, 0.2),  # 0.16 / 0.8
        (0.0, 0.5, 1.0, 0.0),
        (-0.1, 0.5, 1.0, 0.0),
        (0.5, 0.0, 1.0, 0.0),
        (0.5, -0.5, 1.0, 0.0),
        (-0.5, -0.5, 1.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (math.nan, 0.5, 1.0, math.nan),
        (0.5, math.nan, 1.0, math.nan),
    ],
)
def test_gt_by_hand(u: float, f: float, lam: float, gt: float) -> None:
    utility, forgetting = torch.tensor([u, f], dtype=torch.float64)
    result = ground_truth(utility, forgetting, lam).item()
    assert result == pytest.approx(gt, rel=1e-12, nan_ok=True)
