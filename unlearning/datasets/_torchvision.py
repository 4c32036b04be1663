"""Well-known data sets that torchvision reads."""

from __future__ import annotations

import importlib
import shlex
from dataclasses import dataclass
from typing import Any

import torch

from unlearning.dataset import Dataset, Samples, Split, some_of
from unlearning.datasets import Source
from unlearning.errors import UserError, hold, words_of

Arguments = dict[str, object]

HALVES: tuple[Arguments, Arguments] = {"train": True}, {"train": False}


@dataclass(frozen=True)
class FromTorchvision:
    """A data set of torchvision's: called with a source, it is loaded from the data folder.

    Attributes:
        name: ours. kind: the class in torchvision. parts: the arguments that pick the training and
            the test file. folder: where its files lie in the data folder.
        training: how many samples of the training file are the training split, drawn once: the
            paper's splits.
    """

    name: str
    kind: str
    parts: tuple[Arguments, Arguments]
    folder: str
    training: int

    def __call__(self, source: Source) -> Dataset:
        """The data set. Raises UserError where it is not there, or not whole."""
        root = source.data_dir.expanduser().absolute()
        try:
            kind = getattr(importlib.import_module("torchvision.datasets"), self.kind)
            train, test = (kind(root, **part, download=source.download) for part in self.parts)
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


def _samples(part: Any) -> Samples:
    """Images (N, C, H, W) uint8 and labels (N,) int64."""
    images = torch.as_tensor(part.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:  # CIFAR10 keeps channels last
        images = images.permute(0, 3, 1, 2)
    labels = part.targets if hasattr(part, "targets") else part.labels
    return images.contiguous(), torch.as_tensor(labels, dtype=torch.int64)


DATASET = {
    "cifar10": FromTorchvision("cifar10", "CIFAR10", HALVES, "cifar-10-batches-py", 45_000),
    "fashion-mnist": FromTorchvision(
        "fashion-mnist", "FashionMNIST", HALVES, "FashionMNIST/raw", 54_000
    ),
    "mnist": FromTorchvision("mnist", "MNIST", HALVES, "MNIST/raw", 54_000),
    "svhn": FromTorchvision("svhn", "SVHN", ({"split": "train"}, {"split": "test"}), "", 58_000),
}
