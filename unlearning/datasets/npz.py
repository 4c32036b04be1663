"""Images and labels as arrays: from one file of numpy's, PATH.npz, and as Python gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearning.dataset import Dataset, Samples, Split, checked, held_out, numbered, own_name
from unlearning.datasets import Source
from unlearning.errors import UserError, words_of

CHANNELS = (1, 3)
SIXTEEN = ("PNG", "PPM")  # formats whose integers have 16 bits
DIGITS = 12  # of a fingerprint, in the name of a data set


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


def dataset_of(train: Samples, test: Samples, classes: Sequence[str]) -> Dataset:
    """The data set of two parts, as `samples_of` gives them.

    It is that of a file `npz:` with the same content, and so has the same fingerprint. Its name
    ends in the beginning of that.

    Args:
        classes: a name for each label, from 0.

    Raises UserError for parts or names that do not belong together.
    """
    names = tuple(map(str, classes))
    if len({*names}) < len(names) or not all(names):
        raise UserError(f"the classes are {list(names)}: it takes a name each, all different")
    dataset = Dataset("npz-", Split.of(*train), Split.of(*test), names, white=255)
    checked(dataset, "what is given as train and test")
    return replace(dataset, name=own_name("npz", dataset.fingerprint[:DIGITS]))


def samples_of(given: Any, which: str) -> Samples:
    """Images (N, C, H, W) uint8 and labels (N,) int64.

    Args:
        given: a pair of images (N, C, H, W) and labels (N,), as tensors or arrays; or a sequence
            of pairs like torchvision's data sets, each of an image and a whole number. Images are
            uint8, or floats from 0 to 1, which are rounded to 255ths; in pairs also PIL's.
        which: `train` or `test`, for messages.

    Raises UserError for anything else.
    """
    try:
        if isinstance(given, (tuple, list)) and len(given) == 2 and hasattr(given[0], "shape"):
            images, labels = map(_tensor, given)
        else:
            pairs = [given[position] for position in range(len(given))]
            images = torch.stack([_image(image) for image, _ in pairs])
            labels = torch.stack([_tensor(label) for _, label in pairs])
    except Exception as error:  # whatever torch, or a class of the user's, says
        raise UserError(
            f"{which} is a {type(given).__name__} that cannot be read as images (N, C, H, W) and "
            "labels (N,), or as pairs of an image and a label, with images of one size, such as "
            f"a data set of torchvision's: {words_of(error)}"
        ) from error
    return pixels(images, f"images of {which}"), whole_numbers(labels, f"labels of {which}")


def _image(image: Any) -> Tensor:
    """An image as a tensor (C, H, W)."""
    found = _tensor(picture(image) if isinstance(image, Image.Image) else image)
    if found.ndim == 2:
        return found[None]
    return found.permute(2, 0, 1) if isinstance(image, Image.Image) else found


def picture(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image: (H, W) uint8 where it is grey, else (H, W, 3).

    Raises ValueError where it has not 8 or 16 bits a channel.
    """
    if not image.mode.startswith(("I", "F")):
        is_grey = image.mode in ("1", "L", "LA")
        return np.array(image.convert("L" if is_grey else "RGB"))
    if not image.mode.startswith("I;16") and (image.mode == "F" or image.format not in SIXTEEN):
        raise ValueError(f"its pixels are of mode {image.mode}, not of 8 or 16 bits")
    # PIL's own conversion of 16 bits would not scale them down, but clip at 255.
    return (np.asarray(image) // 256).astype(np.uint8)


def _tensor(part: Any) -> Tensor:
    """An array, number or tensor as a tensor in main memory. Raises TypeError if it is none."""
    if isinstance(part, Tensor):
        return part.detach().cpu()
    array = np.array(part, order="C")
    is_unsigned = array.dtype.kind == "u" and array.dtype != np.uint8  # torch can do little there
    return torch.as_tensor(array.astype(np.int64) if is_unsigned else array)


def pixels(images: Any, whose: str) -> Tensor:
    """Images (N, C, H, W) as uint8 from 0 to 255, a copy; floats from 0 to 1 in 255ths.

    Args:
        whose: they are, for messages.

    Raises UserError for other numbers, and TypeError for what is none.
    """
    found = _tensor(images)
    shape, kind = tuple(found.shape), str(found.dtype).removeprefix("torch.")
    if found.ndim != 4 or shape[1] not in CHANNELS or not found.numel():
        raise UserError(
            f"{whose} have the shape {shape}: it takes (N, C, H, W) with C of 1 or 3 channels"
        )
    low, high = found.min().item(), found.max().item()
    if found.is_floating_point() and 0 <= low <= high <= 1:  # which NaN is not
        return torch.cat([(some.float() * 255).round().byte() for some in found.split(4096)])
    if found.dtype != torch.uint8 or high <= 1:  # 0 and 1 are black and white, or both nearly black
        raise UserError(
            f"{whose} are {kind} from {low:.4g} to {high:.4g}: it takes uint8 from 0 to 255, or "
            "floats from 0 to 1; put a normalisation into the network"
        )
    return found.clone(memory_format=torch.contiguous_format)


def whole_numbers(labels: Any, whose: str) -> Tensor:
    """Labels as (N,) int64, a copy. Raises UserError for what is no whole numbers."""
    found = _tensor(labels)
    if found.ndim != 1 or found.is_floating_point() or found.dtype == torch.bool:
        raise UserError(
            f"{whose} have the shape {tuple(found.shape)} and type "
            f"{str(found.dtype).removeprefix('torch.')}: they must be (N,) whole numbers"
        )
    return found.to(torch.int64).clone()


READER = npz
