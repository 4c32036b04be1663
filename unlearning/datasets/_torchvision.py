"""Well-known data sets that torchvision reads, from its files or MNIST's own, packed or not."""

from __future__ import annotations

import gzip
import importlib
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unlearning.dataset import Dataset, Samples, Split, some_of
from unlearning.datasets import Source
from unlearning.errors import UserError, hold, words_of

Arguments = dict[str, object]

HALVES: tuple[Arguments, Arguments] = {"train": True}, {"train": False}
IDX = tuple(
    f"{part}-{content}-ubyte"
    for part in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)  # files in MNIST's format


@dataclass(frozen=True)
class FromTorchvision:
    """A data set of torchvision's: called with a source, it is loaded from the data folder.

    Attributes:
        name: ours. kind: the class in torchvision. parts: the arguments that pick the training and
            the test file. folder: where its files lie in the data folder.
        training: how many samples of the training file are the training split, drawn once: the
            paper's splits.
        files: in MNIST's format. They may lie there packed (.gz), and also in a folder of the data
            set's name, which may be the data folder, as Debian has them.
    """

    name: str
    kind: str
    parts: tuple[Arguments, Arguments]
    folder: str
    training: int
    files: tuple[str, ...] = ()

    def __call__(self, source: Source) -> Dataset:
        """The data set. Raises UserError where it is not there, or not whole."""
        root = source.data_dir.expanduser().absolute()
        try:
            kind = getattr(importlib.import_module("torchvision.datasets"), self.kind)
            with tempfile.TemporaryDirectory() as unpacked:
                where = Path(unpacked) if self._unpack(root, Path(unpacked, self.folder)) else root
                train, test = (kind(where, **part, download=source.download) for part in self.parts)
            images, labels = _samples(train)
            drawn = some_of(len(labels), self.training)
            hold(len(drawn) == self.training, f"of {self.training} samples {len(drawn)} are there")
            classes = tuple(getattr(train, "classes", "0123456789"))  # SVHN's have no names
            splits = Split.of(images, labels, drawn), Split.of(*_samples(test))
            return Dataset(self.name, *splits, classes, white=255)
        except Exception as error:  # of sockets, archives, parsers of bytes that make no sense
            data_dir = shlex.quote(str(source.data_dir))
            again = "try again later" if source.download else "download it"
            raise UserError(
                f"data set '{self.name}' cannot be read from {root / self.folder} "
                f"({words_of(error)}): put its files there, without any that are damaged, or "
                f"{again} with 'indelible --data-dir {data_dir} train --dataset {self.name} "
                "--download'"
            ) from error

    def _unpack(self, root: Path, target: Path) -> bool:
        """Unpack files in MNIST's format, if they are all there and not where torchvision looks."""
        if not self.files or all((root / self.folder / name).is_file() for name in self.files):
            return False
        folders = [root / self.folder, root / self.name, *([root] * (root.name == self.name))]
        for folder in folders:
            plain = [folder / name for name in self.files]
            packed = [folder / f"{name}.gz" for name in self.files]
            found = [a if a.is_file() else b for a, b in zip(plain, packed, strict=True)]
            if all(file.is_file() for file in found):
                target.mkdir(parents=True)
                for name, file in zip(self.files, found, strict=True):
                    content = file.read_bytes()
                    is_packed = file.suffix == ".gz"
                    (target / name).write_bytes(gzip.decompress(content) if is_packed else content)
                return True
        return False


def _samples(part: Any) -> Samples:
    """Images (N, C, H, W) uint8 and labels (N,) int64."""
    images = torch.as_tensor(part.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:  # CIFAR10 keeps channels last
        images = images.permute(0, 3, 1, 2)
    labels = part.targets if hasattr(part, "targets") else part.labels
    return images.contiguous(), torch.as_tensor(labels, dtype=torch.int64)
