"""Distances of the unlearned model from the base model, and from leave-one-out models."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import factors
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
    for k in (1, 5, 9):
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


def test_leave_one_out_models_give_the_unlearning_gap(base: BaseModel) -> None:
    positions = torch.tensor([0, 1])
    first = int(base.dataset.train.ids[0])
    others = base.test_logits.flip(0)
    friends = Companions(left_out={first: others})
    known = BaseModel(base.network, base.dataset, base.device, companions=friends)
    unlearned = unlearn(known, algorithms.get("ga").from_text({"lr": 1e-3}), positions, 0)
    chunk = evaluate(known, positions, unlearned, known.some(None))
    values = pre_values(known, factors.families(), positions) | post_values(
        chunk, factors.families()
    )
    expected = {
        "unlearning_gap": reference.unlearning_gap(chunk.test_logits[0], others),
        "untouched_gap": reference.untouched_gap(base.test_logits, others),
        "relative_gap": reference.relative_gap(chunk.test_logits[0], base.test_logits, others),
    }
    for name, value in expected.items():
        assert values[name][0].item() == pytest.approx(value, rel=1e-9)
        assert values[name][1].isnan()


def test_gaps_of_exact_unlearning_and_of_a_model_that_the_sample_did_not_change(
    base: BaseModel,
) -> None:
    positions, quick = torch.arange(2), Recipe(epochs=1)
    ids = base.dataset.train.ids[:2].tolist()
    friends = Companions(left_out={ids[0]: base.test_logits.flip(0), ids[1]: base.test_logits})
    origin = Origin("small-cnn", quick)
    known = BaseModel(base.network, base.dataset, base.device, origin, friends)
    untouched = pre_values(known, factors.families(), positions)["untouched_gap"]
    assert untouched[0] > 0
    assert untouched[1] == 0
    for name, has_gap in {"ga": True, "retrain": False}.items():
        algorithm = algorithms.get(name)()
        assert algorithm.is_exact is not has_gap
        unlearned = unlearn(known, algorithm, positions, 0, Execution.SEQUENTIAL)
        values = post_values(
            evaluate(known, positions, unlearned, known.some(None)), factors.families()
        )
        assert values["unlearning_gap"].isfinite().tolist() == [has_gap, has_gap]
        assert values["relative_gap"].isfinite().tolist() == [has_gap, False]
