"""Images and labels that torchvision reads: well-known data sets, and folders of images."""

from __future__ import annotations

import gzip
import importlib
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Samples = tuple[Tensor, Tensor]  # (N, C, H, W) uint8 from 0 to 255 and (N,) int64, in file order


@dataclass(frozen=True)
class Pictures:
    """All samples of a data set's own training and test files, and the names of its classes."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """A class of torchvision, the argument that picks a part, and its files in the data folder."""

    kind: str
    train: dict[str, object]
    test: dict[str, object]
    folder: str
    files: tuple[str, ...]
    begins: tuple[int, ...] = ()  # the first training labels, where other data has the same files

    def paths(self, root: Path) -> list[Path]:
        return [root / self.folder / file for file in self.files]

    def missing(self, root: Path) -> list[Path]:
        return [path for path in self.paths(root) if not path.is_file()]


_HALVES: tuple[dict[str, object], dict[str, object]] = {"train": True}, {"train": False}
_IDX = tuple(
    f"{part}-{content}-ubyte"
    for part in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)
_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
_MAT = ("train_32x32.mat", "test_32x32.mat")

_LAYOUTS = {
    "cifar10": _Layout("CIFAR10", *_HALVES, "cifar-10-batches-py", _BATCHES),
    "fashion-mnist": _Layout(
        "FashionMNIST", *_HALVES, "FashionMNIST/raw", _IDX, (9, 0, 0, 3, 0, 2, 7, 2)
    ),
    "mnist": _Layout("MNIST", *_HALVES, "MNIST/raw", _IDX, (5, 0, 4, 1, 9, 2, 1, 3)),
    "svhn": _Layout("SVHN", {"split": "train"}, {"split": "test"}, "", _MAT),
}


def named(name: str, data_dir: Path, download: bool) -> Pictures:
    """The data set of that name from torchvision's files below a folder.

    Those of MNIST's format may lie there packed (.gz), and also in the folder itself or in one of
    the data set's name, as Debian has them. Raises UserError where files are missing and not to be
    downloaded, or are damaged.
    """
    layout, root = _LAYOUTS[name], data_dir.expanduser().absolute()
    torchvision = _torchvision(name)
    command = f"indelible --data-dir {shlex.quote(str(data_dir))} train --dataset {name} --download"
    missing = layout.missing(root)
    packed = _packed(name, root) if missing else None
    if packed:
        return _unpacked(name, torchvision, packed)
    if missing and not download:
        raise UserError(
            f"data set '{name}' lacks {', '.join(map(str, missing))}: put the files there or "
            f"download them with '{command}'"
        )
    if missing:
        _download(name, torchvision, root, missing)
    try:
        return _read(torchvision, layout, root)
    except (OSError, MemoryError) as error:
        raise UserError(f"data set '{name}' cannot be read: {error}") from error
    except Exception as error:  # whatever a parser says of bytes that make no sense
        raise UserError(
            f"data set '{name}' is damaged: remove {', '.join(layout.files)} from "
            f"{root / layout.folder} and download them again with '{command}'"
        ) from error


def _packed(name: str, root: Path) -> list[Path] | None:
    """All files in MNIST's format, where they are not all unpacked in torchvision's folder."""
    layout = _LAYOUTS[name]
    for folder in (root / layout.folder, root / name, root) if layout.begins else ():
        found = [
            next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)
            for file in layout.files
        ]
        if all(found):
            return [path for path in found if path]
    return None


def _unpacked(name: str, torchvision: ModuleType, packed: list[Path]) -> Pictures:
    """What torchvision reads of such files. Raises UserError if they are damaged or others'."""
    layout = _LAYOUTS[name]
    with tempfile.TemporaryDirectory() as root:
        try:
            for path, unpacked in zip(packed, layout.paths(Path(root)), strict=True):
                unpacked.parent.mkdir(parents=True, exist_ok=True)
                opener = gzip.open if path.suffix == ".gz" else Path.open
                with opener(path, "rb") as content, unpacked.open("wb") as plain:
                    shutil.copyfileobj(content, plain)
            found = _read(torchvision, layout, Path(root))
        except Exception as error:  # of gzip, the disk, a parser of bytes that make no sense
            raise UserError(
                f"data set '{name}' cannot be read from {', '.join(map(str, packed))}: {error}"
            ) from error
    first = tuple(found.train[1][:8].tolist())
    for other, its in _LAYOUTS.items():
        if other != name and first == its.begins:
            raise UserError(f"{packed[0].parent} holds {other}, not {name}: give --dataset {other}")
    return found


def _torchvision(name: str) -> ModuleType:
    try:
        return importlib.import_module("torchvision.datasets")
    except (ImportError, OSError, RuntimeError) as error:  # the last two: built for another torch
        raise UserError(
            f"data set '{name}' needs torchvision: pip install 'indelible[vision]' ({error})"
        ) from error


def _download(name: str, torchvision: ModuleType, root: Path, missing: list[Path]) -> None:
    """Fetch the missing files; they come to their place only when the whole data set is sound."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as fresh:
            _read(torchvision, _LAYOUTS[name], Path(fresh), download=True)
            for path in missing:
                path.parent.mkdir(parents=True, exist_ok=True)
                (fresh / path.relative_to(root)).replace(path)
    except Exception as error:  # of sockets, HTTP, archives, checksums, the disk
        raise UserError(
            f"data set '{name}' cannot be downloaded ({' '.join(str(error).split())}): try again "
            f"later, or get these files in another way: {', '.join(map(str, missing))}"
        ) from error


def _read(torchvision: ModuleType, layout: _Layout, root: Path, download: bool = False) -> Pictures:
    kind = getattr(torchvision, layout.kind)
    train = kind(root, **layout.train, download=download)
    test = kind(root, **layout.test, download=download)
    classes = tuple(getattr(train, "classes", "0123456789"))  # SVHN has digits without names
    return Pictures(_samples(train, len(classes)), _samples(test, len(classes)), classes)


def _samples(part: Any, classes: int) -> Samples:
    images = torch.as_tensor(part.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:  # CIFAR10 keeps channels last
        images = images.permute(0, 3, 1, 2)
    labels = part.targets if hasattr(part, "targets") else part.labels
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if not 0 < len(images) == len(labels) or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{len(images)} images with {len(labels)} labels of {classes} classes")
    return images.contiguous(), labels


def folder(path: Path, image_size: int | None) -> Pictures:
    """Images in PATH/train/CLASS and PATH/test/CLASS, in the order of torchvision's ImageFolder.

    Grey if all of them are, else RGB. `image_size`: pixels to resize both sides to. Raises
    UserError where a part, a class or an image is missing or unreadable, or sizes differ.
    """
    torchvision = _torchvision(f"folder:{path}")
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
        tuple(train.classes),
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
