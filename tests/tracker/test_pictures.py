"""Images are of the data that the base model was trained on, or there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.tracker.conftest import Indelible
from tracker.store.opening import open_store
from tracker.store.records import Kind
from unlearning import datasets

CHANGED = re.compile(
    r"base model \w{32} was trained on another version of npz-mine "
    r"\(\w{12}\.\.\., here \w{12}\.\.\.\)"
)


def write(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, images=images, labels=labels)


@pytest.mark.slow
@pytest.mark.usefixtures("few_figures")
def test_of_changed_data_no_picture_is_shown(tmp_path: Path, indelible: Indelible) -> None:
    digits = datasets.load("digits", datasets.Source(train_samples=200)).train
    images, labels = digits.images[:, 0].numpy() * 15, digits.labels.numpy()
    path, store = tmp_path / "mine.npz", tmp_path / "store"
    write(path, images, labels)
    assert indelible(store, "train", "--dataset", f"npz:{path}", "--epochs", 10).code == 0
    options = ("--algorithm", "ga", "--preset", "digits", "--samples", 6)
    assert indelible(store, "sweep", *options, "--only-correct").code == 0
    assert indelible(store, "load").code == 0
    sample = next(iter(open_store(store).finished_runs(Kind.MEMBER)))
    sample_id = sample.tags["sample_id"]

    def asked() -> tuple[str, str, list[str], str]:
        """What sample says, the report's page, the figures' names, and what is said of them."""
        said = indelible(store, "sample", sample_id)
        page = indelible(store, "report", "--log")
        drawn = tmp_path / f"figures-{len(list(tmp_path.glob('figures-*')))}"
        figures = indelible(store, "figures", "--output", drawn)
        assert (said.code, page.code, figures.code) == (0, 0, 0)
        names = [path.name for path in Path(figures.id).iterdir()]
        return said.err, Path(page.id).read_text("utf-8"), names, figures.err

    said, page, names, remarks = asked()
    assert "its image: " in said
    assert "data:image/" in page
    assert "gallery-gt.png" in names
    assert "another version" not in said + page + remarks

    write(path, images[::-1], labels[::-1])
    said, page, names, remarks = asked()
    assert CHANGED.search(said)
    assert "\nno image: " in said
    assert "data:image/" not in page
    assert CHANGED.search(page)
    assert "no pictures of the samples: base model " in page
    assert not [name for name in names if name.startswith("gallery")]
    assert CHANGED.search(remarks)
    refused = indelible(store, "sweep", *options)
    assert CHANGED.search(refused.err)
    assert CHANGED.search(said).group() == CHANGED.search(refused.err).group()  # type: ignore[union-attr]
