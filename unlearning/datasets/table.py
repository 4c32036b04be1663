"""Rows of a table of the user's own, PATH.parquet or PATH.csv, as samples for a perceptron."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.dataset import Dataset, Split, held_out, numbered, own_name
from unlearning.datasets import Source

MOST_CATEGORIES = 100  # in a column of texts
PARTS = ("train", "test")
NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")

Numbers = NDArray[np.float64]


def table(path: Path, source: Source) -> Dataset:
    """The data set in a file of Parquet or CSV. Raises ValueError where it is none.

    A row is an image of the shape (F, 1, 1), float32. Numbers and booleans are a feature each, and
    a column of texts one for each text that it has. Each is standardised by the mean and standard
    deviation that it has in the whole training part; one that is constant there by 1. The sums are
    exactly rounded, so that any machine comes to the same bits.
    """
    frame = _read(path)
    for option, name in {"--label": source.label, "--split-column": source.split_column}.items():
        if name not in frame and not (name is None and option == "--split-column"):
            given = "is not given" if name is None else f"'{name}' is no column"
            raise ValueError(f"{option} {given}: choose one of {', '.join(map(str, frame))}")
    rows = frame.drop(columns=[source.label, *filter(None, [source.split_column])])
    if not len(rows.columns) or source.label == source.split_column:
        raise ValueError("it needs a column of the label, and others for features and split")
    drawn, test = held_out(len(frame))
    if source.split_column is not None:
        part = _values(frame[source.split_column])
        if others := {*part.tolist()} - {*PARTS}:
            raise ValueError(
                f"column '{source.split_column}' has '{min(map(str, others))}': --split-column "
                "takes train and test"
            )
        drawn, test = (torch.from_numpy(np.flatnonzero(part == each)) for each in PARTS)
    if not len(drawn) or not len(test):
        raise ValueError(f"it has {len(drawn)} training rows and {len(test)} test rows")
    labels = _values(frame[source.label])
    if labels.dtype != object:
        if not (np.abs(labels) < 2**53).all() or (labels % 1).any():  # else float64 joins some
            raise ValueError(
                f"column '{source.label}' has fractions, or numbers from 2^53 on: a label is a "
                "smaller whole number, or a text"
            )
        labels = labels.astype(np.int64)
    classes, numbers = numbered(labels, drawn, test)
    inputs, features = [], []
    for name, column in rows.items():
        for text, values in _features(column):
            found, mean, scale = _standardised(values, drawn, str(name))
            inputs.append(found)
            features.append({"column": str(name), "text": text, "mean": mean, "scale": scale})
    images = torch.from_numpy(np.stack(inputs, axis=1))[:, :, None, None]
    train, held = (Split.of(images, numbers, at) for at in (drawn, test))
    name = own_name("table", path.resolve().stem)
    return Dataset(name, train, held, classes, 1, rows, tuple(features))


def _read(path: Path) -> Any:
    """The file as a pandas.DataFrame."""
    from pyarrow import csv, parquet

    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        return parquet.read_table(path).to_pandas().reset_index(drop=True)
    found = csv.read_csv(
        path,
        # In one block, so that all rows decide on the types, but for files beyond a block.
        csv.ReadOptions(block_size=min(max(path.stat().st_size, 1), 2**31 - 1)),
        convert_options=csv.ConvertOptions(
            strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    names = found.column_names
    if "" in names or len({*names}) < len(names):
        raise ValueError(
            "two columns have one name, or one has none, as pandas writes its index: name them, or "
            "write the file with index=False"
        )
    return found.to_pandas()


def _values(column: Any) -> NDArray[Any]:
    """What a pandas.Series has in each row: float64 of numbers and booleans, objects of texts.

    Raises ValueError for other types, and for missing values.
    """
    from pandas.api.types import infer_dtype

    if column.dtype == "category":
        column = column.astype(column.cat.categories.dtype)
    kind, missing = infer_dtype(column, skipna=True), int(column.isna().sum())
    if kind != "string" and kind not in NUMBERS:
        raise ValueError(
            f"column '{column.name}' is {kind}: it takes numbers, booleans and texts; convert it, "
            "or leave it out of the file"
        )
    if missing:
        raise ValueError(
            f"column '{column.name}' misses {missing} of {len(column)} values: fill them in, or "
            "leave the rows or the column out of the file"
        )
    return np.asarray(column, dtype=object if kind == "string" else np.float64)


def _features(column: Any) -> list[tuple[str | None, Numbers]]:
    """A column's numbers, (N,); of texts each text, with whether a row has it."""
    values = _values(column)
    if values.dtype != object:
        return [(None, values)]
    categories = sorted({*values.tolist()})
    if {*categories} == {*PARTS}:
        raise ValueError(
            f"column '{column.name}' holds train and test: give --split-column {column.name}, or "
            "leave the column out of the file"
        )
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"column '{column.name}' has {len(categories)} different texts: it takes "
            f"{MOST_CATEGORIES} at most, a feature each; leave it out of the file, or write fewer"
        )
    return [(each, (values == each).astype(np.float64)) for each in categories]


def _standardised(
    values: Numbers, drawn: Tensor, name: str
) -> tuple[NDArray[np.float32], float, float]:
    """By mean and standard deviation (over N) of the drawn rows, of exactly rounded sums, (N,).

    Mean and deviation, 1 where all are equal, stand beside.
    """
    own = values[drawn.numpy()]
    with np.errstate(over="ignore", invalid="ignore"):
        span, mean, scale = float(own.max() - own.min()), float(own[0]), 1.0
        if span and math.isfinite(span):
            mean = math.fsum(own.tolist()) / len(own)
            # In shares of the span, whose squares are neither too large nor too small.
            squares = ((own - mean) / span) ** 2
            scale = span * math.sqrt(math.fsum(squares.tolist()) / len(own))
        found: NDArray[np.float32] = ((values - mean) / scale).astype(np.float32)
    if not math.isfinite(span) or not np.isfinite(found).all():
        raise ValueError(f"column '{name}' has infinite values, or some that are too large")
    return found, mean, scale


READER = table
