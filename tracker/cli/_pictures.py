"""The images of samples, where their data set is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.cli._session import Session
from unlearning.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from analysis.answers import Answers
    from analysis.pictures import Pictures
    from unlearning.datasets import Dataset


def pictures_of(session: Session, answers: Answers) -> Pictures:
    """The images of a sweep's samples, or why there are none."""
    from analysis.pictures import Pictures
    from tracker.base.base_models import load_data

    try:
        data = load_data(
            answers.base_run_id, answers.source, answers.data_fingerprint, session.data_dir
        )
        images = images_of(data, answers.sample_ids)
    except UserError as error:
        return Pictures(missing=str(error))
    return Pictures(images, data.classes)


def images_of(data: Dataset, ids: list[int]) -> dict[int, NDArray[np.float64]]:
    """Training images by sample id: (H, W) grey or (H, W, 3) colour, in [0, 1]."""
    chosen = data.train.images[data.train.positions(ids)].double() / data.white
    images = chosen.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return dict(zip(ids, images, strict=True))
