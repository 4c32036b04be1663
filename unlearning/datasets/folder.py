"""Images of the user's own, in PATH/train/CLASS and PATH/test/CLASS: JPEG, PNG, TIFF and others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearning.dataset import Dataset, Split, own_name
from unlearning.datasets import Source
from unlearning.datasets.npz import picture
from unlearning.errors import words_of
from unlearning.naming import printable

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")  # that Pillow may take a file for
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def folder(path: Path, source: Source) -> Dataset:
    """Images in PATH/train/CLASS and PATH/test/CLASS, in the order of torchvision's ImageFolder.

    Grey if all of them are, else RGB. Raises ValueError or OSError where a part, a class or an
    image is missing or unreadable, or sizes differ and `source.image_size` is None.
    """
    train, test = (_files_by_class(path / part) for part in ("train", "test"))
    if train.keys() != test.keys():
        odd = min(train.keys() ^ test.keys())
        raise ValueError(f"'{odd}' is only in {'train' if odd in train else 'test'}")
    files = [[file for some in part.values() for file in some] for part in (train, test)]
    images = _pixels([*files[0], *files[1]], source.image_size).tensor_split([len(files[0])])
    labels = [
        torch.arange(len(part)).repeat_interleave(torch.tensor([*map(len, part.values())]))
        for part in (train, test)
    ]
    paths = [printable(file.relative_to(path).as_posix()) for file in files[0]]
    return Dataset(
        own_name("folder", path.resolve().name),
        Split.of(images[0], labels[0], paths=paths),
        Split.of(images[1], labels[1]),
        tuple(map(printable, train)),
        white=255,
    )


def _files_by_class(part: Path) -> dict[str, list[Path]]:
    """The images of each class, without hidden files and folders."""
    found: dict[str, list[Path]] = {}
    for name in sorted(each.name for each in part.iterdir() if each.is_dir()):
        if not name.startswith("."):
            found[name] = []
            for root, _, files in sorted(os.walk(part / name)):
                inside = Path(root).relative_to(part)
                if not any(one.startswith(".") for one in inside.parts):
                    images = (f for f in sorted(files) if f.lower().endswith(ENDINGS))
                    shown = [Path(root, f) for f in images if not f.startswith(".")]
                    found[name] += [file for file in shown if file.is_file()]
    if len(found) < 2 or not all(found.values()):
        empty = ", ".join(name for name in found if not found[name])
        raise ValueError(
            f"{part} must have a folder for each class with images in it, and 2 classes at least: "
            + (f"there are none of {empty}" if empty else f"it has {len(found)}")
        )
    return found


def _pixels(files: list[Path], image_size: int | None) -> Tensor:
    """(N, channels, height, width) uint8; `image_size`: pixels to resize both sides to."""
    images: list[NDArray[np.uint8]] = []
    for file in files:
        try:
            with Image.open(file, formats=FORMATS) as image:
                array = picture(image)
        except Exception as error:  # whatever Pillow says of bytes that make no sense
            raise ValueError(f"image {file} cannot be read: {words_of(error)}") from error
        if image_size is not None and array.shape[:2] != (image_size, image_size):
            plain = Image.fromarray(array)
            array = np.array(plain.resize((image_size, image_size), Image.Resampling.BILINEAR))
        images.append(array)
        if array.shape[:2] != images[0].shape[:2]:
            raise ValueError(
                f"images differ in size, (height, width): {files[0]} {images[0].shape[:2]}, {file} "
                f"{array.shape[:2]}; resize them all with --image-size N"
            )
    if any(array.ndim == 3 for array in images):
        images = [a if a.ndim == 3 else np.repeat(a[:, :, None], 3, axis=2) for a in images]
    found = torch.from_numpy(np.stack(images))
    return found[:, None] if found.ndim == 3 else found.permute(0, 3, 1, 2).contiguous()


READER = folder
