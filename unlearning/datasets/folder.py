"""Images of the user's own, in PATH/train/CLASS and PATH/test/CLASS: JPEG, PNG, TIFF and others."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unlearning.dataset import Dataset, Pictures, own_name
from unlearning.datasets import Source
from unlearning.errors import UserError
from unlearning.naming import printable

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")  # that Pillow may take a file for
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SIXTEEN = ("PNG", "PPM")  # formats whose integers have 16 bits


def folder(path: str, source: Source) -> Dataset:
    """The data set in a folder. Raises UserError where it is none."""
    if not path:
        raise UserError("data set 'folder:' names no folder: give its path, folder:PATH")
    where = Path(path).expanduser().absolute()
    found = read(where, source.image_size)
    return found.split(own_name("folder", where.resolve().name), torch.arange(len(found.train[1])))


def read(path: Path, image_size: int | None) -> Pictures:
    """Images in PATH/train/CLASS and PATH/test/CLASS, in the order of torchvision's ImageFolder.

    Grey if all of them are, else RGB. `image_size`: pixels to resize both sides to. Raises
    UserError where a part, a class or an image is missing or unreadable, or sizes differ.
    """
    train, test = (_files_by_class(path / part) for part in ("train", "test"))
    if train.keys() != test.keys():
        odd = min(train.keys() ^ test.keys())
        raise UserError(
            f"the classes in {path}/train and {path}/test differ: '{odd}' is only in "
            f"{'train' if odd in train else 'test'}; give both the same folders"
        )
    files = [list(chain(*part.values())) for part in (train, test)]
    sizes = [torch.tensor([*map(len, part.values())]) for part in (train, test)]
    shape = _shape([*files[0], *files[1]], image_size)
    return Pictures(
        (_pixels(files[0], shape), torch.arange(len(train)).repeat_interleave(sizes[0])),
        (_pixels(files[1], shape), torch.arange(len(train)).repeat_interleave(sizes[1])),
        tuple(map(printable, train)),
        tuple(printable(file.relative_to(path).as_posix()) for file in files[0]),
    )


def _files_by_class(part: Path) -> dict[str, list[Path]]:
    """The images of each class: regular files, each once, without hidden files and folders.

    A link in a class's folder that leads into one of these folders, or above them, is left out.
    """
    if not part.is_dir():
        raise UserError(
            f"there is no folder {part}: a data set 'folder:PATH' is made of PATH/train and "
            "PATH/test, with a folder of images for each class in both"
        )
    try:
        names = sorted(f.name for f in part.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError as error:
        raise UserError(f"{part} cannot be read: {error.strerror}") from error
    homes = {(part / name).resolve() for name in names}
    seen = homes.union(*(home.parents for home in homes))

    def is_new(path: Path) -> bool:
        real = path.resolve()
        leads_back = path.is_symlink() and not homes.isdisjoint(real.parents)
        if path.name.startswith(".") or leads_back or real in seen:
            return False
        seen.add(real)
        return True

    def files_of(name: str) -> list[Path]:
        found = []
        for root, folders, files in os.walk(part / name, followlinks=True):
            folders[:] = [folder for folder in sorted(folders) if is_new(Path(root, folder))]
            images = (Path(root, f) for f in sorted(files) if f.lower().endswith(ENDINGS))
            found.append((root, [file for file in images if file.is_file() and is_new(file)]))
        return [file for _, some in sorted(found) for file in some]

    found = {name: files_of(name) for name in names}
    if len(found) < 2 or not all(found.values()):
        empty = ", ".join(name for name in found if not found[name])
        raise UserError(
            f"{part} must have a folder for each class with images in it, and 2 classes at least: "
            + (f"there are none of {empty}" if empty else f"it has {len(found)}")
        )
    return found


def _shape(files: list[Path], image_size: int | None) -> tuple[int, int, int]:
    """(channels, height, width) of all images, from their headers."""
    channels, first = 1, None
    for file in files:
        try:
            with Image.open(file, formats=FORMATS) as image:
                mode, size = image.mode, image.size
        except Exception as error:
            raise _unreadable(file, error) from error
        if mode not in ("1", "L", "LA") and not mode.startswith("I"):
            channels = 3
        first = first or size
        if size != first and image_size is None:
            raise UserError(
                f"images differ in size: {files[0]} has {first[0]}x{first[1]} pixels, {file} has "
                f"{size[0]}x{size[1]}; resize them all with --image-size N"
            )
    assert first is not None
    width, height = first if image_size is None else (image_size, image_size)
    return channels, height, width


def _pixels(files: list[Path], shape: tuple[int, int, int]) -> Tensor:
    """(N, channels, height, width) uint8."""
    channels, height, width = shape
    pixels = torch.empty((len(files), *shape), dtype=torch.uint8)
    for position, file in enumerate(files):
        try:
            with Image.open(file, formats=FORMATS) as image:
                plain = _eight_bits(image).convert("L" if channels == 1 else "RGB")
        except Exception as error:
            raise _unreadable(file, error) from error
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)  # antialiased
        array = np.array(plain).reshape(height, width, channels)
        pixels[position] = torch.from_numpy(array).permute(2, 0, 1)
    return pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    if not image.mode.startswith("I;16") and (image.mode == "F" or image.format not in SIXTEEN):
        raise ValueError(f"its pixels are of mode {image.mode}, not of 8 or 16 bits")
    # PIL's own conversion of 16 bits would not scale them down, but clip at 255.
    return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"image {file} cannot be read: {error}")


READER = folder
