"""Retraining by hand."""

import math

import pytest
import torch
from torch import nn

from tests.oracles.algorithms.retrain import retrain
from tests.oracles.small_models import convolutional, pair, pixels, sigmoid, two_weights, weights


def run_retrain(optimizer: str, batch_size: int) -> nn.Module:
    """Two epochs at lr 0.1, seed 5, on pixels 1, nan, 2, 3 of classes 0, 0, 1, 0 without nan."""
    images = torch.stack([pixels(value) for value in (1.0, math.nan, 2.0, 3.0)])
    labels = torch.tensor([0, 0, 1, 0])
    return retrain(
        two_weights,
        (images, labels),
        1,
        epochs=2,
        lr=0.1,
        batch_size=batch_size,
        optimizer=optimizer,
        seed=5,
    )


def batches_of_pairs(batch_size: int) -> list[list[tuple[float, int]]]:
    """The (pixel, class) pairs of each batch of the two epochs, without the one that is left out.

    Of batches of one, one is empty in each epoch.
    """
    data = [(1.0, 0), None, (2.0, 1), (3.0, 0)]
    generator = torch.Generator().manual_seed(5)
    batches = []
    for _ in range(2):
        order = torch.randperm(4, generator=generator).tolist()
        chunks = [order[begin : begin + batch_size] for begin in range(0, 4, batch_size)]
        batches.extend([[known for i in chunk if (known := data[i])] for chunk in chunks])
    return batches


def gradient_along_u(d: float, batch: list[tuple[float, int]]) -> float:
    """The mean gradient's multiple of u, that is d CE / d w0: (p(0) - [class is 0]) x."""
    return sum((sigmoid(d * x) - (y == 0)) * x for x, y in batch) / len(batch)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_retrain_by_sgd(batch_size: int) -> None:
    # v <- 0.9 v + g, w <- w - rate (g + 0.9 v); in step t from 0 the rate is
    # 0.1 (1 + cos(pi t / T)) / 2. d moves twice as far as w0. A batch of nothing is no step.
    batches = batches_of_pairs(batch_size)
    d, v = 1.0, 0.0
    for t, batch in enumerate(batches):
        if not batch:
            continue
        g = gradient_along_u(d, batch)
        v = 0.9 * v + g
        d -= 2 * 0.05 * (1 + math.cos(math.pi * t / len(batches))) * (g + 0.9 * v)
    network = run_retrain("sgd", batch_size)
    assert weights(network) == pytest.approx(pair(d))
    assert not network.training


@pytest.mark.parametrize("batch_size", [1, 2])
def test_retrain_by_adam(batch_size: int) -> None:
    # m, s with betas 0.9 and 0.999, corrected for their start at 0 by the number of steps taken.
    batches = batches_of_pairs(batch_size)
    d, m, s, n = 1.0, 0.0, 0.0, 0
    for t, batch in enumerate(batches):
        if not batch:
            continue
        n += 1
        g = gradient_along_u(d, batch)
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        step = m / (1 - 0.9**n) / (math.sqrt(s / (1 - 0.999**n)) + 1e-8)
        d -= 2 * 0.05 * (1 + math.cos(math.pi * t / len(batches))) * step
    assert weights(run_retrain("adam", batch_size)) == pytest.approx(pair(d))


@pytest.mark.parametrize("position", [0, 3, 6])
def test_retrain_is_training_on_the_rest_in_train_mode(position: int) -> None:
    images = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])

    def trained(fill: float) -> nn.Module:
        changed = images.clone()
        changed[position] = fill
        return retrain(
            convolutional,
            (changed, labels),
            position,
            epochs=3,
            lr=0.01,
            batch_size=4,
            optimizer="sgd",
            seed=2,
        )

    one, other = trained(math.nan), trained(5.0)
    assert all(not module.training for module in one.modules())
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert int(one.state_dict()["1.num_batches_tracked"]) == 3 * 2
    assert weights(one) != weights(convolutional())
