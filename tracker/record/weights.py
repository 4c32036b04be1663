"""Weights as a store keeps them: a base model's whole, and a member's as a difference to them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from torch import Tensor

from tracker.access.artifacts import Artifacts, Damaged
from unlearning.checkpoints import ends_of, read_tensors
from unlearning.errors import UserError
from unlearning.models import weights_sha256

# Files are named by their content: two processes that write different ones for one run write
# different files, and the run's own tags say whose counts. A version before named all alike.
FILE_TAGS = {"checkpoint": "checkpoint", "weights_sha256": "weights"}
OLD_CHECKPOINT = "checkpoint.safetensors"
FILES = re.compile(r"(checkpoint|weights)(-[0-9a-f]{16})?\.safetensors")
SHA256 = re.compile("[0-9a-f]{64}")


def file_name(kind: str, sha256: str) -> str:
    """The file of a `checkpoint`, by the SHA-256 of its content, or of `weights`, by theirs."""
    return f"{kind}-{sha256[:16]}.safetensors"


def files_of(tags: Mapping[str, str]) -> set[str]:
    """The files that a run's tags tell of."""
    return {file_name(kind, tags[tag]) for tag, kind in FILE_TAGS.items() if tag in tags}


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
    name, content = _read(artifacts, uri, "weights", tags.get("weights_sha256", ""))
    try:
        state = read_tensors(content, name)
    except UserError as error:
        raise Damaged(str(error)) from error
    if weights_sha256(state) != tags["weights_sha256"]:
        raise Damaged(f"{name} is damaged: it is not what was written")
    return state


def _read(artifacts: Artifacts, uri: str, kind: str, sha256: str) -> tuple[str, bytes]:
    """Name and content of the file of a kind."""
    if not SHA256.fullmatch(sha256):
        raise Damaged(f"the run tells of {kind} with the SHA-256 '{sha256[:80]}', which is none")
    for name in (file_name(kind, sha256), f"{kind}.safetensors"):
        content = artifacts.read(uri, name)
        if content is not None:
            return name, content
    raise Damaged(f"{file_name(kind, sha256)} is missing")
