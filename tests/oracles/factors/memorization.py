"""Memorization over many models, by counting."""

import math

import numpy as np
from numpy.typing import NDArray


def memorization(correct: NDArray[np.bool_], included: NDArray[np.bool_]) -> list[float]:
    """Per sample: accuracy of the models that had it minus accuracy of those that had not.

    Both arrays are (models, samples); nan where a sample was in all models or in none.
    """
    models, samples = correct.shape
    values = []
    for sample in range(samples):
        inside = [float(correct[m, sample]) for m in range(models) if included[m, sample]]
        outside = [float(correct[m, sample]) for m in range(models) if not included[m, sample]]
        if inside and outside:
            values.append(sum(inside) / len(inside) - sum(outside) / len(outside))
        else:
            values.append(math.nan)
    return values
