"""Images and labels from one file of numpy's, PATH.npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from unlearning.dataset import Dataset, Pictures, own_name
from unlearning.datasets import Source, image_size_refused
from unlearning.errors import UserError

HELD_OUT = 5  # one sample in so many is for test where the file has no test set
CHANNELS = (1, 3)
LARGEST = np.iinfo(np.int64).max  # label
TAKEN = (
    "it takes the arrays images and labels, and may have test_images and test_labels, and classes"
)

Array = NDArray[np.generic]


def npz(path: str, source: Source) -> Dataset:
    """The data set in a file of numpy's. Raises UserError where it is none."""
    if source.image_size is not None:
        raise image_size_refused(f"npz:{path}")
    if not path:
        raise UserError("data set 'npz:' names no file: give its path, npz:PATH")
    where = Path(path).expanduser().absolute()
    found, drawn, held_out = read(where)
    return found.split(own_name("npz", where.resolve().stem), drawn, held_out)


def read(path: Path) -> tuple[Pictures, Tensor, Tensor | None]:
    """All samples of the file; the positions of the training split, and of the test split.

    `images` and `labels` are the training samples, and `test_images` and `test_labels` the test
    set. Without these a fifth of the samples, drawn once, is held out: then both parts of the
    pictures are the same samples, and the positions of the test split are given too.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels; uint8 from 0 to 255, or
    floats from 0 to 1, which are rounded to 255ths. Labels are (N,) whole numbers of any kind; the
    distinct ones in ascending order are the classes. Where the file has the names of its classes in
    `classes`, labels are positions in these. Raises UserError for all else.
    """
    arrays = _arrays(path)
    if not {"images", "labels"} <= arrays.keys():
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}: {TAKEN}")
    if ("test_images" in arrays) != ("test_labels" in arrays):
        raise UserError(f"{path} has test images or test labels, but not both: {TAKEN}")
    images, labels = _part(path, arrays, "")
    test_images, test_labels, drawn, held_out = images, labels, torch.arange(len(labels)), None
    if "test_images" in arrays:
        test_images, test_labels = _part(path, arrays, "test_")
    else:
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        held_out, drawn = order.tensor_split([len(labels) // HELD_OUT])
    shapes = [tuple(part.shape[1:]) for part in (images, test_images)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"images and test_images in {path} differ as (channels, height, width): {shapes[0]} "
            f"and {shapes[1]}"
        )
    tested = test_labels if held_out is None else test_labels[held_out]
    named = _names(path, arrays.get("classes"), (labels, tested))
    classes = labels[drawn].unique() if named is None else torch.arange(len(named))
    if len(classes) < 2 or len(tested) < 1:
        raise UserError(
            f"{path} has {len(drawn)} training samples of {len(classes)} classes and {len(tested)} "
            "test samples: it takes 2 classes and a test sample at least"
        )
    unknown = tested[~torch.isin(tested, classes)]
    if len(unknown):
        raise UserError(f"the label {unknown[0]} in {path} is in the test samples only")
    names = named or tuple(map(str, classes.tolist()))
    train = images, torch.searchsorted(classes, labels)
    test = test_images, torch.searchsorted(classes, test_labels)
    return Pictures(train, test, names), drawn, held_out


def _names(
    path: Path, classes: Array | None, labels: tuple[Tensor, Tensor]
) -> tuple[str, ...] | None:
    """The names of the classes, if the file has such texts.

    Raises UserError where two are alike, or labels are not positions in them.
    """
    if classes is None or classes.ndim != 1 or classes.dtype.kind != "U":
        return None
    if len({*classes.tolist()}) < len(classes):
        raise UserError(f"{path} gives two of its classes one name: {', '.join(classes.tolist())}")
    for some in labels:
        outside = some[(some < 0) | (some >= len(classes))]
        if len(outside):
            raise UserError(
                f"{path} has the label {outside[0]}, and names {len(classes)} classes: labels are "
                "positions in these, from 0"
            )
    return tuple(classes.tolist())


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as content, NpzFile(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except Exception as error:  # whatever zip, zlib and numpy say of bytes that make no sense
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read as numpy's .npz without pickles: {said}") from error


def _part(path: Path, arrays: dict[str, Array], prefix: str) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 and labels (N,) int64 as they are given."""
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    whose = f"{prefix}images in {path}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{prefix}labels in {path} have the shape {labels.shape} and type {labels.dtype}: they "
            "must be (N,) whole numbers"
        )
    if labels.size and labels.max() > LARGEST:  # which only uint64 has
        raise UserError(
            f"{prefix}labels in {path} go up to {labels.max()}: the largest that it takes is "
            f"{LARGEST}"
        )
    if images.ndim == 0 or images.size == 0 or len(images) != len(labels):
        raise UserError(
            f"{prefix}labels in {path} are {len(labels)}, for images of shape {images.shape}"
        )
    return _pixels(_channels_first(images, whose), whose), torch.from_numpy(labels.astype(np.int64))


def _channels_first(images: Array, whose: str) -> Array:
    shape = images.shape
    if len(shape) == 3:
        return images[:, None]
    first, last = (len(shape) == 4 and shape[axis] in CHANNELS for axis in (1, 3))
    if first and last:
        raise UserError(f"{whose} have the shape {shape}: channels may be first or last there")
    if not first and not last:
        raise UserError(
            f"{whose} have the shape {shape}: it takes (N, H, W), (N, H, W, C) or (N, C, H, W) "
            "with C of 1 or 3"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _pixels(images: Array, whose: str) -> Tensor:
    kind, (low, high) = images.dtype, (0, 0)
    if kind.kind in "fiu":
        low, high = images.min().item(), images.max().item()
    if kind.kind == "f" and 0 <= low <= high <= 1:  # which NaN is not
        images = np.rint(images.astype(np.float32) * 255).astype(np.uint8)
    elif kind != np.uint8 or high <= 1:  # 0 and 1 are black and white, or both nearly black
        raise UserError(
            f"{whose} are {kind} from {low} to {high}: it takes uint8 from 0 to 255, or floats "
            "from 0 to 1"
        )
    return torch.from_numpy(np.ascontiguousarray(images))


READER = npz
