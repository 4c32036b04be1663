"""Rows of a table of the user's own, PATH.parquet or PATH.csv, as samples for a perceptron."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.dataset import Columns, Dataset, Split, held_out, numbered, own_name
from unlearning.datasets import Source
from unlearning.errors import UserError, words_of

MOST_CATEGORIES = 100  # in a column of texts
PARQUET = b"PAR1"  # begins a file
LARGEST_BLOCK = 2**31 - 1  # bytes
PARTS = ("train", "test")

Numbers = NDArray[np.float64]


def table(path: Path, source: Source) -> Dataset:
    """The data set in a file of Parquet or CSV. Raises UserError where it is none.

    A row is an image of the shape (F, 1, 1), float32. Numbers and booleans are a feature each, and
    a column of texts one for each text that it has. Each is standardised by the mean and standard
    deviation that it has in the whole training part; one that is constant there by 1. The sums are
    exactly rounded, so that any machine comes to the same bits.
    """
    columns = _read(path)
    label, split = source.label, source.split_column
    for option, name in (("--label", label), ("--split-column", split)):
        if name not in columns and not (name is None and option == "--split-column"):
            given = "is not given" if name is None else f"'{name}' is not in {path}"
            raise UserError(f"{option} {given}: choose one of {', '.join(columns)}")
    assert label is not None
    features = [name for name in columns if name not in (label, split)]
    if not features or label == split:
        raise UserError(f"{path} needs a column of the label, and others for features and split")
    drawn, test = _parts(columns, split, path)
    classes, labels = numbered(_labels(columns[label], label, path), drawn, test, str(path))
    rows, described = _standardised(
        [one for name in features for one in _features(columns[name], name, path)], drawn, path
    )
    train, held = (Split.of(rows[:, :, None, None], labels, part) for part in (drawn, test))
    name = own_name("table", path.resolve().stem)
    return Dataset(name, train, held, classes, white=1, columns=described)


def _read(path: Path) -> dict[str, Any]:
    """The columns of the file by name, as pyarrow's."""
    import pyarrow.csv
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET)) == PARQUET
        if is_parquet or path.suffix.lower() in (".parquet", ".pq"):
            found = pyarrow.parquet.ParquetFile(path).read()
        else:
            # In one block, so that all rows decide on the types, but for files beyond a block. What
            # is empty, NA, nan or null and not quoted is missing.
            size = min(max(path.stat().st_size, 1), LARGEST_BLOCK)
            found = pyarrow.csv.read_csv(
                path,
                read_options=pyarrow.csv.ReadOptions(block_size=size),
                convert_options=pyarrow.csv.ConvertOptions(
                    strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except Exception as error:  # whatever pyarrow and the system say of what makes no sense
        raise UserError(f"{path} cannot be read as Parquet or CSV: {words_of(error)}") from error
    names = found.schema.names
    if not found.num_rows or len({*names}) < len(names):
        raise UserError(f"{path} has no rows, or two columns of one name: {', '.join(names)}")
    for name in names:
        if not name.strip() or name.startswith("__index_level_"):
            raise UserError(
                f"{path} has a column '{name}', as pandas writes its index: write the file with "
                "index=False, or name the column"
            )
    return dict(zip(names, found.columns, strict=True))


def _parts(columns: dict[str, Any], split: str | None, path: Path) -> tuple[Tensor, Tensor]:
    """The positions of the training rows and of the test rows."""
    if split is None:
        drawn, test = held_out(len(next(iter(columns.values()))))
    else:
        part = _values(columns[split], split, path)
        if others := {*part.tolist()} - {*PARTS}:
            said = f"column '{split}' of {path} has '{min(map(str, others))}'"
            raise UserError(f"{said}: --split-column takes train and test")
        drawn, test = (torch.from_numpy(np.flatnonzero(part == each)) for each in PARTS)
    if not len(drawn) or not len(test):
        raise UserError(f"{path} has {len(drawn)} training rows and {len(test)} test rows")
    return drawn, test


def _values(column: Any, name: str, path: Path) -> NDArray[Any]:
    """What a column has in each row: float64 of numbers and booleans, objects of texts.

    Raises UserError for other types, and for missing values.
    """
    from pyarrow import float64, types

    whose = f"column '{name}' of {path}"
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_decimal(column.type):
        column = column.cast(float64())
    kind = column.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    taken = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    if not is_text and not any(is_it(kind) for is_it in taken):
        raise UserError(
            f"{whose} is {kind}: it takes numbers, booleans and texts; convert it, or leave it "
            "out of the file"
        )
    values: NDArray[Any] = column.to_numpy()
    missing = column.null_count
    if not missing and not is_text:
        values = values.astype(np.float64)
        missing = int(np.isnan(values).sum())
    if missing:
        raise UserError(
            f"{whose} misses {missing} of {len(column)} values: fill them in, or leave the rows or "
            "the column out of the file"
        )
    return values.astype(object) if is_text else values


def _labels(column: Any, name: str, path: Path) -> NDArray[Any]:
    """The class of each row: whole numbers, (N,) int64, or texts."""
    values = _values(column, name, path)
    if values.dtype == object:
        return values
    if not np.array_equal(values, np.rint(values)) or not (np.abs(values) < 2**53).all():
        raise UserError(
            f"column '{name}' of {path} has fractions or numbers from 2^53: a label is a whole "
            "number or text"
        )
    return values.astype(np.int64)


def _features(column: Any, name: str, path: Path) -> list[tuple[str, str | None, Numbers]]:
    """What a column gives of each row: its name, a text or None, and (N,) float64.

    That is a number, or whether the row has that text.
    """
    values = _values(column, name, path)
    if values.dtype != object:
        return [(name, None, values)]
    categories = sorted({*values.tolist()})
    if {*categories} == {*PARTS}:
        raise UserError(
            f"column '{name}' of {path} holds train and test: give --split-column {name}, or leave "
            "the column out of the file"
        )
    if len(categories) > MOST_CATEGORIES:
        raise UserError(
            f"column '{name}' of {path} has {len(categories)} different texts: it takes "
            f"{MOST_CATEGORIES} at most, a feature each; leave it out of the file, or write fewer"
        )
    return [(name, each, (values == each).astype(np.float64)) for each in categories]


def _standardised(
    features: list[tuple[str, str | None, Numbers]], drawn: Tensor, path: Path
) -> tuple[Tensor, Columns]:
    """The features of all rows, (N, F) float32, and what they were before."""
    rows = np.empty((len(features[0][2]), len(features)), dtype=np.float32)
    means, scales = [], []
    for place, (name, _, values) in enumerate(features):
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = _moments(values[drawn.numpy()])
            rows[:, place] = (values - mean) / scale
        if not np.isfinite(rows[:, place]).all():
            raise UserError(
                f"column '{name}' of {path} has infinite values, or some that are too large to be "
                "standardised"
            )
        means.append(mean)
        scales.append(scale)
    names, categories, _ = zip(*features, strict=True)
    return torch.from_numpy(rows), Columns(names, categories, tuple(means), tuple(scales))


def _moments(values: Numbers) -> tuple[float, float]:
    """Mean and standard deviation (over N), of exactly rounded sums; 1 for what is constant."""
    span = float(values.max() - values.min())
    if span == 0 or not math.isfinite(span):
        return float(values[0]), 1.0 if span == 0 else math.nan
    mean = math.fsum(values.tolist()) / len(values)
    # In shares of the span, whose squares are neither too large nor too small.
    squares = ((values - mean) / span) ** 2
    return mean, span * math.sqrt(math.fsum(squares.tolist()) / len(values))


READER = table
