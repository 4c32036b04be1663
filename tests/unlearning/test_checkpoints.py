from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from indelible.errors import UserError
from indelible.unlearning.checkpoints import decode, encode
from indelible.unlearning.models import weights_sha256

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


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    path = tmp_path / "delta.safetensors"
    path.write_bytes(encode(state(0), state(1)))
    return path


def test_comes_back_bit_for_bit(delta: Path) -> None:
    restored = decode(state(0), delta)
    assert list(restored) == list(state(1))
    for name, expected in state(1).items():
        assert restored[name].dtype == expected.dtype
        assert restored[name].shape == expected.shape
        assert bits(restored[name]) == bits(expected), name


def test_is_a_safetensors_file_of_the_same_names(delta: Path) -> None:
    with safe_open(delta, framework="numpy") as file:
        assert set(file.keys()) == set(state(0))
        header = json.loads(file.metadata()["delta"])
        assert set(header) == {"format", "base_sha256", "result_sha256"}
        assert header["result_sha256"] == weights_sha256(state(1))


def test_equal_deltas_are_equal_files() -> None:
    assert len({encode(state(0), state(1)) for _ in range(20)}) == 1


def test_a_small_step_takes_little_room() -> None:
    base = {"w": torch.randn(100_000, generator=torch.Generator().manual_seed(0))}
    step = {"w": base["w"] * (1 + 1e-4)}
    assert len(encode(base, base)) < 2_000
    assert len(encode(base, step)) < 0.7 * 400_000


def test_refuses_another_base_model(delta: Path) -> None:
    with pytest.raises(UserError, match="belongs to the base model"):
        decode(state(2), delta)


def test_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="damaged"):
        decode(state(0), path)


@pytest.mark.parametrize("damage", [lambda n: n // 2, lambda n: n - 5, lambda n: 3 * n // 4])
def test_refuses_every_changed_byte_it_was_tried_with(
    delta: Path, damage: Callable[[int], int]
) -> None:
    content = bytearray(delta.read_bytes())
    content[damage(len(content))] ^= 0x10
    delta.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        decode(state(0), delta)


def test_refuses_a_file_cut_short(delta: Path) -> None:
    delta.write_bytes(delta.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged"):
        decode(state(0), delta)
