"""Whatever holds numbers, as float64 numpy or as Python's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Numbers = Tensor | NDArray[Any] | Sequence[float] | Sequence[Sequence[float]]
Labels = Tensor | NDArray[Any] | Sequence[int]
Maybe = float | None


def as_float64(values: Numbers) -> Array:
    """Any array of numbers as float64 numpy."""
    if isinstance(values, Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def as_ints(values: Labels) -> list[int]:
    """Class labels as a list of Python integers."""
    return [int(value) for value in values]


def squared_distance(a: Array, b: Array) -> float:
    """||a - b||^2."""
    return sum(float(x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean_row_distance(a: Array, b: Array) -> float:
    """Mean over the rows of the L2 distance."""
    distances = [float(np.sqrt(squared_distance(x, y))) for x, y in zip(a, b, strict=True)]
    return sum(distances) / len(distances)
