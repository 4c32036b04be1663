"""UCI handwritten digits, from scikit-learn's files."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from unlearning.dataset import Dataset, Split
from unlearning.datasets import Source


def _scikit_learn_file(*parts: str) -> Path:
    # Located without importing scikit-learn, which would cost a second.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def digits(source: Source) -> Dataset:
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


DATASET = digits
