"""Well-known data sets that torchvision reads, from its files or MNIST's own, packed or not."""

from __future__ import annotations

import gzip
import importlib
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from unlearning.dataset import Dataset, Pictures, Samples
from unlearning.datasets import Source
from unlearning.errors import UserError

Arguments = dict[str, object]

HALVES: tuple[Arguments, Arguments] = {"train": True}, {"train": False}
IDX = tuple(
    f"{part}-{content}-ubyte"
    for part in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)  # files in MNIST's format
FIRST_LABELS = {  # of training, by which data sets in MNIST's format are told apart
    "fashion-mnist": (9, 0, 0, 3, 0, 2, 7, 2),
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3),
}


@dataclass(frozen=True)
class FromTorchvision:
    """A data set of torchvision's: called with a source, it is loaded from the data folder.

    Attributes:
        name: ours. kind: the class in torchvision. parts: the arguments that pick the training and
            the test file. folder, files: where they lie in the data folder.
        training: how many samples of the training file are the training split, drawn once: the
            paper's splits.
    """

    name: str
    kind: str
    parts: tuple[Arguments, Arguments]
    folder: str
    files: tuple[str, ...]
    training: int

    def __call__(self, source: Source) -> Dataset:
        """The data set. Raises UserError where it is not there, or not whole."""
        found = self.named(source.data_dir, source.download)
        held = len(found.train[1])
        if held < self.training:
            raise UserError(
                f"the training file of {self.name} in {source.data_dir} holds {held} samples, but "
                f"{self.training} of them are the training split: it is not the whole data set"
            )
        drawn = torch.from_numpy(np.random.default_rng(0).permutation(held)[: self.training])
        return found.split(self.name, drawn)

    def named(self, data_dir: Path, download: bool) -> Pictures:
        """All of it from torchvision's files below a folder.

        Those of MNIST's format may lie there packed (.gz), and also in the folder itself or in one
        of the data set's name, as Debian has them. Raises UserError where files are missing and
        not to be downloaded, or are damaged.
        """
        root = data_dir.expanduser().absolute()
        torchvision = importlib.import_module("torchvision.datasets")  # which takes a second
        command = (
            f"indelible --data-dir {shlex.quote(str(data_dir))} train --dataset {self.name} "
            "--download"
        )
        missing = [path for path in self.paths(root) if not path.is_file()]
        packed = self._packed(root) if missing else None
        if packed:
            return self._unpacked(torchvision, packed)
        if missing and not download:
            raise UserError(
                f"data set '{self.name}' lacks {', '.join(map(str, missing))}: put the files there "
                f"or download them with '{command}'"
            )
        if missing:
            self._download(torchvision, root, missing)
        try:
            return self._read(torchvision, root)
        except (OSError, MemoryError) as error:
            raise UserError(f"data set '{self.name}' cannot be read: {error}") from error
        except Exception as error:  # whatever a parser says of bytes that make no sense
            raise UserError(
                f"data set '{self.name}' is damaged: remove {', '.join(self.files)} from "
                f"{root / self.folder} and download them again with '{command}'"
            ) from error

    def paths(self, root: Path) -> list[Path]:
        """Its files below the data folder."""
        return [root / self.folder / file for file in self.files]

    def _packed(self, root: Path) -> list[Path] | None:
        """All files in MNIST's format, where they are not all unpacked in torchvision's folder."""
        is_mnists = self.name in FIRST_LABELS
        for folder in (root / self.folder, root / self.name, root) if is_mnists else ():
            found = [
                next((p for p in (folder / file, folder / f"{file}.gz") if p.is_file()), None)
                for file in self.files
            ]
            if all(found):
                return [path for path in found if path]
        return None

    def _unpacked(self, torchvision: ModuleType, packed: list[Path]) -> Pictures:
        """What torchvision reads of such files. Raises UserError if damaged or others'."""
        with tempfile.TemporaryDirectory() as root:
            try:
                for path, unpacked in zip(packed, self.paths(Path(root)), strict=True):
                    unpacked.parent.mkdir(parents=True, exist_ok=True)
                    opener = gzip.open if path.suffix == ".gz" else Path.open
                    with opener(path, "rb") as content, unpacked.open("wb") as plain:
                        shutil.copyfileobj(content, plain)
                found = self._read(torchvision, Path(root))
            except Exception as error:  # of gzip, the disk, a parser of bytes that make no sense
                raise UserError(
                    f"data set '{self.name}' cannot be read from {', '.join(map(str, packed))}: "
                    f"{error}"
                ) from error
        first = tuple(found.train[1][:8].tolist())
        for other, its in FIRST_LABELS.items():
            if other != self.name and first == its:
                raise UserError(
                    f"{packed[0].parent} holds {other}, not {self.name}: give --dataset {other}"
                )
        return found

    def _download(self, torchvision: ModuleType, root: Path, missing: list[Path]) -> None:
        """Fetch missing files; they come to their place only when the whole data set is sound."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as fresh:
                self._read(torchvision, Path(fresh), download=True)
                for path in missing:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    (fresh / path.relative_to(root)).replace(path)
        except Exception as error:  # of sockets, HTTP, archives, checksums, the disk
            raise UserError(
                f"data set '{self.name}' cannot be downloaded ({' '.join(str(error).split())}): "
                "try again later, or get these files in another way: "
                f"{', '.join(map(str, missing))}"
            ) from error

    def _read(self, torchvision: ModuleType, root: Path, download: bool = False) -> Pictures:
        kind = getattr(torchvision, self.kind)
        train, test = (kind(root, **part, download=download) for part in self.parts)
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
