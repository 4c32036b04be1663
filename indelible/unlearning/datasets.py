"""Data sets by name: images and labels as tensors, in fixed and fingerprinted splits."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from indelible.errors import UserError


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    images: (N, C, H, W) uint8. labels: (N,) int64. ids: (N,) int64, ascending: the position of
    each sample in the data set's own file, so that an id means the same in every sweep.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, ids: Tensor) -> Split:
        """The samples at `ids`, in the file's order."""
        ids = ids.sort().values
        return cls(images[ids], labels[ids], ids)

    def positions(self, ids: list[int]) -> Tensor:
        """Where in this split the samples with these ids lie, as (len(ids),) int64.

        Raises UserError for an id that is not in the split or is given twice.
        """
        where = {sample: position for position, sample in enumerate(self.ids.tolist())}
        unknown = [sample for sample in ids if sample not in where]
        if unknown:
            raise UserError(
                f"sample id {unknown[0]} is not a training sample: the {len(self)} ids of the "
                f"training split lie between {self.ids[0]} and {self.ids[-1]}"
            )
        repeated = sorted({sample for sample in ids if ids.count(sample) > 1})
        if repeated:
            raise UserError(f"sample id {repeated[0]} is given more than once: give each id once")
        return torch.tensor([where[sample] for sample in ids], dtype=torch.int64)


@dataclass(frozen=True)
class Dataset:
    """A named data set. `white` is the pixel value that becomes 1.0 at a model's input."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    white: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def inputs(self, split: Split) -> Tensor:
        """The images of a split as a model takes them: (N, C, H, W) float32 in [0, 1]."""
        return split.images.to(torch.float32) / self.white

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of tensors and split: two data sets with the same one are the same data."""
        digest = hashlib.sha256(f"{self.name} {self.white} {self.classes}".encode())
        for split in (self.train, self.test):
            for part in (split.images, split.labels, split.ids):
                digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


_DATASETS: dict[str, Callable[[], Dataset]] = {}


def _dataset(name: str) -> Callable[[Callable[[], Dataset]], Callable[[], Dataset]]:
    def register(load: Callable[[], Dataset]) -> Callable[[], Dataset]:
        _DATASETS[name] = load
        return load

    return register


def names() -> list[str]:
    """The data sets that `load` knows."""
    return sorted(_DATASETS)


def load(name: str) -> Dataset:
    """The data set of that name. Raises UserError where there is none."""
    if name not in _DATASETS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(names())}")
    return _DATASETS[name]()


def _scikit_learn_file(*parts: str) -> Path:
    # Located without importing scikit-learn, which would cost a second.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


@_dataset("digits")
def digits() -> Dataset:
    """UCI handwritten digits: 1,797 grey images of 8x8 pixels with values 0 to 16.

    1,000 for training and 797 for test, drawn once at random: the file is ordered by writer, and
    a split in its order would make the test set one of unseen handwriting.
    """
    with gzip.open(_scikit_learn_file("datasets", "data", "digits.csv.gz"), "rt") as file:
        rows = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))
    images, labels = rows[:, :64].reshape(-1, 1, 8, 8), rows[:, 64].to(torch.int64)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(rows)))
    return Dataset(
        name="digits",
        train=Split.of(images, labels, order[:1000]),
        test=Split.of(images, labels, order[1000:]),
        classes=tuple("0123456789"),
        white=16,
    )
