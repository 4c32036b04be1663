"""Probes: against the oracle, by hand, and where there is nothing to find."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from factors.line_search import TEST_SAMPLES, held_out
from factors.probe import NOISE, TESTED, probe
from tests.factors.small_bases import one_pixel
from tests.oracles.factors import probe as oracle
from unlearning.base_model import BaseModel

SOME = 4  # samples, the first one the base model gets wrong


@pytest.fixture(scope="module")
def found(base64: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    return probe(base64, positions[:SOME])


def each_sample(base: BaseModel, positions: Tensor) -> list[tuple[Tensor, int]]:
    some = positions[:SOME]
    labels = base.train_labels[some].tolist()
    return list(zip(base.train_inputs[some], labels, strict=True))


def test_the_flip_is_where_bisection_finds_it(
    base64: BaseModel, positions: Tensor, found: dict[str, Tensor]
) -> None:
    steps = {"adam": oracle.flip_probe_step_adam, "sgd": oracle.flip_probe_step_sgd}
    for name, step_of in steps.items():
        for k, sample in enumerate(each_sample(base64, positions)):
            expected = step_of(base64.network, *sample)
            step = found[f"flip_probe_step_{name}"][k].item()
            assert step == pytest.approx(expected, rel=1.1e-3, nan_ok=True)
            assert not step < expected  # from the far side


def test_the_damage_is_that_of_the_step(
    base64: BaseModel, positions: Tensor, found: dict[str, Tensor]
) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(len(base64.test_labels))[:TESTED])
    tests = base64.test_inputs[rows], base64.test_labels[rows]
    damages = {"adam": oracle.flip_probe_damage_adam, "sgd": oracle.flip_probe_damage_sgd}
    for name, damage_of in damages.items():
        for k, sample in list(enumerate(each_sample(base64, positions)))[1:3]:
            step = found[f"flip_probe_step_{name}"][k].item()
            expected = damage_of(base64.network, *sample, step, tests)
            assert found[f"flip_probe_damage_{name}"][k].item() == pytest.approx(expected, rel=1e-9)
        assert found[f"flip_probe_damage_{name}"][0].isnan()


def test_the_other_probes_equal_the_oracle(
    base64: BaseModel, positions: Tensor, found: dict[str, Tensor]
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [p.shape for p in base64.network.parameters()]
    draws = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(8)]
    for k, sample in enumerate(each_sample(base64, positions)):
        expected = {
            "ga_step_loss": oracle.ga_step_loss(base64.network, *sample, 1e-4),
            "own_curvature": oracle.own_curvature(base64.network, *sample),
            "noise_sensitivity": oracle.noise_sensitivity(
                base64.network, *sample, NOISE, lambda draw: draws[draw]
            ),
        }
        for name, value in expected.items():
            assert found[name][k].item() == pytest.approx(value, rel=1e-6, abs=1e-15), name


def test_without_a_gradient_there_is_neither_flip_nor_curvature() -> None:
    # p is 1 to the last bit of float32, and so is the loss 0.
    values = probe(one_pixel([900.0, 0.0]), torch.tensor([0]))
    for name in ("flip_probe_step_adam", "flip_probe_damage_sgd", "own_curvature"):
        assert values[name].isnan().all(), name
    assert values["ga_step_loss"].item() == 0


def test_of_many_test_samples_a_part_is_held_out() -> None:
    base = one_pixel([6.0, 0.0], sizes=(1, TEST_SAMPLES + 1))
    assert len(held_out(base).labels) == TEST_SAMPLES
    assert len(held_out(base, part=2, parts=3).labels) == TEST_SAMPLES // 3
    expected = 1 / (1 + math.exp(-6))
    assert held_out(base).prob.tolist() == pytest.approx([expected] * TEST_SAMPLES, rel=1e-6)
    assert len(held_out(base, 100, part=1, parts=3).labels) == 33
