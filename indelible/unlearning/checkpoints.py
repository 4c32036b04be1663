"""Checkpoints as lossless deltas against the base model: small, exact, and read without pickle.

A delta is a safetensors file. Each tensor holds one zstd frame: the XOR of the raw bits of base
and result, bytes regrouped by significance (a small step leaves signs and exponents alone, so
their bytes are zeros in a row). Its header names the SHA-256 of both state dicts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from indelible.errors import UserError
from indelible.unlearning.models import weights_sha256

FORMAT = "indelible-delta-1"
HEADER = "delta"
LEVEL = 3  # of zstd

Bytes = NDArray[np.uint8]
StateDict = Mapping[str, Tensor]


def _raw(tensor: Tensor) -> Bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw: Bytes = flat.view(torch.uint8).numpy()
    return raw.reshape(-1, tensor.element_size())


def encode(base: StateDict, result: StateDict, base_sha256: str | None = None) -> bytes:
    """The delta from `base` to `result` as the bytes of a file.

    Both must have the same names, shapes and types. `base_sha256` spares hashing the base again.
    """
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    frames = {}
    for name, before in base.items():
        planes = np.ascontiguousarray((_raw(before) ^ _raw(result[name])).T)
        frames[name] = np.frombuffer(compress(planes.tobytes()), dtype=np.uint8)
    header = {
        "format": FORMAT,
        "base_sha256": base_sha256 or weights_sha256(base),
        "result_sha256": weights_sha256(result),
    }
    # One entry of metadata: safetensors writes several in any order, and equal deltas would differ.
    return save(frames, {HEADER: json.dumps(header)})


def decode(base: StateDict, path: Path) -> dict[str, Tensor]:
    """The state dict that `encode` was given, bit for bit.

    Raises UserError if the file is damaged or was made against another base model.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            if header.get("format") != FORMAT:
                raise UserError(f"{path.name} is not a checkpoint delta of this tool")
            if header["base_sha256"] != weights_sha256(base):
                raise UserError(
                    f"{path.name} belongs to the base model {header['base_sha256'][:12]}..., "
                    f"not to {weights_sha256(base)[:12]}..."
                )
            result = {name: _apply(before, file.get_tensor(name)) for name, before in base.items()}
    except (SafetensorError, zstandard.ZstdError, KeyError, ValueError) as error:
        raise UserError(f"{path.name} is damaged: {error}") from error
    if header["result_sha256"] != weights_sha256(result):
        raise UserError(f"{path.name} is damaged: its weights do not have the recorded SHA-256")
    return result


def _apply(before: Tensor, frame: Bytes) -> Tensor:
    raw, data = _raw(before), frame.tobytes()
    if zstandard.frame_content_size(data) != raw.size:
        raise ValueError("a tensor has not the size it has in the base model")
    planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(data), dtype=np.uint8)
    after = raw ^ planes.reshape(raw.shape[::-1]).T
    return torch.from_numpy(after.reshape(-1)).view(before.dtype).reshape(before.shape)
