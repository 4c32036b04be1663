"""What a data set is: images or rows of a table, and labels, in fixed and fingerprinted splits."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import UserError, hold

MOST = 10**9  # ids that a data set may have, from 0 on: they are places in a file
SHOWN, WIDTH = 24, 40  # columns of a row that are shown, and characters of their texts


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
        cls, images: Tensor, labels: Tensor, ids: Tensor, paths: Sequence[str] | None = None
    ) -> Split:
        """The samples at `ids`, in the file's order."""
        ids = ids.sort().values
        own = None if paths is None else tuple(paths[position] for position in ids.tolist())
        return cls(images[ids], labels[ids], ids, own)

    def draw(self, count: int) -> Split:
        """`count` random samples, always the same ones; more samples contain the fewer."""
        order = np.random.default_rng(0).permutation(len(self))
        drawn = torch.from_numpy(np.sort(order[:count]))
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
class Columns:
    """What the features of a table's rows were before they were standardised.

    names: the column of each. categories: of one that says whether a text is there, the text; else
    None. means, scales: what was subtracted, and by what was divided then.
    """

    names: tuple[str, ...]
    categories: tuple[str | None, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def row(self, features: Tensor) -> dict[str, str]:
        """What the file says in the row with these standardised features, (F,): text by column."""
        given = features.double().reshape(-1).tolist()
        said: dict[str, str] = {}
        for name, category, value, mean, scale in zip(
            self.names, self.categories, given, self.means, self.scales, strict=True
        ):
            before = value * scale + mean
            if category is None:
                # What is far below the scale is the rounding of float32.
                said[name] = f"{round(before, 5 - math.floor(math.log10(scale))):.6g}"
            elif before > 1 / 2:
                said[name] = category
        return said


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    white: the pixel value that becomes 1.0 at a model's input; 1 for a table. columns: of a table;
    None for images.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    white: int
    columns: Columns | None = None

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
        """What the table says of a training sample, in a line; None of images."""
        if self.columns is None:
            return None
        (position,) = self.train.positions([sample_id]).tolist()
        row = self.columns.row(self.train.images[position])
        said = [f"{_short(name)} {_short(value)}" for name, value in row.items()][:SHOWN]
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


def _short(text: str) -> str:
    """A text of the user's own, without the breaks and the length that it may have."""
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


Samples = tuple[Tensor, Tensor]  # (N, C, H, W) uint8 from 0 to 255 and (N,) int64, in file order


@dataclass(frozen=True)
class Pictures:
    """All samples of a data set's own training and test files, and the names of its classes.

    paths: of the files of the training samples, where each has its own.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    paths: tuple[str, ...] | None = None

    def split(self, name: str, drawn: Tensor, held_out: Tensor | None = None) -> Dataset:
        """The data set of the training samples at `drawn` and the test samples at `held_out`, or
        all of these."""
        held_out = torch.arange(len(self.test[1])) if held_out is None else held_out
        train = Split.of(*self.train, drawn, self.paths)
        test = Split.of(*self.test, held_out)
        return Dataset(name, train, test, self.classes, white=255)


def own_name(kind: str, name: str) -> str:
    """What a data set of the user's own is called, in names and paths too."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def is_a_dataset(dataset: Dataset) -> None:
    """Raise AssertionError where images, labels and ids are not what a Dataset says."""
    hold(isinstance(dataset, Dataset), f"it gives a {type(dataset).__name__}, not a Dataset")
    shapes = [_shape(dataset, part) for part in (dataset.train, dataset.test)]
    hold(shapes[0] == shapes[1], f"training and test images have shapes {shapes}")
    learned = set(dataset.train.labels.tolist())
    hold(len(learned) >= 2, f"{dataset.name} has training samples of {len(learned)} classes")
    unknown = set(dataset.test.labels.tolist()) - learned
    hold(not unknown, f"{dataset.name} has the classes {unknown} in the test set only")
    hold(1 <= dataset.white <= 255, f"{dataset.name} has {dataset.white} as its white")


def _shape(dataset: Dataset, split: Split) -> tuple[int, ...]:
    """The shape of an image of a split, which is checked."""
    images, labels, ids, name = split.images, split.labels, split.ids, dataset.name
    hold(images.dtype == torch.uint8, f"the images of {name} are {images.dtype}, not uint8")
    hold(images.ndim == 4, f"the images of {name} are not (N, C, H, W): {tuple(images.shape)}")
    for part, values in (("labels", labels), ("ids", ids)):
        hold(values.dtype == torch.int64, f"the {part} of {name} are {values.dtype}, not int64")
        hold(values.shape == (len(images),), f"the {part} of {name} are not one for each image")
    hold(len(images) >= 1, f"{name} has a split without samples")
    in_range = labels.min() >= 0 and labels.max() < len(dataset.classes)
    hold(in_range, f"{name} has {len(dataset.classes)} classes and other labels")
    hold((ids.diff() > 0).all(), f"the ids of {name} are not ascending")
    hold(ids[0] >= 0 and ids[-1] < MOST, f"the ids of {name} are not from 0 to {MOST - 1}")
    hold(images.max() <= dataset.white, f"{name} has pixels above its white, {dataset.white}")
    return tuple(images.shape[1:])
