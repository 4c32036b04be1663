"""Where models stand among reference models, against the oracle."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from factors.evaluation import Chunk, evaluate
from factors.family import post_values, pre_values, versions
from factors.forgetting import AFTER, BEFORE, FAMILIES, MEMORIZATION, memorization_estimate
from tests.factors.references import as_oracle, drawn, with_references
from tests.factors.small_bases import normalised, random_base
from tests.oracles.factors import forgetting as oracle
from tests.oracles.factors.memorization import memorization
from tests.oracles.forgetting import log_odds
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.errors import UserError

EVERY = torch.arange(20)


def right_base() -> BaseModel:
    """A base model that gets all of its random images right."""
    base = random_base(normalised().eval())
    labels = base.train_logits.argmax(dim=1)
    train = dataclasses.replace(base.dataset.train, labels=labels)
    data = dataclasses.replace(base.dataset, train=train)
    return BaseModel(base.network, data, base.device)


def base_with(models: int, seed: int = 0, share: float = 0.5) -> BaseModel:
    base = right_base()
    return with_references(base, drawn(base, models, seed, share))


def attempts(base: BaseModel) -> Chunk:
    """Two steps of gradient ascent on every sample."""
    ga = algorithms.get("ga").from_text({"lr": 0.02, "max_steps": 2})
    return evaluate(base, EVERY, unlearn(base, ga, EVERY, 0), base.some(None))


def phi_of(logits: Tensor, labels: Tensor) -> list[float]:
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    return [log_odds(row, label) for row, label in rows]


@pytest.mark.parametrize(("models", "seed", "share"), [(24, 0, 0.5), (4, 2, 0.5)])
def test_every_factor_equals_the_oracle(models: int, seed: int, share: float) -> None:
    base = base_with(models, seed, share)
    chunk, said = attempts(base), as_oracle(base)
    found = pre_values(base, [BEFORE], EVERY) | post_values(chunk, [AFTER])
    untouched, phi = (
        phi_of(of, base.train_labels) for of in (base.train_logits, chunk.forget_logits)
    )
    expected = {
        "reference_phi": [oracle.reference_phi(said, k) for k in range(20)],
        "reference_sd": [oracle.reference_sd(said, k) for k in range(20)],
        "z_untouched": [oracle.z_untouched(untouched[k], said, k) for k in range(20)],
        "z": [oracle.z(phi[k], said, k) for k in range(20)],
        "z_error": [oracle.z_error(phi[k], said, k) for k in range(20)],
        "forgotten": [oracle.forgotten(phi[k], said, k) for k in range(20)],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    assert any(values.isnan().any() for values in found.values()) == (models < 24)


def test_targets_equal_the_oracle() -> None:
    base = base_with(32)
    said, untouched = as_oracle(base), phi_of(base.train_logits, base.train_labels)
    expected = [oracle.target(untouched[k], said, k) for k in range(20)]
    np.testing.assert_allclose(base.targets(EVERY), expected, rtol=1e-6, atol=1e-6)
    some = torch.tensor([7, 3])
    assert base.targets(some).tolist() == pytest.approx([expected[7], expected[3]])


def test_without_reference_models_nothing_is_known() -> None:
    base = right_base()
    found = pre_values(base, [BEFORE, MEMORIZATION], EVERY) | post_values(attempts(base), [AFTER])
    assert all(values.isnan().all() for values in found.values())
    with pytest.raises(UserError, match="has no reference models to end at: 'indelible train"):
        base.targets(EVERY)
    few = base_with(3, seed=1)
    with pytest.raises(UserError, match=r"of \d+ samples fewer than two of the 3 reference models"):
        few.targets(EVERY)


def test_memorization_equals_the_oracle_and_is_undefined_in_all_or_none() -> None:
    rng = np.random.default_rng(0)
    correct, included = rng.random((12, 30)) < 0.7, rng.random((12, 30)) < 0.7
    included[:, 0], included[:, 1] = True, False
    estimates = memorization_estimate(torch.from_numpy(correct), torch.from_numpy(included))
    expected = memorization(correct, included)
    np.testing.assert_allclose(estimates, expected, rtol=1e-12)
    assert estimates[:2].isnan().all()


def test_factors_of_more_reference_models_are_others() -> None:
    """What members keep of an earlier number of models is out of date."""
    told = []
    for models in (0, 8, 9, 8):
        base = right_base()
        if models:
            base = with_references(base, drawn(base, 9).only(torch.arange(models)))
        told.append(versions(FAMILIES, base.companions, 3))
    for family in FAMILIES:
        none, eight, nine, again = (of[family.key] for of in told)
        assert len({none, eight, nine}) == 3
        assert eight == again
    assert math.isfinite(base_with(8).targets(torch.tensor([3])).item())
