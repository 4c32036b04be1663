"""The images of samples: from their data set, and beside their base model for MLflow's pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from analysis.pictures import enlarged
from tracker.access.artifacts import Artifacts
from unlearning.datasets import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "images"  # among the artifacts of a base model: one for all who unlearn the sample


def images_of(data: Dataset, ids: list[int]) -> dict[int, NDArray[np.float64]]:
    """Training images by sample id: (H, W) grey or (H, W, 3) colour, in [0, 1]."""
    chosen = data.train.images[data.train.positions(ids)].double() / data.white
    images = chosen.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return dict(zip(ids, images, strict=True))


def in_note(base_run_id: str, sample_id: int) -> str:
    """A sample's image for a description that MLflow's UI shows, relative to the UI's address."""
    where = urlencode({"path": f"{FOLDER}/{_name(sample_id)}", "run_uuid": base_run_id}, safe="/")
    return f"![sample {sample_id}](get-artifact?{where})"


@dataclass
class Images:
    """The images of a base model's samples as its artifacts, each written once.

    Attributes:
        uri: of the base model's artifacts.
    """

    artifacts: Artifacts
    uri: str
    data: Dataset
    _kept: set[int] = field(default_factory=set, init=False)

    def keep(self, sample_ids: Iterable[int]) -> None:
        """Write the images of these samples that are not there."""
        some = sorted(set(sample_ids) - self._kept)
        if not some:
            return
        files = {_name(i): enlarged(image) for i, image in images_of(self.data, some).items()}
        self.artifacts.write_again(self.uri, FOLDER, files)
        self._kept |= set(some)


def _name(sample_id: int) -> str:
    return f"{sample_id:05d}.png"
