"""The images of samples, where their data set is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.cli._session import Session
from unlearning.errors import UserError

if TYPE_CHECKING:
    from analysis.answers import Answers
    from analysis.pictures import Pictures


def pictures_of(session: Session, answers: Answers) -> Pictures:
    """The images of a sweep's samples, or why there are none."""
    from analysis.pictures import Pictures
    from tracker.base.base_models import load_data
    from tracker.base.images import images_of

    try:
        base, source, sha256 = (
            answers.sweep[key] for key in ("base_run_id", "source", "data_fingerprint")
        )
        data = load_data(base, source, sha256, session.data_dir, session.folder)
    except UserError as error:
        return Pictures(missing=str(error))
    try:
        return Pictures(images_of(data, answers.sample_ids), data.classes)
    except UserError as error:
        return Pictures(classes=data.classes, missing=str(error))
