"""The images of samples: from their data set, and beside their base model for MLflow's pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import fill, indent
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from analysis.pictures import enlarged
from tracker.store.files import Artifacts
from unlearning.dataset import Dataset
from unlearning.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH = 92  # characters of a line in a description
FOLDER = "images"  # among the artifacts of a base model: one for all who unlearn the sample
FILE = "{:05d}.png"  # of a sample


def images_of(data: Dataset, ids: list[int]) -> dict[int, NDArray[np.float64]]:
    """Training images by sample id: (H, W) grey or (H, W, 3) colour, in [0, 1].

    Raises UserError for the rows of a table.
    """
    if data.columns is not None:
        raise UserError("its samples are rows of a table")
    chosen = data.train.images[data.train.positions(ids)].double() / data.white
    images = chosen.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return dict(zip(ids, images, strict=True))


def in_note(base_run_id: str, data: Dataset, sample_id: int) -> str:
    """A sample for a description that MLflow's UI shows: its row as text, or its image.

    That is relative to the UI's address.
    """
    if row := data.row_of(sample_id):
        return f"Its row:\n\n{indent(fill(row, WIDTH), '    ')}"  # as code, which is no markup
    asked = {"path": f"{FOLDER}/{FILE.format(sample_id)}", "run_uuid": base_run_id}
    return f"![sample {sample_id}](get-artifact?{urlencode(asked, safe='/')})"


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
        """Write the images of these samples that are not there; of rows of a table, none."""
        some = sorted(set(sample_ids) - self._kept)
        if some and self.data.columns is None:
            images = images_of(self.data, some)
            files = {FILE.format(sample): enlarged(image) for sample, image in images.items()}
            self.artifacts.write_again(self.uri, FOLDER, files)
            self._kept |= set(some)
