"""A folder of one's own images: samples asked for by their files, and named by these everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tracker.conftest import Indelible
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind

SIZES = {"train": 24, "test": 10}  # images of each class


def write_images(folder: Path) -> None:
    """Bright and dark images of 8x8 pixels with some noise, in two classes."""
    random = np.random.default_rng(0)
    for part, count in SIZES.items():
        for name, brightness in (("dark", 60), ("light", 190)):
            where = folder / part / name
            where.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(random.normal(brightness, 30, (8, 8)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(where / f"{name}-{number}.png")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sweep of three requests on such a folder, loaded."""
    folder = tmp_path_factory.mktemp("own")
    write_images(folder / "images")
    asked = folder / "requests.txt"
    asked.write_text("# by mail\ntrain/dark/dark-3.png\nlight-7.png\n# by phone\n0\n", "utf-8")
    base = ["train", "--dataset", f"folder:{folder / 'images'}", "--arch", "mlp", "--epochs", "20"]
    base += ["--lr", "0.01"]
    sweep = ["sweep", "--algorithm", "ga", "--requests", str(asked), "--preset", "digits"]
    for command in (base, sweep, ["load"]):
        assert run(["--store", str(folder / "store"), *command]) == 0
    return folder / "store"


PATHS = {0: "train/dark/dark-0.png", 17: "train/dark/dark-3.png", 45: "train/light/light-7.png"}


def test_members_are_those_of_the_requests_and_have_their_paths(swept: Path) -> None:
    members = open_store(swept).finished_runs(Kind.MEMBER)
    found = {}
    for member in members:
        tags = member.tags
        found[int(tags["sample_id"])] = tags["sample_path"]
    assert found == PATHS


def test_requests_that_name_nothing_begin_nothing(
    swept: Path, indelible: Indelible, tmp_path: Path
) -> None:
    asked = tmp_path / "requests.txt"
    asked.write_text("light-7.png\nlight-77.png", "utf-8")
    for command in ("sweep", "predict"):
        answer = indelible(swept, command, "--algorithm", "ga", "--requests", asked)
        assert (answer.code, answer.out) == (2, "")
        assert "'light-77.png' (did you mean" in answer.err
    both = indelible(swept, "sweep", "--algorithm", "ga", "--requests", asked, "--sample", "1")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    assert len(list(open_store(swept).finished_runs(Kind.SWEEP))) == 1
