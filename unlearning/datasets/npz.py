"""Images and labels from one file of numpy's, PATH.npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from unlearning.dataset import Dataset, Split, held_out, numbered, own_name
from unlearning.datasets import Source
from unlearning.given import CHANNELS, pixels, whole_numbers


def npz(path: Path, source: Source) -> Dataset:
    """The data set in a file of numpy's.

    `images` and `labels` are the training samples, and `test_images` and `test_labels` the test
    set. Without these a fifth of the samples, drawn once, is held out.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels; uint8 from 0 to 255, or
    floats from 0 to 1, which are rounded to 255ths. Labels are (N,) whole numbers of any kind; the
    distinct ones in ascending order are the classes. Where the file has the names of its classes in
    `classes`, labels are positions in these. Raises UserError or ValueError for all else.
    """
    with path.open("rb") as content, NpzFile(content, allow_pickle=False) as file:
        arrays = {name: np.asarray(file[name]) for name in file.files}
    has_test = "test_images" in arrays
    if not {"images", "labels"} <= arrays.keys() or has_test != ("test_labels" in arrays):
        raise ValueError(
            f"it holds {', '.join(arrays) or 'nothing'}: it takes the arrays images and labels, "
            "and may have test_images and test_labels, and classes"
        )
    kinds = ("", "test_") if has_test else ("",)
    images = [pixels(_channels_first(arrays[f"{k}images"]), f"its {k}images") for k in kinds]
    labels = [whole_numbers(arrays[f"{kind}labels"], f"its {kind}labels") for kind in kinds]
    size, every = len(labels[0]), torch.cat(labels)
    train, test = torch.arange(len(every)).tensor_split([size]) if has_test else held_out(size)
    classes: tuple[str, ...] = tuple(arrays.get("classes", np.empty(0)).tolist())
    if not classes or not all(isinstance(name, str) for name in classes):
        classes, every = numbered(every.numpy(), train, test)
    elif len({*classes}) < len(classes):
        raise ValueError(f"it gives two of its classes one name: {', '.join(classes)}")
    if has_test:
        splits = Split.of(images[0], every[:size]), Split.of(images[1], every[size:])
    else:
        splits = Split.of(images[0], every, train), Split.of(images[0], every, test)
    return Dataset(own_name("npz", path.resolve().stem), *splits, classes, white=255)


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """Images as (N, C, H, W) where they are (N, H, W) or (N, H, W, C)."""
    if images.ndim == 3:
        return images[:, None]
    is_last = images.ndim == 4 and images.shape[3] in CHANNELS and images.shape[1] not in CHANNELS
    return images.transpose(0, 3, 1, 2) if is_last else images


READER = npz
