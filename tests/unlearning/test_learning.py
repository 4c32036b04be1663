"""How samples are learned is recorded as it happens, and recording changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.factors import initial, learning
from unlearning import architectures, datasets, models, training
from unlearning.dataset import Dataset
from unlearning.recipe import Recipe
from unlearning.training import Recorder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few() -> Dataset:
    """So many samples that the last batch of 64 is short: 64, 64, 22."""
    return datasets.load("digits", datasets.Source(train_samples=150, test_samples=10))


def normalised(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose outputs are others in training than afterwards."""
    size = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(size), nn.Linear(size, classes))


@pytest.mark.parametrize("arch", ["small-cnn", "mlp"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_recording_changes_not_a_bit_of_the_weights(
    few: Dataset, arch: str, optimizer: str
) -> None:
    came_to = []
    for recorder in (None, Recorder()):
        losses: list[float] = []
        recipe = Recipe(epochs=3, optimizer=optimizer)
        network = training.train(few, arch, recipe, CPU, losses.append, recorder)
        came_to.append((models.weights_sha256(network.state_dict()), losses))
    assert came_to[0] == came_to[1]


@pytest.mark.parametrize(
    ("arch", "recipe"),
    [
        ("mlp", Recipe(epochs=4, lr=5e-3)),
        ("mlp", Recipe(epochs=3, lr=0.02, optimizer="sgd", seed=2, batch_size=149)),
        ("normalised", Recipe(epochs=4, lr=5e-3, seed=1)),
    ],
)
def test_it_is_what_a_plain_loop_sees(
    few: Dataset, arch: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, own = architectures.get, {"normalised": normalised}
    monkeypatch.setattr(architectures, "get", lambda name: own.get(name) or get(name))
    recorder = Recorder()
    training.train(few, arch, recipe, CPU, recorder=recorder)
    images, labels = few.inputs(few.train), few.train.labels
    network = models.build(arch, few, recipe.seed)
    seen = learning.logits_seen(network, images, labels, **recipe.settings)
    found = recorder.learning
    for recorded, of in ((found.losses, initial.loss), (found.margins, initial.margin)):
        expected = [[of(row, y) for row, y in zip(rows, labels, strict=True)] for rows in seen]
        assert recorded.dtype == torch.float32
        torch.testing.assert_close(
            recorded.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=1e-3
        )


def recorded(*batches: tuple[list[int], Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    recorder = Recorder()
    for positions, logits in batches:
        recorder.see(torch.tensor(positions), logits)
    recorder.end_epoch(labels)
    return recorder.learning.losses, recorder.learning.margins


def test_the_order_of_the_batches_does_not_matter_nor_their_sizes() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [0.0, 4.0, 4.0], [-1.0, 5.0, 0.5]])
    labels = torch.tensor([0, 0, 1, 2])
    losses, margins = recorded(([2, 0, 3], logits[[2, 0, 3]]), ([1], logits[[1]]), labels=labels)
    assert margins.tolist() == [[1.0, -3.0, 0.0, -4.5]]
    expected = [initial.loss(row, int(y)) for row, y in zip(logits, labels, strict=True)]
    assert losses[0].tolist() == pytest.approx(expected)
    at_once = recorded(([0, 1, 2, 3], logits), labels=labels)
    assert torch.equal(at_once[0], losses)
    assert torch.equal(at_once[1], margins)
