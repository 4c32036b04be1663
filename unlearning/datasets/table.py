"""Rows of a table of the user's own, PATH.parquet or PATH.csv, as samples for a perceptron."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.dataset import Columns, Dataset, Split, own_name
from unlearning.datasets import Source, image_size_refused
from unlearning.errors import UserError

HELD_OUT = 5  # one row in so many is for test where no column says which
MOST_CATEGORIES = 100  # in a column of texts
PARQUET = b"PAR1"  # begins a file
LARGEST_BLOCK = 2**31 - 1  # bytes
NAMED = 12  # columns that a message names
PARTS = ("train", "test")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One number of each row: a column of numbers, or whether a text is a certain one.

    values: (N,) float64, finite. category: that text.
    """

    name: str
    values: Numbers
    category: str | None = None


def table(path: str, source: Source) -> Dataset:
    """The data set in a file of Parquet or CSV. Raises UserError where it is none.

    A row is an image of the shape (F, 1, 1), float32. Numbers and booleans are a feature each, and
    a column of texts one for each text that it has. Each is standardised by the mean and standard
    deviation that it has in the whole training part; one that is constant there by 1. The sums are
    exactly rounded, so that any machine comes to the same bits.
    """
    if source.image_size is not None:
        raise image_size_refused(f"table:{path}")
    if not path:
        raise UserError("data set 'table:' names no file: give its path, table:PATH")
    where = Path(path).expanduser().absolute()
    columns = _read(where)
    label, features = _chosen(where, columns, source)
    drawn, held_out = _parts(where, columns, source, len(columns[label]))
    labels, classes = _labels(columns[label], f"column '{label}' of {where}", drawn, held_out)
    found = [one for name in features for one in _features(columns[name], name, where)]
    rows, described = _standardised(found, drawn.numpy(), where)
    images = torch.from_numpy(rows)[:, :, None, None]
    name = own_name("table", where.resolve().stem)
    train, test = (Split.of(images, labels, part) for part in (drawn, held_out))
    return Dataset(name, train, test, classes, white=1, columns=described)


def _read(path: Path) -> dict[str, Any]:
    """The columns of the file by name, as pyarrow's."""
    arrow = _pyarrow(path)
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET)) == PARQUET
        if is_parquet or path.suffix.lower() in (".parquet", ".pq"):
            found = arrow.parquet.ParquetFile(path).read()
        else:
            found = _read_csv(arrow, path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except Exception as error:  # whatever pyarrow and the system say of what makes no sense
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read as Parquet or CSV: {said}") from error
    if not found.num_rows:
        raise UserError(f"{path} has no rows")
    names = found.schema.names
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{path} has {count} columns '{name}': give each its own name")
        if not name.strip() or name.startswith("__index_level_"):
            raise UserError(
                f"{path} has a column '{name}', as pandas writes its index: write the file with "
                "index=False, or name the column"
            )
    return dict(zip(names, found.columns, strict=True))


def _read_csv(arrow: Any, path: Path) -> Any:
    """A CSV file with a header; what is empty, NA, nan or null and not quoted is missing."""
    # In one block, so that all rows decide on the types, but for files beyond what one may have.
    whole = min(max(path.stat().st_size, 1), LARGEST_BLOCK)
    return arrow.csv.read_csv(
        path,
        read_options=arrow.csv.ReadOptions(block_size=whole),
        convert_options=arrow.csv.ConvertOptions(
            strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _pyarrow(path: Path) -> ModuleType:
    try:
        import pyarrow as arrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"data set 'table:{path}' needs pyarrow: pip install pyarrow") from error
    found: ModuleType = arrow
    return found


def _chosen(path: Path, columns: dict[str, Any], source: Source) -> tuple[str, list[str]]:
    """The label's column, and those of the features."""
    named = ", ".join(list(columns)[:NAMED]) + (", ..." if len(columns) > NAMED else "")
    if source.label is None:
        raise UserError(f"data set 'table:{path}' needs --label COLUMN, one of {named}")
    for option, name in (("--label", source.label), ("--split-column", source.split_column)):
        if name is not None and name not in columns:
            raise UserError(f"{option} is '{name}', which {path} has not: choose one of {named}")
    if source.label == source.split_column:
        raise UserError(f"--label and --split-column are both '{source.label}': name two columns")
    features = [name for name in columns if name not in (source.label, source.split_column)]
    if not features:
        raise UserError(f"{path} has no column but the label's: it takes features beside it")
    for name in features:
        if _is_text(columns[name]) and {*columns[name].unique().to_pylist()} == {*PARTS}:
            raise UserError(
                f"column '{name}' of {path} holds train and test: give --split-column {name}, or "
                "leave the column out of the file"
            )
    return source.label, features


def _parts(path: Path, columns: dict[str, Any], source: Source, rows: int) -> tuple[Tensor, Tensor]:
    """The positions of the training rows and of the test rows, which may be a fifth drawn once."""
    if source.split_column is None:
        order = torch.from_numpy(np.random.default_rng(0).permutation(rows))
        held_out, drawn = order.tensor_split([rows // HELD_OUT])
        return drawn, held_out
    whose = f"column '{source.split_column}' of {path}"
    values = _present(columns[source.split_column], whose).to_pylist()
    if others := [value for value in dict.fromkeys(values) if value not in PARTS]:
        raise UserError(f"{whose} has '{others[0]}': --split-column takes train and test")
    part = np.array(values, dtype=object)
    drawn, held_out = (torch.from_numpy(np.flatnonzero(part == each)) for each in PARTS)
    return drawn, held_out


def _labels(
    column: Any, whose: str, drawn: Tensor, held_out: Tensor
) -> tuple[Tensor, tuple[str, ...]]:
    """The class of each row, (N,) int64, and the classes' names: numbers or texts in order."""
    column = _present(column, whose)
    if _is_text(column):
        values = np.array(column.to_pylist(), dtype=object)
    elif (numbers := _numbers(column)) is not None:
        if not np.array_equal(numbers, np.rint(numbers)):
            raise UserError(f"{whose} has fractions: a label is a whole number or text")
        if not (np.abs(numbers) < 2**53).all():
            raise UserError(f"{whose} has numbers from 2^53: write such labels as text")
        values = numbers.astype(np.int64)
    else:
        raise UserError(f"{whose} is {column.type}: a label is a whole number or text")
    classes = sorted(set(values[drawn.numpy()].tolist()))
    if len(classes) < 2 or not len(held_out):
        raise UserError(
            f"{whose} gives {len(drawn)} training samples of {len(classes)} classes and "
            f"{len(held_out)} test samples: it takes 2 classes and a test sample at least"
        )
    number = {value: place for place, value in enumerate(classes)}
    for value in values[held_out.numpy()].tolist():
        if value not in number:
            raise UserError(f"the label {value} in {whose} is in the test samples only")
    labels = torch.tensor([number[value] for value in values.tolist()], dtype=torch.int64)
    return labels, tuple(map(str, classes))


def _features(column: Any, name: str, path: Path) -> list[Feature]:
    """What a column gives of each row."""
    whose = f"column '{name}' of {path}"
    column = _present(column, whose)
    if (numbers := _numbers(column)) is not None:
        return [Feature(name, numbers)]
    if not _is_text(column):
        raise UserError(
            f"{whose} is {column.type}: numbers, booleans and texts are features; convert it, or "
            "leave it out of the file"
        )
    texts = np.array(column.to_pylist(), dtype=object)
    categories = sorted(set(texts.tolist()))
    if len(categories) > MOST_CATEGORIES:
        raise UserError(
            f"{whose} has {len(categories)} different texts: it takes {MOST_CATEGORIES} at most, a "
            "feature each; leave it out of the file, or write fewer"
        )
    return [Feature(name, (texts == each).astype(np.float64), each) for each in categories]


def _present(column: Any, whose: str) -> Any:
    """The column, without an encoding of its own. Raises UserError for missing values."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    missing = column.null_count
    if types.is_floating(column.type):
        missing += int(np.isnan(column.drop_null().to_numpy().astype(np.float64)).sum())
    if missing:
        raise UserError(
            f"{whose} misses {missing} of {len(column)} values: fill them in, or leave the rows or "
            "the column out of the file"
        )
    return column


def _is_text(column: Any) -> bool:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _numbers(column: Any) -> Numbers | None:
    """Numbers and booleans as float64; None for all else."""
    from pyarrow import float64, types

    kind = column.type
    if types.is_decimal(kind):
        column = column.cast(float64())
    elif not any(is_it(kind) for is_it in (types.is_integer, types.is_floating, types.is_boolean)):
        return None
    numbers: Numbers = column.to_numpy().astype(np.float64)
    return numbers


def _standardised(
    features: Sequence[Feature], drawn: NDArray[np.int64], path: Path
) -> tuple[NDArray[np.float32], Columns]:
    """The features of all rows, (N, F), and what they were before."""
    rows = np.empty((len(features[0].values), len(features)), dtype=np.float32)
    means, scales = [], []
    for place, feature in enumerate(features):
        own = feature.values[drawn]
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = _moments(own)
            rows[:, place] = (feature.values - mean) / scale
        if not np.isfinite(rows[:, place]).all():
            raise UserError(
                f"column '{feature.name}' of {path} has infinite values, or some that are too "
                "large to be standardised"
            )
        means.append(mean)
        scales.append(scale)
    names, categories = zip(*((one.name, one.category) for one in features), strict=True)
    return rows, Columns(names, categories, tuple(means), tuple(scales))


def _moments(values: Numbers) -> tuple[float, float]:
    """Mean and standard deviation (over N), of exactly rounded sums; 1 for what is constant."""
    if values.min() == values.max():
        return float(values[0]), 1.0
    span = float(values.max() - values.min())
    try:
        mean = math.fsum(values.tolist()) / len(values)
        # In shares of the span, whose squares are neither too large nor too small.
        squares = ((values - mean) / span) ** 2
        scale = span * math.sqrt(math.fsum(squares.tolist()) / len(values))
    except (OverflowError, ValueError):  # sums of what is infinite, or nearly
        return math.nan, math.nan
    return (mean, scale) if math.isfinite(span) else (math.nan, math.nan)


READER = table
