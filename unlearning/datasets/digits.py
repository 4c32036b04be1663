"""UCI handwritten digits, from scikit-learn's files."""

from __future__ import annotations

import numpy as np
import torch

from unlearning.dataset import Dataset, Split
from unlearning.datasets import Source


def digits(source: Source) -> Dataset:
    """UCI handwritten digits: 1,797 grey images of 8x8 pixels with values 0 to 16.

    1,000 for training and 797 for test, drawn once at random: the file is ordered by writer, and
    a split in its order would make the test set one of unseen handwriting.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(found.target.astype(np.int64))
    train, test = torch.from_numpy(np.random.default_rng(0).permutation(len(labels))).split(1000)
    splits = Split.of(images, labels, train), Split.of(images, labels, test)
    return Dataset("digits", *splits, tuple("0123456789"), white=16)


DATASET = digits
