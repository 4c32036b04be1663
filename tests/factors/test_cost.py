"""Steps and seconds."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from tests.oracles.factors import cost


def test_cost_is_what_the_engine_counted(chunk: Chunk, post: dict[str, Tensor]) -> None:
    assert torch.equal(post["steps"][1:], chunk.unlearned.steps[1:].double())
    assert torch.equal(post["elapsed_s"][1:], chunk.unlearned.elapsed_s[1:])
    for k in range(1, len(chunk.positions)):
        expected = cost.steps(chunk.unlearned.forget_prob[k].tolist())
        assert post["steps"][k].item() == expected
