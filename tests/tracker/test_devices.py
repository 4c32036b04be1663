"""Where is computed: names of devices, and what holds on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import one_line
from tracker.base.base_models import accuracies
from tracker.base.workers import pick_device
from tracker.studies.evidence import evidence
from unlearning import base_model, losses, training
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.execution import make_ready
from unlearning.recipe import Recipe

CPU = torch.device("cpu")


@contextmanager
def gpus(count: int) -> Iterator[None]:
    """A machine with so many of NVIDIA's, as far as torch is asked."""
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    chance = torch.backends.cudnn.deterministic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: count > 0)
        patch.setattr(torch.cuda, "device_count", lambda: count)
        yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
    torch.backends.cudnn.deterministic = chance


@pytest.mark.parametrize(
    ("name", "count", "wanted"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda:2", 2, "'cuda:2' is asked for, but torch sees 2, from cuda:0 on"),
        ("mps", 1, "'mps' is asked for, but torch sees none: use --device cpu"),
        ("tpu", 1, "device is 'tpu': choose auto, cpu, cuda, cuda:1 or mps"),
    ],
)
def test_devices_by_their_names(name: str, count: int, wanted: str) -> None:
    with gpus(count):
        if " " in wanted:
            with pytest.raises(UserError, match=wanted):
                pick_device(name)
        else:
            assert pick_device(name) == torch.device(wanted)


def test_apples_gpu_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with gpus(0):
        assert (pick_device("auto"), pick_device("mps")) == (CPU, torch.device("mps"))


def test_on_a_gpu_float32_is_no_tf32_and_kernels_have_no_chance() -> None:
    assert torch.backends.cudnn.allow_tf32  # torch's own default
    with gpus(1):
        make_ready(CPU)
        assert torch.backends.cudnn.allow_tf32
        make_ready(torch.device("cuda"))
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.deterministic


def test_whoever_trains_or_has_a_base_model_rules_out_chance(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.device] = []
    for module in (base_model, training):
        monkeypatch.setattr(module, "make_ready", told.append)
    BaseModel(base.network, base.dataset, CPU)
    training.train(base.dataset, "mlp", Recipe(epochs=1), CPU)
    arrived = object.__new__(BaseModel)  # in another process, as an actor of Ray
    arrived.__setstate__(base.__getstate__() | {"device": torch.device("cuda:1")})
    assert told == [CPU, CPU, torch.device("cuda:1")]


def test_a_device_that_is_not_there_is_one_line(trained: Path, indelible: Indelible) -> None:
    with gpus(2):
        one_line(indelible(trained, "train", "--device", "tpu"), "device is 'tpu': choose auto")
        how = ("sweep", "--algorithm", "ga", "--engine", "ray", "--device", "cuda:1")
        one_line(indelible(trained, *how), "each slot has a GPU of its own")


def test_no_more_than_float32_is_asked_of_a_device_that_has_no_more(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, requests = accuracies(base), torch.arange(4)
    before = evidence(base, base.params, requests)

    def double(_: Tensor) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(losses, "NO_FLOAT64", ("cpu",))
    monkeypatch.setattr(Tensor, "double", double)
    assert accuracies(base) == pytest.approx(wanted, rel=1e-5)
    assert evidence(base, base.params, requests) == pytest.approx(before, rel=1e-4)
