"""How a sample was learned, by hand and against numpy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from tests.oracles.factors import learning

# Of two classes, the label being the first: right, right, a tie (which is wrong), right, wrong.
EPOCHS = [[1.0, 0.0], [3.0, 0.0], [2.0, 2.0], [2.0, 1.0], [0.0, 2.0]]


def test_events_by_hand() -> None:
    assert learning.forgetting_events(EPOCHS, 0) == 2
    assert learning.first_epoch_learned(EPOCHS, 0) == 0
    # The other class is right in the last epoch only, and then nothing follows.
    assert learning.forgetting_events(EPOCHS, 1) == 0
    assert learning.first_epoch_learned(EPOCHS, 1) == 4
    never = [[0.0, 1.0]] * 3
    assert learning.forgetting_events(never, 0) == 3
    assert learning.first_epoch_learned(never, 0) == 3


def test_means_and_range_by_hand() -> None:
    # Margins 1, 3, 0, 1, -2; the loss of a margin m of two classes is log(1 + exp(-m)).
    assert learning.area_under_margin(EPOCHS, 0) == pytest.approx(3 / 5)
    of = {m: math.log1p(math.exp(-m)) for m in (1, 3, 0, -2)}
    expected = (2 * of[1] + of[3] + of[0] + of[-2]) / 5
    assert learning.cumulative_loss(EPOCHS, 0) == pytest.approx(expected)
    # Sorted, the losses are those of 3, 1, 1, 0, -2: the quarters are the second and the fourth.
    assert learning.loss_iqr(EPOCHS, 0) == pytest.approx(of[0] - of[1])
    assert learning.loss_iqr(EPOCHS[:1], 0) == 0


@pytest.mark.parametrize("epochs", [1, 2, 6, 7])
def test_range_against_scipy(epochs: int) -> None:
    logits = np.random.default_rng(epochs).normal(size=(epochs, 4)) * 3
    losses = [-float(np.log(np.exp(row)[2] / np.exp(row).sum())) for row in logits]
    assert learning.loss_iqr(list(logits), 2) == pytest.approx(scipy.stats.iqr(losses))


def test_training_by_hand() -> None:
    # Logits (w, 0) of the image 1, w = 0 at first, and batches of one sample of class 0. SGD with
    # Nesterov momentum takes 1.9 times the first gradient, which is -1/2; at half the learning
    # rate then 1.9 times the second and 0.81 times the first.
    layer = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(layer.weight)
    network = nn.Sequential(nn.Flatten(), layer).double()
    image, label = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.tensor([0])
    settings = {"epochs": 2, "lr": 0.1, "batch_size": 4, "optimizer": "sgd", "seed": 0}
    seen = learning.logits_seen(network, image, label, **settings)  # type: ignore[arg-type] # of several types
    assert seen.shape == (2, 1, 2)
    assert seen[0, 0].tolist() == [0, 0]
    first = 0.1 * 1.9 / 2
    assert seen[1, 0].tolist() == pytest.approx([first, -first])
    gradient = 1 / (1 + math.exp(2 * first))
    second = 0.05 * (1.9 * gradient + 0.81 / 2)
    assert layer.weight[0].item() == pytest.approx(first + second)
