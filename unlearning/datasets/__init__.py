"""Data sets by name, and those that lie at a path: one module each.

A module that sets `DATASET`, a function of a Source, has a data set of the module's name (with `-`
for `_`). One that sets `READER`, a function of a path and a Source, has those of the user's own,
`reader:PATH`. Other people's come by the entry points `indelible.datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearning.errors import UserError
from unlearning.registry import MODULE, Registry

__all__ = [
    "AS_IT_IS",
    "REGISTRY",
    "Dataset",
    "Source",
    "Split",
    "described",
    "load",
    "load_described",
    "names",
    "provider",
]


if TYPE_CHECKING:
    from unlearning.dataset import Dataset, Split
else:

    def __getattr__(name: str) -> Any:
        """`Dataset` and `Split`: with torch, which listing names does not need."""
        if name not in ("Dataset", "Split"):
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        from unlearning import dataset

        return getattr(dataset, name)


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how much of it is taken.

    data_dir: the folder of torchvision's data sets. download: whether to fetch them if they are
    missing. train_samples, test_samples: how many to draw of the training split and of the test
    set, all if None. image_size: pixels to resize the sides of a folder's images to, as they are
    if None. label, split_column: of a table, the columns with the class, and with `train` or
    `test`; a fifth is for test if that is None.
    """

    data_dir: Path = Path("data")
    download: bool = False
    train_samples: int | None = None
    test_samples: int | None = None
    image_size: int | None = None
    label: str | None = None
    split_column: str | None = None

    def __post_init__(self) -> None:
        for option, count in (("train", self.train_samples), ("test", self.test_samples)):
            if count is not None and count < 2:
                raise UserError(f"--{option}-samples {count} is too few: give 2 or more")
        if self.image_size is not None and self.image_size < 1:
            raise UserError(f"--image-size {self.image_size} is too small: give 1 or more")


AS_IT_IS = Source()
TABLE = "table"  # the reader of what is no image


def _check(load: Callable[[Source], Dataset]) -> None:
    if not callable(load):
        raise TypeError(f"a {type(load).__name__} is no function of a Source")


REGISTRY: Registry[Callable[[Source], Dataset]] = Registry(
    "data set",
    __name__,
    "DATASET",
    group="indelible.datasets",
    check=_check,
    hyphens=True,
    otherwise=", or folder:PATH for images in PATH/train/CLASS and PATH/test/CLASS, or npz:PATH "
    "for numpy's arrays images and labels, or table:PATH for rows of Parquet or CSV",
)
READERS: Registry[Callable[[str, Source], Dataset]] = Registry(
    "kind of data set", __name__, "READER"
)

names, provider = REGISTRY.names, REGISTRY.provider


def load(name: str, source: Source = AS_IT_IS) -> Dataset:
    """The data set of that name, or that at a path for `folder:PATH` and others of READERS.

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
    kind, colon, path = name.partition(":")
    if colon and kind in READERS.names():
        if kind != TABLE:
            _refuse_columns(name, source)
        return READERS.get(kind)(path, source)
    make = REGISTRY.get(name)
    if source.image_size is not None:
        raise image_size_refused(name)
    _refuse_columns(name, source)
    with REGISTRY.by(name):
        dataset = make(source)
    if not REGISTRY.is_ours(name):
        _check_others(name, dataset)
    return dataset


def image_size_refused(name: str) -> UserError:
    """The user's mistake of resizing what is as it is."""
    return UserError(
        f"--image-size is for a data set folder:PATH: the images of {name} stay as they are"
    )


def _refuse_columns(name: str, source: Source) -> None:
    """Raise UserError where columns are named of what is no table."""
    for option, column in (("--label", source.label), ("--split-column", source.split_column)):
        if column is not None:
            raise UserError(f"{option} is for a data set table:PATH: leave it out for {name}")


def _check_others(name: str, dataset: Dataset) -> None:
    """Raise UserError where what is not ours is no data set, or has a name that it may not have."""
    from unlearning.dataset import is_a_dataset

    whose = f"data set '{name}' of {provider(name)}" if provider(name) else f"data set '{name}'"
    try:
        is_a_dataset(dataset)
    except AssertionError as error:
        raise UserError(f"{whose} cannot be used: {error}") from error
    taken = name.startswith(MODULE) and dataset.name in names()
    if taken or not (dataset.name == name or name.startswith(MODULE)):
        raise UserError(
            f"{whose} calls itself '{dataset.name}': it takes "
            f"{'another name, which is not taken' if taken else 'the name of its entry point'}"
        )


def described(name: str, source: Source = AS_IT_IS) -> str:
    """How to load a data set again, on any machine that has it: one line of JSON."""
    kind, colon, path = name.partition(":")
    if colon and not name.startswith(MODULE):
        name = f"{kind}:{Path(path).expanduser().absolute()}"
    parts = {
        "name": name,
        "train_samples": source.train_samples,
        "test_samples": source.test_samples,
        "image_size": source.image_size,
        "label": source.label,
        "split_column": source.split_column,
    }
    return json.dumps({key: value for key, value in parts.items() if value is not None})


def load_described(text: str, data_dir: Path = AS_IT_IS.data_dir) -> Dataset:
    """The data set that `described` tells of. Raises UserError as `load` does."""
    parts = json.loads(text)
    return load(parts.pop("name"), Source(data_dir, **parts))
