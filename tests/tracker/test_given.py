"""Data from Python that are kept with a store, and how architectures are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from tracker.base.given import FOLDER, keep, where_it_is
from unlearning import datasets
from unlearning.dataset import Dataset
from unlearning.datasets.npz import dataset_of
from unlearning.errors import UserError
from unlearning.models import build


class Square(nn.Linear):
    """A network without a forward of its own, which needs no arguments."""

    def __init__(self, inputs: int = 64, classes: int = 10) -> None:
        super().__init__(inputs, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def data(*shape: int) -> Dataset:
    images = torch.arange(6 * torch.Size(shape).numel()).reshape(6, *shape) % 251
    part = images.to(torch.uint8), torch.tensor([0, 1, 2] * 2)
    return dataset_of(part, part, ("Kätzchen", "犬", "bee"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 3)])
def test_data_are_kept_once_and_mended(tmp_path: Path, shape: tuple[int, ...]) -> None:
    kept = data(*shape)
    told = keep(kept, tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    assert path.name == f"{kept.fingerprint[:12]}.npz"
    found = datasets.load_described(told)
    assert (found.fingerprint, found.name, found.classes) == (
        *(kept.fingerprint, kept.name, kept.classes),
    )
    before = path.stat().st_mtime_ns
    assert keep(kept, tmp_path) == told
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"half of it")
    assert keep(kept, tmp_path) == told
    assert datasets.load_described(told).fingerprint == kept.fingerprint
    assert [file.name for file in (tmp_path / FOLDER).iterdir()] == [path.name]


def test_what_is_kept_is_found_where_the_store_is_now(tmp_path: Path) -> None:
    kept = data(1, 8, 8)
    told = keep(kept, tmp_path / "before")
    assert where_it_is(told, tmp_path / "after") == told
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    assert where_it_is(told, tmp_path / "after") == told  # while it is where it was
    shutil.rmtree(tmp_path / "before")
    assert where_it_is(told, None) == told
    now = where_it_is(told, tmp_path / "after")
    assert datasets.load_described(now).fingerprint == kept.fingerprint
    other = json.dumps({"name": f"npz:{tmp_path / 'gone' / Path(told).name}"})
    assert where_it_is(other, tmp_path / "after") == other
    assert where_it_is('{"name": "digits"}', tmp_path) == '{"name": "digits"}'


def test_a_class_that_cannot_be_called_is_one_line() -> None:
    with pytest.raises(UserError, match="does not take images of shape") as refused:
        build(f"module:{Square.__module__}:Square", data(1, 5, 5))
    assert "\n" not in str(refused.value)
