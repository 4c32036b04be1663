"""Data sets by name, and those that lie at a path.

A module sets `DATASET` to a function of a Source, whose data set has the module's name, or to
several by name. One that sets `READER`, a function of a path and a Source, has those of the user's
own, `reader:PATH`. Other people's come by the entry points `indelible.datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearning.errors import UserError, words_of
from unlearning.registry import MODULE, Registry

if TYPE_CHECKING:
    from unlearning.dataset import Dataset as Dataset  # as part of this module's interface
    from unlearning.dataset import Split


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
        for option, least in (("train_samples", 2), ("test_samples", 2), ("image_size", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise UserError(f"{_option(option)} {value} is too few: give {least} or more")


AS_IT_IS = Source()
TABLE = "table"  # the reader of what is no image
ONLY = {"image_size": "folder", "label": TABLE, "split_column": TABLE}  # of one reader each


REGISTRY: Registry[Callable[[Source], Dataset]] = Registry(
    "data set",
    __name__,
    "DATASET",
    group="indelible.datasets",
    otherwise=", or folder:PATH for images in PATH/train/CLASS and PATH/test/CLASS, or npz:PATH "
    "for numpy's arrays images and labels, or table:PATH for rows of Parquet or CSV",
)
READERS: Registry[Callable[[Path, Source], Dataset]] = Registry(
    "kind of data set", __name__, "READER"
)

names, provider = REGISTRY.names, REGISTRY.provider


def load(name: str, source: Source = AS_IT_IS) -> Dataset:
    """The data set of that name, or that at a path for `folder:PATH` and others of READERS.

    Raises UserError where there is none, it cannot be read, or it has too few samples.
    """
    from unlearning.dataset import checked

    kind, _, path = name.partition(":")
    for option, only in ONLY.items():
        if getattr(source, option) is not None and kind != only:
            raise UserError(f"{_option(option)} is for a data set {only}:PATH: leave it out here")
    who = provider(name)
    whose = f"data set '{name}'{f' of {who}' if who else ''}"
    if READERS.is_ours(kind):
        try:
            dataset = READERS.get(kind)(Path(path).expanduser().absolute(), source)
        except Exception as error:  # whatever Pillow, numpy and pandas say of a user's file
            raise UserError(f"{whose} cannot be read: {words_of(error)}") from error
    else:
        make = REGISTRY.get(name)
        with REGISTRY.by(name):
            dataset = make(source)
    checked(dataset, whose)
    is_taken = dataset.name in names() if name.startswith(MODULE) else dataset.name != name
    if is_taken and not READERS.is_ours(kind):
        raise UserError(f"{whose} calls itself '{dataset.name}', which is the name of another")
    for part in ("train", "test"):
        split: Split = getattr(dataset, part)
        count: int | None = getattr(source, f"{part}_samples")
        if count is not None and count > len(split):
            raise UserError(
                f"{_option(f'{part}_samples')} {count} is too many: {dataset.name} has "
                f"{len(split)} {part} samples"
            )
        drawn: dict[str, Any] = {} if count is None else {part: split.draw(count)}
        dataset = replace(dataset, **drawn)
    return dataset


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def described(name: str, source: Source = AS_IT_IS) -> str:
    """How to load a data set again, on any machine that has it: one line of JSON."""
    kind, colon, path = name.partition(":")
    if colon and not name.startswith(MODULE):
        name = f"{kind}:{Path(path).expanduser().absolute()}"
    parts = {"name": name} | asdict(source)
    del parts["data_dir"], parts["download"]
    return json.dumps({key: value for key, value in parts.items() if value is not None})


def load_described(text: str, data_dir: Path = AS_IT_IS.data_dir) -> Dataset:
    """The data set that `described` tells of. Raises UserError as `load` does."""
    parts = json.loads(text)
    return load(parts.pop("name"), Source(data_dir, **parts))
