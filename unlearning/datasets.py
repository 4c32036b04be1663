"""Data sets by name: images and labels as tensors, in fixed and fingerprinted splits."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearning import arrays, torchvision_datasets
from unlearning.errors import UserError

# Samples for training, of all in the data set's own training file: the paper's splits.
TRAINING = {"cifar10": 45_000, "fashion-mnist": 54_000, "mnist": 54_000, "svhn": 58_000}

FOLDER, NPZ = "folder:", "npz:"  # and a path


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how much of it is taken.

    data_dir: the folder of torchvision's data sets. download: whether to fetch them if they are
    missing. train_samples, test_samples: how many to draw of the training split and of the test
    set, all if None. image_size: pixels to resize the sides of a folder's images to, as they are
    if None.
    """

    data_dir: Path = Path("data")
    download: bool = False
    train_samples: int | None = None
    test_samples: int | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        for option, count in (("train", self.train_samples), ("test", self.test_samples)):
            if count is not None and count < 2:
                raise UserError(f"--{option}-samples {count} is too few: give 2 or more")
        if self.image_size is not None and self.image_size < 1:
            raise UserError(f"--image-size {self.image_size} is too small: give 1 or more")


AS_IT_IS = Source()


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

    def draw(self, count: int) -> Split:
        """`count` random samples, always the same ones; more samples contain the fewer."""
        order = np.random.default_rng(0).permutation(len(self))
        drawn = torch.from_numpy(np.sort(order[:count]))
        return Split(self.images[drawn], self.labels[drawn], self.ids[drawn])

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
        repeated = [sample for sample, count in Counter(ids).items() if count > 1]
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
        # A folder or file may be renamed, and holds the same data still.
        own = re.match(r"(folder|npz)-", self.name)
        name = own[1] if own else self.name
        digest = hashlib.sha256(f"{name} {self.white} {self.classes}".encode())
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
    """The data sets that `load` knows by name."""
    return sorted([*_DATASETS, *TRAINING])


def load(name: str, source: Source = AS_IT_IS) -> Dataset:
    """The data set of that name, or that in a folder or file for `folder:PATH` and `npz:PATH`.

    Raises UserError where there is none, it cannot be read, or it has too few samples.
    """
    dataset = _whole(name, source)
    train = _drawn(dataset.train, source.train_samples, "train", f"training split of {name}")
    test = _drawn(dataset.test, source.test_samples, "test", f"test set of {name}")
    return replace(dataset, train=train, test=test)


def _drawn(split: Split, count: int | None, option: str, whose: str) -> Split:
    if count is None:
        return split
    if count > len(split):
        raise UserError(
            f"--{option}-samples {count} is too many: the {whose} has {len(split)} samples"
        )
    return split.draw(count)


def _whole(name: str, source: Source) -> Dataset:
    if name.startswith(FOLDER):
        return _folder(name.removeprefix(FOLDER), source.image_size)
    if name.startswith(NPZ) and source.image_size is None:
        return _npz(name.removeprefix(NPZ))
    if not name.startswith(NPZ) and name not in names():
        raise UserError(
            f"unknown data set '{name}': choose one of {', '.join(names())}, or folder:PATH for "
            "images in PATH/train/CLASS and PATH/test/CLASS, or npz:PATH for numpy's arrays images "
            "and labels"
        )
    if source.image_size is not None:
        raise UserError(
            f"--image-size is for a data set folder:PATH: the images of {name} stay as they are"
        )
    return _DATASETS[name]() if name in _DATASETS else _named(name, source)


def _named(name: str, source: Source) -> Dataset:
    found = torchvision_datasets.named(name, source.data_dir, source.download)
    held, count = len(found.train[1]), TRAINING[name]
    if held < count:
        raise UserError(
            f"the training file of {name} in {source.data_dir} holds {held} samples, but {count} "
            "of them are the training split: it is not the whole data set"
        )
    drawn = torch.from_numpy(np.random.default_rng(0).permutation(held)[:count])
    return _as_dataset(name, found, drawn)


def _folder(path: str, image_size: int | None) -> Dataset:
    if not path:
        raise UserError("data set 'folder:' names no folder: give its path, folder:PATH")
    where = Path(path).expanduser().absolute()
    found = torchvision_datasets.folder(where, image_size)
    return _as_dataset(
        _own("folder", where.resolve().name), found, torch.arange(len(found.train[1]))
    )


def _npz(path: str) -> Dataset:
    if not path:
        raise UserError("data set 'npz:' names no file: give its path, npz:PATH")
    where = Path(path).expanduser().absolute()
    return _as_dataset(_own("npz", where.resolve().stem), *arrays.read(where))


def _own(kind: str, name: str) -> str:
    """What a data set of the user's own is called, in names and paths too."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def _as_dataset(
    name: str,
    found: torchvision_datasets.Pictures,
    drawn: Tensor,
    held_out: Tensor | None = None,
) -> Dataset:
    return Dataset(
        name=name,
        train=Split.of(*found.train, drawn),
        test=Split.of(
            *found.test, torch.arange(len(found.test[1])) if held_out is None else held_out
        ),
        classes=found.classes,
        white=255,
    )


def described(name: str, source: Source = AS_IT_IS) -> str:
    """How to load a data set again, on any machine that has it: one line of JSON."""
    kind, colon, path = name.partition(":")
    if colon:
        name = f"{kind}:{Path(path).expanduser().absolute()}"
    parts = {
        "name": name,
        "train_samples": source.train_samples,
        "test_samples": source.test_samples,
        "image_size": source.image_size,
    }
    return json.dumps({key: value for key, value in parts.items() if value is not None})


def load_described(text: str, data_dir: Path = AS_IT_IS.data_dir) -> Dataset:
    """The data set that `described` tells of. Raises UserError as `load` does."""
    parts = json.loads(text)
    return load(parts.pop("name"), Source(data_dir, **parts))


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
