"""The data set that a base model was trained on, where it is here and is still the same."""

from __future__ import annotations

from pathlib import Path

from unlearning import datasets
from unlearning.errors import UserError


def load(
    base_run_id: str,
    source: str,
    fingerprint: str | None,
    data_dir: Path = datasets.AS_IT_IS.data_dir,
) -> datasets.Dataset:
    """The data set of a base model.

    Args:
        source: its description, as the base model has it. fingerprint: of it in training, if known.

    Raises UserError where it is not here, or is not what it was in training.
    """
    dataset = datasets.load_described(source, data_dir)
    if fingerprint is not None and dataset.fingerprint != fingerprint:
        raise UserError(
            f"base model {base_run_id} was trained on another version of {dataset.name} "
            f"({fingerprint[:12]}..., here {dataset.fingerprint[:12]}...)"
        )
    return dataset
