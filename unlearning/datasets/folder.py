"""Images of the user's own, in PATH/train/CLASS and PATH/test/CLASS."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unlearning.dataset import Dataset, Pictures, own_name
from unlearning.datasets import Source
from unlearning.datasets._torchvision import torchvision_for
from unlearning.errors import UserError
from unlearning.naming import printable

if TYPE_CHECKING:
    from PIL import Image


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
    torchvision = torchvision_for(f"folder:{path}")
    train, test = (_image_folder(torchvision, path / part) for part in ("train", "test"))
    if train.classes != test.classes:
        odd = sorted({*train.classes} ^ {*test.classes})
        raise UserError(
            f"the classes in {path}/train and {path}/test differ: '{odd[0]}' is only in "
            f"{'train' if odd[0] in train.classes else 'test'}; give both the same folders"
        )
    files = [[Path(file) for file, _ in part.samples] for part in (train, test)]
    shape = _shape([*files[0], *files[1]], image_size)
    return Pictures(
        (_pixels(files[0], shape), torch.tensor(train.targets)),
        (_pixels(files[1], shape), torch.tensor(test.targets)),
        tuple(map(printable, train.classes)),
        tuple(printable(file.relative_to(path).as_posix()) for file in files[0]),
    )


def _image_folder(torchvision: ModuleType, path: Path) -> Any:
    if not path.is_dir():
        raise UserError(
            f"there is no folder {path}: a data set 'folder:PATH' is made of PATH/train and "
            "PATH/test, with a folder of images for each class in both"
        )
    try:
        return torchvision.ImageFolder(path)
    except OSError as error:
        raise UserError(
            f"{path} must have a folder for each class with images in it: {error}"
        ) from error


def _shape(files: list[Path], image_size: int | None) -> tuple[int, int, int]:
    """(channels, height, width) of all images, from their headers."""
    channels, first = 1, None
    for file in files:
        try:
            with _open(file) as image:
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
    from PIL import Image

    channels, height, width = shape
    pixels = torch.empty((len(files), *shape), dtype=torch.uint8)
    for position, file in enumerate(files):
        try:
            with _open(file) as image:
                plain = _eight_bits(image).convert("L" if channels == 1 else "RGB")
        except Exception as error:
            raise _unreadable(file, error) from error
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)  # antialiased
        array = np.array(plain).reshape(height, width, channels)
        pixels[position] = torch.from_numpy(array).permute(2, 0, 1)
    return pixels


def _open(file: Path) -> Image.Image:
    from PIL import Image

    return Image.open(file)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    # 16 bits a pixel: PIL's own conversion would not scale them down, but clip at 255.
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray((values // 256).astype(np.uint8))


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"image {file} cannot be read: {error}")


READER = folder
