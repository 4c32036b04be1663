from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from unlearning.checkpoints import decode, encode
from unlearning.errors import UserError
from unlearning.models import weights_sha256

State = dict[str, Tensor]


def state(seed: int) -> State:
    """Every type and shape that a state dict may hold."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(8, 3, 3, generator=generator)
    weights[0, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    return {
        "conv.weight": weights,
        "double": torch.randn(5, generator=generator).double(),
        "half": torch.randn(7, generator=generator).half(),
        "brain": torch.randn(2, 2, generator=generator).bfloat16(),
        "num_batches_tracked": torch.tensor(seed),
        "flags": torch.tensor([True, bool(seed % 2)]),
        "empty": torch.empty(0, 4),
        "strided": torch.randn(6, 4, generator=generator).T,
    }


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture(scope="module")
def delta() -> bytes:
    return encode(state(0), state(1))


def test_comes_back_bit_for_bit(delta: bytes) -> None:
    assert delta == encode(state(0), state(1))
    restored = decode(state(0), delta)
    assert list(restored) == list(state(1))
    for name, expected in state(1).items():
        assert restored[name].dtype == expected.dtype
        assert restored[name].shape == expected.shape
        assert bits(restored[name]) == bits(expected), name


def doubled(of: State) -> State:
    return {name: t.double() if t.is_floating_point() else t for name, t in of.items()}


def test_a_result_in_float64_comes_back_bit_for_bit(tmp_path: Path) -> None:
    result = doubled(state(1))
    result["conv.weight"] += 1e-12  # float32 knows nothing of this
    delta = encode(state(0), result)
    restored = decode(state(0), delta)
    for name, expected in result.items():
        assert restored[name].dtype == expected.dtype
        assert bits(restored[name]) == bits(expected), name
    (tmp_path / "d").write_bytes(delta)
    with safe_open(tmp_path / "d", framework="numpy") as file:
        header = json.loads(file.metadata()["delta"])
    assert (header["precision"], header["base_sha256"]) == ("float64", weights_sha256(state(0)))
    base = doubled(state(0))  # kept in float64 already: nothing is wider
    assert b"precision" not in encode(base, result)
    assert bits(decode(base, encode(base, result))["brain"]) == bits(result["brain"])


def test_refuses_another_base_model(delta: bytes) -> None:
    with pytest.raises(UserError, match="belongs to the base model"):
        decode(state(2), delta)


@pytest.mark.parametrize("header", ["[]", "{", '{"format": "indelible-delta-1"}', None])
def test_refuses_what_is_none_of_ours(header: str | None) -> None:
    content = b""
    if header is not None:
        content = save({"w": np.zeros(3, dtype=np.uint8)}, {"delta": header})
    with pytest.raises(UserError, match="damaged"):
        decode({"w": torch.zeros(3)}, content)


def test_refuses_every_flipped_bit_it_was_tried_with(delta: bytes) -> None:
    random = np.random.default_rng(0)
    refused = 0
    for position in random.integers(len(delta), size=300).tolist():
        content = bytearray(delta)
        content[position] ^= 1 << int(random.integers(8))
        try:
            restored = decode(state(0), bytes(content))
        except UserError:
            refused += 1
        else:  # a part of the file that says nothing
            assert weights_sha256(restored) == weights_sha256(state(1))
    assert refused > 200
