"""Samples as small pictures, in text that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64  # pixels that the longer side of a picture has at most
LOSSLESS = 32  # pixels up to which a picture is kept bit for bit


@dataclass(frozen=True)
class Pictures:
    """What is known of the samples of a sweep beside its rows.

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


def data_uri(image: NDArray[np.float64]) -> str:
    """An image as a data URI: PNG if it is small, else reduced to SIDE pixels, as JPEG."""
    picture = Image.fromarray((image * 255).round().clip(0, 255).astype(np.uint8))
    file, small = io.BytesIO(), max(picture.size) <= LOSSLESS
    picture.thumbnail((SIDE, SIDE))
    picture.save(file, "png" if small else "jpeg", optimize=True)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
