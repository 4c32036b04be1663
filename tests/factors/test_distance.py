"""Distances of the unlearned model from the base model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from factors.distance import parameter_kl
from factors.evaluation import Chunk
from tests.oracles.factors import distance


def test_distances_equal_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    for k in (1, 5, 9):
        after_ = chunk.unlearned.state_of(k)
        expected_abs = distance.model_distance_abs(chunk.base.params, after_)
        expected_kl = distance.model_distance_kl(chunk.base.params, after_)
        assert post["model_distance_abs"][k].item() == pytest.approx(expected_abs, rel=1e-9)
        assert post["model_distance_kl"][k].item() == pytest.approx(expected_kl, rel=1e-6)
        expected_l2 = distance.model_distance_l2(chunk.base.params, after_)
        assert post["model_distance_l2"][k].item() == pytest.approx(expected_l2, rel=1e-9)


def test_output_and_feature_distances_equal_the_oracle(
    chunk: Chunk, post: dict[str, Tensor]
) -> None:
    base = chunk.base
    for k in (1, 5, 9):
        replica = copy.deepcopy(base.network)
        replica.load_state_dict(base.network.state_dict() | chunk.unlearned.state_of(k))
        with torch.no_grad():
            expected = distance.feature_distance(
                base.network.get_submodule("features")(base.test_inputs),
                replica.get_submodule("features")(base.test_inputs),
            )
        assert post["feature_distance"][k].item() == pytest.approx(expected, rel=1e-5)
        expected = distance.activation_distance(base.test_logits, chunk.test_logits[k])
        assert post["activation_distance"][k].item() == pytest.approx(expected, rel=1e-9)


def test_parameter_kl_by_hand() -> None:
    before_, after_ = torch.log(torch.tensor([0.5, 0.5])), torch.log(torch.tensor([[0.25, 0.75]]))
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert parameter_kl(before_, after_).item() == pytest.approx(expected, rel=1e-6)
