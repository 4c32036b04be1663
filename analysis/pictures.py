"""Samples as small pictures, and as data URIs for a page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Names of figures.
FIGURES = re.compile(
    r"(correlations|predicted|ladder|audited|alike|courses|ranks|factor-.+|gallery-.+)\.(png|pdf|svg)"
)
SIDE = 64  # pixels that the longer side of a picture has at most
LOSSLESS = 32  # pixels up to which a picture is kept bit for bit
VISIBLE, LARGE = 56, 64  # pixels of the longer side of a file that is shown as large as it is


@dataclass(frozen=True)
class Pictures:
    """What the data set knows of the samples of a sweep: images, and names of classes.

    Attributes:
        images: by sample id, (H, W) grey or (H, W, 3) colour, in [0, 1].
        classes: the name of each label; empty where it is not known.
        missing: why there are no images; empty where there are.
    """

    images: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    missing: str = ""

    def name(self, label: int) -> str:
        """The name of a class."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)


def png(image: NDArray[np.float64]) -> bytes:
    """An image as a PNG file, as large as it is."""
    return _file(_picture(image), "png", optimize=True)


def enlarged(image: NDArray[np.float64]) -> bytes:
    """An image as a PNG file for pages that show files as large as they are."""
    picture = _picture(image)
    times = -(-VISIBLE // max(picture.size))
    larger = (picture.width * times, picture.height * times)
    picture = picture.resize(larger, Image.Resampling.NEAREST)
    picture.thumbnail((LARGE, LARGE))
    return _file(picture, "png", compress_level=1)  # there may be many, and they shrink well


def data_uri(image: NDArray[np.float64]) -> str:
    """An image as a data URI: as PNG if it is small, else reduced to SIDE pixels, as JPEG."""
    picture = _picture(image)
    kind = "png" if max(picture.size) <= LOSSLESS else "jpeg"
    picture.thumbnail((SIDE, SIDE))
    content = _file(picture, kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _picture(image: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray((image * 255).round().clip(0, 255).astype(np.uint8))


def _file(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
