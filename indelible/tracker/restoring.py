"""From a child run back to the unlearned model."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import Tensor

from indelible.errors import UserError
from indelible.tracker import base_models
from indelible.tracker.records import CHECKPOINT, Kind
from indelible.tracker.store import Store
from indelible.unlearning.checkpoints import decode


def restore(store: Store, run_id: str) -> dict[str, Tensor]:
    """The state dict of the unlearned model of a child run, bit for bit.

    Raises UserError if the run is no finished child run, has no checkpoint, or if the checkpoint
    or the base model is damaged.
    """
    run = store.run(run_id)
    tags = run.data.tags
    if tags.get("kind") != Kind.MEMBER or run.info.status != "FINISHED":
        raise UserError(f"run {run_id} is not a finished child run of a sweep")
    sweep = store.run(tags["mlflow.parentRunId"])
    base = store.run(sweep.data.params["base_run_id"])
    with store.artifact(base, base_models.WEIGHTS) as weights:
        state = load_file(weights)
    with store.artifact(run, CHECKPOINT) as path:
        return decode(state, path)
