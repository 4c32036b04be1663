"""What a data set is: images or rows of a table, and labels, in fixed and fingerprinted splits."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.errors import UserError, hold

SHOWN, WIDTH = 24, 40  # columns of a row that are shown, and characters of their texts
HELD_OUT = 5  # one sample in so many is for test where a file has no parts

Samples = tuple[Tensor, Tensor]  # (N, C, H, W) uint8 from 0 to 255 and (N,) int64, in file order


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    images: (N, C, H, W) uint8; of rows of a table (N, F, 1, 1) float32. labels: (N,) int64. ids:
    (N,) int64, ascending: the position of each sample in the data set's own file, so that an id
    means the same in every sweep. paths: of each sample's own file, in the folder of the data set;
    None where samples have no files.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    paths: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        ids: Tensor | None = None,
        paths: Sequence[str] | None = None,
    ) -> Split:
        """The samples of a file at `ids`, in the file's order; all of them if None.

        Raises UserError where there are not as many labels as images.
        """
        if len(images) != len(labels):
            raise UserError(f"there are {len(labels)} labels for {len(images)} images")
        ids = torch.arange(len(labels)) if ids is None else ids.sort().values
        own = None if paths is None else tuple(paths[position] for position in ids.tolist())
        return cls(images[ids], labels[ids], ids, own)

    def draw(self, count: int) -> Split:
        """`count` random samples, always the same ones; more samples contain the fewer."""
        drawn = some_of(len(self), count)
        few = Split.of(self.images, self.labels, drawn, self.paths)
        return replace(few, ids=self.ids[drawn])

    def path_of(self, sample_id: int) -> str | None:
        """The path of the sample with this id; None where samples have no files."""
        if self.paths is None:
            return None
        return self.paths[int(torch.searchsorted(self.ids, sample_id))]

    def positions(self, ids: list[int]) -> Tensor:
        """Where in this split the samples with these ids lie, as (len(ids),) int64.

        Raises UserError for an id that is not in the split or is given twice.
        """
        where, found = {one: position for position, one in enumerate(self.ids.tolist())}, {}
        for sample in ids:
            if sample not in where:
                raise UserError(
                    f"sample id {sample} is not a training sample: the {len(self)} ids of the "
                    f"training split lie between {self.ids[0]} and {self.ids[-1]}"
                )
            if sample in found:
                raise UserError(f"sample id {sample} is given more than once: give each id once")
            found[sample] = where[sample]
        return torch.tensor([*found.values()], dtype=torch.int64)


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    white: the pixel value that becomes 1.0 at a model's input; 1 for a table. columns: the features
    of a table as its file has them, a pandas.DataFrame; None for images. features: how each input
    of a table is made: (value - mean) / scale of a column, where the value of a text is 1 in the
    rows that have it, else 0.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    white: int
    columns: Any = None
    features: tuple[Mapping[str, Any], ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width); of a table (features, 1, 1)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def inputs(self, split: Split) -> Tensor:
        """The images of a split as a model takes them: (N, C, H, W) float32 within `bounds`."""
        return split.images.to(torch.float32) / self.white

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which inputs are: 0 and 1; of a table, whatever is standardised, anywhere."""
        return (0.0, 1.0) if self.columns is None else (-math.inf, math.inf)

    def row_of(self, sample_id: int) -> str | None:
        """What the table says of a sample, in a line; None of images."""
        if self.columns is None:
            return None
        row = [(name, column.iloc[sample_id]) for name, column in self.columns.items()]
        said = [
            f"{shorten(str(name), WIDTH, placeholder='...')} "
            f"{f'{v:.6g}' if isinstance(v, float) else shorten(str(v), WIDTH, placeholder='...')}"
            for name, v in row[:SHOWN]
        ]
        return ", ".join(said) + (f", and {len(row) - SHOWN} more" if len(row) > SHOWN else "")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of tensors and split: two data sets with the same one are the same data."""
        # A folder or file may be renamed, and holds the same data still.
        own = re.match(r"(folder|npz|table)-", self.name)
        name = own[1] if own else self.name
        digest = hashlib.sha256(f"{name} {self.white} {self.classes}".encode())
        for split in (self.train, self.test):
            for part in (split.images, split.labels, split.ids):
                digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


def own_name(kind: str, name: str) -> str:
    """What a data set of the user's own is called, in names and paths too."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def some_of(size: int, count: int | None) -> Tensor:
    """`count` of `size` positions, always the same ones, in order; all if None or too many."""
    if count is None or count >= size:
        return torch.arange(size)
    order = np.random.default_rng(0).permutation(size)[:count]
    return torch.from_numpy(np.sort(order))


def held_out(size: int) -> tuple[Tensor, Tensor]:
    """Positions of the training and the test samples of a file without parts: a fifth is drawn."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(size))
    test, train = order.tensor_split([size // HELD_OUT])
    return train, test


def numbered(values: NDArray[Any], train: Tensor, test: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """The names of the classes, which are the training samples' values in order, and the labels.

    Args:
        values: (N,), the class of each sample: whole numbers or texts.
        train, test: positions of the training and the test samples.

    Raises ValueError where test samples have a class of their own.
    """
    classes = np.unique(values[train.numpy()])
    unknown = np.setdiff1d(values[test.numpy()], classes)
    if len(unknown):
        raise ValueError(f"the label {unknown[0]} is in the test samples only")
    labels = torch.from_numpy(np.searchsorted(classes, values).astype(np.int64))
    return tuple(map(str, classes.tolist())), labels


def is_a_dataset(dataset: Dataset) -> None:
    """Raise AssertionError where images, labels and ids are not what a Dataset says."""
    hold(isinstance(dataset, Dataset), f"it is a {type(dataset).__name__}, not a Dataset")
    kind, count = torch.uint8 if dataset.columns is None else torch.float32, len(dataset.classes)
    hold(count >= 2, f"it has too few classes: {count}")
    for split in (dataset.train, dataset.test):
        images, labels, ids = split.images, split.labels, split.ids
        hold(images.dtype == kind, f"its images are {images.dtype}, not {kind}")
        hold(images.ndim == 4, f"its images are not (N, C, H, W): {tuple(images.shape)}")
        hold(images.numel(), "it has a part without samples, of training or of test")
        for part, values in (("labels", labels), ("ids", ids)):
            said = f"its {part} are {values.dtype} {tuple(values.shape)}, for {len(images)} images"
            hold((values.dtype, values.shape) == (torch.int64, (len(images),)), said)
        low, high = int(labels.min()), int(labels.max())
        hold(0 <= low <= high < count, f"its labels go from {low} to {high}, of {count} classes")
        hold((ids.diff() > 0).all() and ids[0] >= 0, "its ids do not ascend from 0 or more")
        is_white = dataset.columns is not None or images.max() <= dataset.white <= 255
        hold(is_white, f"it has pixels above its white, {dataset.white}, or that is above 255")
    shapes = [tuple(split.images.shape[1:]) for split in (dataset.train, dataset.test)]
    hold(shapes[0] == shapes[1], f"its training and test images have the shapes {shapes}")


def checked(dataset: Dataset, whose: str) -> Dataset:
    """The data set. Raises UserError that says of `whose` what is wrong with it."""
    try:
        is_a_dataset(dataset)
    except AssertionError as error:
        raise UserError(f"{whose} cannot be used: {error}") from error
    return dataset
