"""The membership attack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.membership import best_attack
from tests.oracles.factors import membership


def test_membership_equals_an_exhaustive_search(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k, position in list(enumerate(chunk.positions.tolist()))[1:]:
        train = np.exp(chunk.train_log_prob[k].numpy())
        test = np.exp(chunk.test_log_prob[k].numpy())
        rest = np.delete(np.arange(len(train)), position)
        label = int(base.train_labels[position])
        members = membership.of_class(train[rest], base.train_labels[rest], label)
        others = membership.of_class(test, base.test_labels, label)
        forgotten = membership.mia_forgotten(members, others, train[position])
        assert post["mia_forgotten"][k].item() == forgotten
        strength = post["mia_attack_strength"][k].item()
        expected = membership.mia_attack_strength(members, others)
        assert strength == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_best_attack_with_ties_equals_an_exhaustive_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    members = random.integers(0, 6, random.integers(1, 12)) / 5
    others = random.integers(0, 6, random.integers(1, 12)) / 5
    threshold = best_attack(torch.from_numpy(members), torch.from_numpy(others))[0].item()
    assert threshold == membership.membership_attack(members, others, 0.0)[0]


def test_best_attack_without_one_side_is_undefined() -> None:
    some, none = torch.tensor([0.5]).double(), torch.empty(0).double()
    assert best_attack(some, none)[0].isnan()
    assert best_attack(none, some)[0].isnan()
