"""From a child run back to the unlearned model."""

from __future__ import annotations

from torch import Tensor

from tracker.record.records import Kind
from tracker.record.sources import Known, Source
from tracker.record.weights import read_checkpoint, read_weights
from unlearning.checkpoints import decode, ends_of
from unlearning.errors import UserError


def restore(source: Source, run_id: str) -> dict[str, Tensor]:
    """The state dict of the unlearned model of a child run, bit for bit.

    Base weights, the difference and the result are each compared with what their runs recorded.

    Raises UserError if the run is no finished child run, has no checkpoint, or if the checkpoint
    or the base model is damaged.
    """
    run = source.run(run_id)
    if run.tags.get("kind") != Kind.MEMBER or run.status != "FINISHED":
        raise UserError(f"run {run_id} is not a finished child run of a sweep")
    checkpoint = read_checkpoint(source.artifacts, run.artifact_uri, run.tags)
    if checkpoint is None:
        raise UserError(
            f"run {run_id} ({run.name}) has no checkpoint: 'indelible sweep --checkpoints' says "
            "whose are kept"
        )
    base = _base(source, ends_of(checkpoint)[0])
    weights = read_weights(source.artifacts, base.artifact_uri, base.tags)
    return decode(weights, checkpoint)


def _base(source: Source, sha256: str) -> Known:
    """The base model with these weights, which may have other sweeps than the member's."""
    for run in source.of_kind(Kind.BASE_MODEL):
        if run.status == "FINISHED" and run.tags.get("weights_sha256") == sha256:
            return run
    raise UserError(
        f"the checkpoint belongs to a base model with the weights {sha256[:12]}..., which is not "
        "in this store"
    )
