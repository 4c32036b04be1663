"""The real Fashion-MNIST, where Debian's package of it is installed."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

PACKAGED = Path("/usr/share/datasets/fashion-mnist")


def unpack_fashion_mnist(folder: Path) -> Path:
    """Unpack it below `folder` as torchvision lays it out; the data dir, which is `folder`."""
    archives = sorted(PACKAGED.glob("*-ubyte.gz"))
    if len(archives) != 4:
        pytest.skip("needs Fashion-MNIST (Debian's package dataset-fashion-mnist)")
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in archives:
        with gzip.open(archive) as packed, (raw / archive.stem).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return folder
