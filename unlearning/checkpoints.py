"""Checkpoints as lossless deltas against the base model: small, exact, and read without pickle.

A delta is a safetensors file. Each tensor holds one zstd frame: the XOR of the raw bits of base
and result, bytes regrouped by significance (a small step leaves signs and exponents alone, so
their bytes are zeros in a row). Its header names the SHA-256 of both state dicts, and the
precision of the result where that is wider than the base's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from safetensors.torch import load as load_tensors
from torch import Tensor

from unlearning.errors import UserError
from unlearning.models import weights_sha256

FORMAT = "indelible-delta-1"
HEADER = "delta"
LEVEL = 3  # of zstd
DOUBLE = "float64"  # the one precision that a header may name

# What safetensors and json raise of bytes that make no sense.
DAMAGED = (SafetensorError, LookupError, ValueError, TypeError, AttributeError, RecursionError)

Bytes = NDArray[np.uint8]
StateDict = Mapping[str, Tensor]


def _raw(tensor: Tensor) -> Bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw: Bytes = flat.view(torch.uint8).numpy()
    return raw.reshape(-1, tensor.element_size())


def encode(
    base: StateDict,
    result: StateDict,
    base_sha256: str | None = None,
    result_sha256: str | None = None,
) -> bytes:
    """The delta from `base` to `result` as the bytes of a file.

    Both must have the same names, shapes and types, but that all of the result's floating-point
    numbers may be float64. A SHA-256 that is known spares hashing again.

    Raises ValueError if shapes or types differ otherwise.
    """
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    is_wider = any(result[n].dtype == torch.float64 != t.dtype for n, t in base.items())
    frames = {}
    for name, before in (_widened(base) if is_wider else base).items():
        if (before.dtype, before.shape) != (result[name].dtype, result[name].shape):
            raise ValueError(f"'{name}' has another type or shape than in the base model")
        planes = np.ascontiguousarray((_raw(before) ^ _raw(result[name])).T)
        frames[name] = np.frombuffer(compress(planes.tobytes()), dtype=np.uint8)
    header = {
        "format": FORMAT,
        "base_sha256": base_sha256 or weights_sha256(base),
        "result_sha256": result_sha256 or weights_sha256(result),
    } | ({"precision": DOUBLE} if is_wider else {})
    # One entry of metadata: safetensors writes several in any order, and equal deltas would differ.
    return save(frames, {HEADER: json.dumps(header)})


def decode(base: StateDict, content: bytes, what: str = "the checkpoint") -> dict[str, Tensor]:
    """The state dict that `encode` was given, bit for bit.

    Raises UserError if the content is damaged or was made against another base model.
    """
    frames, header = _opened(content, what)
    own = weights_sha256(base)
    if header["base_sha256"] != own:
        raise UserError(
            f"{what} belongs to the base model {header['base_sha256'][:12]}..., "
            f"not to {own[:12]}..."
        )
    try:
        before = _widened(base) if "precision" in header else base
        result = {name: _apply(tensor, frames[name]) for name, tensor in before.items()}
    except (zstandard.ZstdError, KeyError, ValueError) as error:
        raise UserError(f"{what} is damaged: {error}") from error
    if header["result_sha256"] != weights_sha256(result):
        raise UserError(f"{what} is damaged: its weights do not have the recorded SHA-256")
    return result


def ends_of(content: bytes, what: str = "the checkpoint") -> tuple[str, str]:
    """The SHA-256 of base and result, as a delta says. Raises UserError as `decode` does."""
    header = _opened(content, what)[1]
    return header["base_sha256"], header["result_sha256"]


def read_tensors(content: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises UserError if it is damaged or none."""
    try:
        return load_tensors(content)
    except DAMAGED as error:
        raise UserError(f"{what} is damaged, or no safetensors file: {error}") from error


def as_pickled(state: StateDict) -> bytes:
    """A state dict as the bytes of a file that `torch.load` takes with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save({name: state[name].clone() for name in sorted(state)}, buffer)
    return buffer.getvalue()


def _opened(content: bytes, what: str) -> tuple[dict[str, Bytes], dict[str, str]]:
    """The frames of a delta by name, and what its header says."""
    try:
        frames = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
        known = (header["format"], header.get("precision", DOUBLE)) == (FORMAT, DOUBLE)
        if not known or not isinstance(header["base_sha256"] + header["result_sha256"], str):
            raise ValueError("its header is not what this tool writes")
    except DAMAGED as error:
        raise UserError(f"{what} is damaged, or no checkpoint of this tool: {error}") from error
    return frames, header


def _widened(base: StateDict) -> StateDict:
    """A state dict with all floating-point numbers as float64, which changes no value."""
    return {name: t.double() if t.is_floating_point() else t for name, t in base.items()}


def _apply(before: Tensor, frame: Bytes) -> Tensor:
    raw, data = _raw(before), frame.tobytes()
    if zstandard.frame_content_size(data) != raw.size:
        raise ValueError("a tensor has not the size it has in the base model")
    planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(data), dtype=np.uint8)
    after = raw ^ planes.reshape(raw.shape[::-1]).T
    return torch.from_numpy(after.reshape(-1)).view(before.dtype).reshape(before.shape)
