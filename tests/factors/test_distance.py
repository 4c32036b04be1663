"""Distances of the unlearned model from the base model, and from leave-one-out models."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from factors.distance import REFERENCE, UNTOUCHED
from factors.evaluation import Chunk, evaluate
from factors.family import post_values, pre_values
from tests.oracles.factors import distance, reference
from unlearning import algorithms
from unlearning.base_model import BaseModel, Companions, Origin
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.recipe import Recipe


def test_distances_equal_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k in (1, 9):
        after = chunk.unlearned.state_of(k)
        replica = copy.deepcopy(base.network)
        replica.load_state_dict(base.network.state_dict() | after)
        with torch.no_grad():
            features = [
                n.get_submodule("features")(base.test_inputs) for n in (base.network, replica)
            ]
            plain = replica(base.test_inputs.contiguous())
        torch.testing.assert_close(chunk.test_logits[k], plain, rtol=1e-4, atol=1e-4)
        logits = base.test_logits, chunk.test_logits[k]
        for name, expected, rel in (
            ("model_distance_abs", distance.model_distance_abs(base.params, after), 1e-9),
            ("model_distance_kl", distance.model_distance_kl(base.params, after), 1e-6),
            ("model_distance_l2", distance.model_distance_l2(base.params, after), 1e-9),
            ("feature_distance", distance.feature_distance(*features), 1e-5),
            ("activation_distance", distance.activation_distance(*logits), 1e-9),
        ):
            assert post[name][k].item() == pytest.approx(expected, rel=rel), name


def test_leave_one_out_models_give_the_gaps(base: BaseModel) -> None:
    """The second sample did not change the model, and the third has no model without it."""
    positions, ids = torch.arange(3), base.dataset.train.ids[:2].tolist()
    others = base.test_logits.flip(0)
    friends = Companions(left_out={ids[0]: others, ids[1]: base.test_logits})
    origin = Origin("small-cnn", Recipe(epochs=1))
    known = BaseModel(base.network, base.dataset, base.device, origin, friends)
    untouched = pre_values(known, [UNTOUCHED], positions)["untouched_gap"]
    expected = reference.untouched_gap(base.test_logits, others)
    assert untouched[:2].tolist() == pytest.approx([expected, 0], rel=1e-9)
    assert untouched[2].isnan()
    for name in ("ga", "retrain"):
        unlearned = unlearn(known, algorithms.get(name)(), positions, 0, Execution.SEQUENTIAL)
        chunk = evaluate(known, positions, unlearned, known.some(None))
        values = post_values(chunk, [REFERENCE])
        gap, relative = values["unlearning_gap"], values["relative_gap"]
        if name == "retrain":  # which gives that very model
            assert torch.cat([gap, relative]).isnan().all()
            continue
        after = chunk.test_logits[0], others
        assert gap[0].item() == pytest.approx(reference.unlearning_gap(*after), rel=1e-9)
        expected = reference.relative_gap(after[0], base.test_logits, others)
        assert relative[0].item() == pytest.approx(expected, rel=1e-9)
        assert gap.isfinite().tolist() == [True, True, False]
        assert relative.isfinite().tolist() == [True, False, False]
