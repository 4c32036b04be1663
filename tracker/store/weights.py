"""Weights as a store keeps them, a base model's whole and a member's as a difference; and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from torch import Tensor

from tracker.store.files import Artifacts, Damaged
from tracker.store.read import Reader
from tracker.store.records import Kind, Run
from unlearning.checkpoints import decode, ends_of, read_tensors
from unlearning.errors import UserError
from unlearning.models import weights_sha256

# Files are named by their content: two processes that write different ones for one run write
# different files, and the run's own tags say whose counts.
FILE_TAGS = {"checkpoint": "checkpoint", "weights_sha256": "weights"}  # the kind of file, by tag
FILES = re.compile(rf"({'|'.join(FILE_TAGS.values())})-[0-9a-f]{{16}}\.safetensors")
SHA256 = re.compile("[0-9a-f]{64}")


def file_name(kind: str, sha256: str) -> str:
    """The file of a `checkpoint`, by the SHA-256 of its content, or of `weights`, by theirs."""
    return f"{kind}-{sha256[:16]}.safetensors"


def files_of(tags: Mapping[str, str]) -> set[str]:
    """The files that a run's tags tell of, but for tags that are no SHA-256."""
    told = {kind: tags.get(tag, "") for tag, kind in FILE_TAGS.items()}
    return {file_name(kind, sha256) for kind, sha256 in told.items() if SHA256.fullmatch(sha256)}


def read_checkpoint(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> bytes | None:
    """The checkpoint that a member's tags tell of; None if they tell of none.

    Raises Damaged if it is lost or is not what was written.
    """
    if "checkpoint" not in tags:
        return None
    name, content = _read(artifacts, uri, "checkpoint", tags["checkpoint"])
    if hashlib.sha256(content).hexdigest() != tags["checkpoint"]:
        raise Damaged(f"{name} is damaged: it is not what was written")
    try:
        _, result = ends_of(content, name)
    except UserError as error:
        raise Damaged(str(error)) from error
    if result != tags.get("weights_sha256", result):
        raise Damaged(f"{name} belongs to another run: its weights are not the recorded ones")
    return content


def read_weights(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> dict[str, Tensor]:
    """The state dict of a base model. Raises Damaged if it is lost or is not what was written."""
    return weights_and_file(artifacts, uri, tags)[0]


def weights_and_file(
    artifacts: Artifacts, uri: str, tags: Mapping[str, str]
) -> tuple[dict[str, Tensor], bytes]:
    """The weights of a base model, and the file with them. Raises Damaged as `read_weights`."""
    name, content = _read(artifacts, uri, "weights", tags.get("weights_sha256", ""))
    try:
        state = read_tensors(content, name)
    except UserError as error:
        raise Damaged(str(error)) from error
    if weights_sha256(state) != tags["weights_sha256"]:
        raise Damaged(f"{name} is damaged: it is not what was written")
    return state, content


def restore(reader: Reader, run_id: str) -> dict[str, Tensor]:
    """The state dict of the unlearned model of a child run, bit for bit; see `restored`."""
    return restored(reader, run_id)[1]


def restored(reader: Reader, run_id: str) -> tuple[Run, dict[str, Tensor]]:
    """The base model of a child run or unlearning, and the model that it came to, bit for bit.

    Base weights, the difference and the result are each compared with what their runs recorded.

    Raises UserError if the run is no finished child run, has no checkpoint, or if the checkpoint
    or the base model is damaged.
    """
    run = reader.run(run_id)
    if run.kind not in (Kind.MEMBER, Kind.UNLEARNING) or run.status != "FINISHED":
        raise UserError(f"run {run_id} is not a finished child run of a sweep, nor an unlearning")
    checkpoint = read_checkpoint(reader.artifacts, run.artifact_uri, run.tags)
    if checkpoint is None:
        raise UserError(
            f"run {run_id} ({run.name}) has no checkpoint: 'indelible sweep --checkpoints' says "
            "whose are kept"
        )
    sha256 = ends_of(checkpoint)[0]
    for base in reader.of_kind(Kind.BASE_MODEL):  # of which other sweeps than the member's may be
        if base.status == "FINISHED" and base.tags.get("weights_sha256") == sha256:
            weights = read_weights(reader.artifacts, base.artifact_uri, base.tags)
            return base, decode(weights, checkpoint)
    raise UserError(
        f"the checkpoint belongs to a base model with the weights {sha256[:12]}..., which is not "
        "in this store"
    )


def _read(artifacts: Artifacts, uri: str, kind: str, sha256: str) -> tuple[str, bytes]:
    """Name and content of the file of a kind."""
    if not SHA256.fullmatch(sha256):
        raise Damaged(f"the run tells of {kind} with the SHA-256 '{sha256[:80]}', which is none")
    name = file_name(kind, sha256)
    content = artifacts.read(uri, name)
    if content is None:
        raise Damaged(f"{name} is missing")
    return name, content
