"""What the GPU's benchmark compares with does what the definitions say; so does its arithmetic."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.evaluation import FLOP
from tests.benchmarks.gpu import evaluation, plain, table
from tests.oracles import algorithms as oracles
from tests.oracles.loops import Data, Task
from unlearning import datasets, models
from unlearning.base_model import BaseModel

LOOPS = {"ga": plain.ga, "scrub": plain.scrub}
SETTINGS = {
    "ga": {},
    "scrub": {
        "gamma": 0.9,
        "alpha": 0.5,
        "temperature": 4.0,
        "retain_batches": 1,
        "max_steps_forget": 9,
    },
}
ADAM = {"optimizer": "adam", "momentum": 0.0, "weight_decay": 0.0}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("lr", [1e-6, 3e-2], ids=["to the last step", "to the flip"])
def test_the_plain_loop_is_the_algorithm(digits: datasets.Dataset, name: str, lr: float) -> None:
    network = models.build("small-cnn", digits).double().eval()
    images, labels = digits.inputs(digits.train)[:40].double(), digits.train.labels[:40]
    with torch.no_grad():
        label = int(network(images[:1]).argmax())
    drawn = torch.arange(1, 37).reshape(4, 9)
    settings = {"lr": lr, "max_steps": 4, **SETTINGS[name]}
    model, steps = LOOPS[name](
        network, images[0], label, plain.batches_of(images, labels, drawn), settings
    )

    def batch(step: int, slot: int) -> Data:
        return images[drawn[step - 1]], labels[drawn[step - 1]]

    task = Task(network, images[0], label, batch)
    expected = oracles.find(name).unlearn(task, **settings, **ADAM)
    assert steps == expected.steps
    assert (expected.status == "flipped") is (lr > 1e-3)
    for a, b in zip(model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3 * lr)
        assert a is not b


def test_flop_are_those_of_convolutions_and_layers(digits: datasets.Dataset) -> None:
    base = BaseModel(models.build("small-cnn", digits), digits, torch.device("cpu"))
    assert evaluation.flop_of(base) == FLOP  # counted by hand


def test_minutes_are_seconds_of_a_thousand_members_of_each_algorithm() -> None:
    parts = table.Parts({"ga": 0.1, "scrub": 0.5}, {"tf32": 1e-5}, {"tf32": 0.25})
    images = table.images_of("mnist", None)
    assert images == 64_000
    assert table.images_of("svhn", 10_000) == 36_032
    # 600 s of steps, 2,000 members of 0.64 s, and 2,000 of 0.25 s.
    assert table.minutes(parts, "tf32", images) == pytest.approx([10, 1280 / 60, 500 / 60])


def test_what_is_missing_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main("evaluation", "cpu", "pictures=3")
    assert capsys.readouterr().out == "nothing is measured: not understood: pictures\n"
    if not torch.cuda.is_available():
        gpu.main("evaluation")
        assert "torch sees none" in capsys.readouterr().out
