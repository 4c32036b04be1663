"""The images of samples beside their base model, and in the descriptions of child runs."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from analysis.pictures import enlarged
from tests.tracker.conftest import SAMPLES, Done, own_copy
from tracker.base.images import Images
from tracker.store.opening import open_store
from tracker.store.records import Kind
from unlearning import datasets


def folder_of(done: Done, store: Path) -> Path:
    """Where the base model's images are in the store, or in a copy of it."""
    (folder,) = store.glob(f"artifacts/*/{done.model}/artifacts/images")
    return folder


def test_every_childs_description_shows_its_samples_image(done: Done) -> None:
    folder, digits = folder_of(done, done.folder), datasets.load("digits")
    assert len(list(folder.iterdir())) == SAMPLES
    for run in done.store.finished_runs(Kind.MEMBER):
        (address,) = re.findall(r"!\[.*\]\((.*)\)", run.tags["mlflow.note.content"])
        asked = parse_qs(urlsplit(address).query)
        assert address.startswith("get-artifact?")
        assert asked["run_uuid"] == [done.model]
        shown = np.asarray(Image.open(folder.parent / asked["path"][0]))
        (position,) = digits.train.positions([int(run.tags["sample_id"])])
        pixels = digits.train.images[position, 0].double().numpy() / digits.white * 255
        assert np.array_equal(shown, np.kron(pixels.round(), np.ones((7, 7))))


def test_images_are_written_once_and_mended(done: Done, tmp_path: Path) -> None:
    folder = folder_of(done, own_copy(done.folder, tmp_path / "copy"))
    digits = datasets.load("digits")
    whole = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    cut, lost, *_ = whole
    cut.write_bytes(whole[cut][0][:9])
    lost.unlink()
    time.sleep(0.01)
    images = Images(open_store(tmp_path / "copy").artifacts, folder.parent.as_uri(), digits)
    for _ in range(2):
        images.keep(int(path.stem) for path in whole)
    for path, (content, written) in whole.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == written) == (path not in (cut, lost))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((5, 40), (64, 8)),
        ((96, 300, 3), (64, 20)),
    ],
)
def test_images_are_as_large_as_a_page_can_show_them(
    shape: tuple[int, ...], size: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).random(shape)
    picture = Image.open(io.BytesIO(enlarged(image)))
    assert picture.size == size
    assert picture.mode == ("RGB" if len(shape) == 3 else "L")
