"""Twenty deletion requests: from a network of one's own to a model that has forgotten them.

Everything that the user brings is made without Indelible, and the result is judged without it.
"""

from __future__ import annotations

import csv
import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from tests.tracker.conftest import Answer, Indelible

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TRAINED, TESTED, REQUESTS, WRONG = 1000, 400, 20, 5
NETWORK = """
from torch import nn

def build(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * (shape[1] // 2) * (shape[2] // 2), classes),
    )
"""


def write_images(folder: Path) -> None:
    """Handwritten digits as PNG files in a folder for each class."""
    data = load_digits()
    for number in range(TRAINED + TESTED):
        part = "train" if number < TRAINED else "test"
        where = folder / part / NAMES[data.target[number]]
        where.mkdir(parents=True, exist_ok=True)
        pixels = (data.images[number] * 255 / 16).round().astype(np.uint8)
        Image.fromarray(pixels).save(where / f"scan-{number:04d}.png")


def trained_on(folder: Path) -> list[Path]:
    return sorted((folder / "scans" / "train").rglob("*.png"))


def mislabel(file: Path, chance: random.Random) -> Path:
    """Move an image into the folder of another class."""
    other = chance.choice([name for name in NAMES if name != file.parent.name])
    return file.rename(file.parent.parent / other / file.name)


def read(path: Path) -> torch.Tensor:
    """An image as the network takes it, (1, 8, 8) in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / 255)[None]


def loaded(folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[Path]]:
    """All images in a folder, their labels (classes in the alphabet's order) and their files."""
    files = sorted(folder.rglob("*.png"))
    order = sorted(NAMES)
    labels = torch.tensor([order.index(file.parent.name) for file in files])
    return torch.stack([read(file) for file in files]), labels, files


def fitted(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train a network by a plain loop."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(15):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The user's own module, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("handmade.py").write_text(NETWORK, "utf-8")
    yield importlib.import_module("handmade")
    sys.modules.pop("handmade", None)


def right(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether a network gets each image right."""
    with torch.no_grad():
        return torch.eq(network(images).argmax(dim=1), labels)


@pytest.mark.slow
def test_from_a_model_of_ones_own_to_one_that_forgot(
    network: ModuleType, tmp_path: Path, indelible: Indelible
) -> None:
    torch.manual_seed(0)
    chance = random.Random(0)
    write_images(tmp_path / "scans")
    mislabelled = [mislabel(file, chance) for file in chance.sample(trained_on(tmp_path), 40)]
    images, labels, files = loaded(tmp_path / "scans" / "train")
    test_images, test_labels, _ = loaded(tmp_path / "scans" / "test")
    own = network.build((1, 8, 8), 10)
    fitted(own, images, labels)
    torch.save(own.state_dict(), "weights.pt")
    asked = chance.sample(sorted({*files} - {*mislabelled}), REQUESTS - WRONG)
    asked += mislabelled[:WRONG]
    lines = [
        file.name if k % 2 else f"{file.parent.name}/{file.name}" for k, file in enumerate(asked)
    ]
    lines += [asked[3].name, "scan-9999.png"]
    (tmp_path / "requests.txt").write_text("# by mail\r\n" + "\r\n".join(lines), "utf-8-sig")

    def call(*words: object) -> Answer:
        return indelible(tmp_path / "store", *words)

    own_model = ("--arch", "module:handmade:build", "--from-weights", "weights.pt")
    recipe = ("--epochs", 15, "--references", 32)
    made = call("train", "--dataset", f"folder:{tmp_path / 'scans'}", *own_model, *recipe)
    assert made.code == 0, made.err
    unlearn = ("unlearn", "--requests", "requests.txt", "--output", "forgotten", "--format", "csv")
    refused = call(*unlearn)
    assert (refused.code, refused.out) == (2, "")
    assert "names no training sample: 'scan-9999.png'" in refused.err
    assert not Path("forgotten").exists()
    (tmp_path / "requests.txt").write_text("\n".join(lines[:-1]), "utf-8")
    told = call(*unlearn)
    assert told.code == 0, told.err
    assert "21 requests for 20 samples" in told.err
    rows = {row["sample_path"]: row for row in csv.DictReader(told.out.splitlines())}
    assert {path.rpartition("/")[2] for path in rows} == {file.name for file in asked}
    assert {row["ended"] for row in rows.values()} <= {"forgotten", "never_seen"}

    final = network.build((1, 8, 8), 10)
    final.load_state_dict(torch.load("forgotten/unlearned.pt", weights_only=True))
    before, now = (right(each, test_images, test_labels).double().mean() for each in (own, final))
    record = json.loads(Path("forgotten/record.json").read_text("utf-8"))
    assert record["is_done"]
    assert record["metrics"]["before/test_accuracy"] == pytest.approx(float(before), abs=1e-12)
    assert record["metrics"]["points_lost"] == pytest.approx(100 * float(before - now))
    assert record["metrics"]["points_lost"] <= 1
    with torch.no_grad():
        said = final(images).softmax(dim=1)
    place = {str(file.relative_to(tmp_path / "scans")): k for k, file in enumerate(files)}
    for row in record["requests"]:
        k = place[row["sample_path"]]
        assert row["forget_prob"] == pytest.approx(float(said[k, labels[k]]), abs=1e-5)
    page = Path("forgotten/record.html").read_text("utf-8")
    assert all(file.name in page for file in asked)
