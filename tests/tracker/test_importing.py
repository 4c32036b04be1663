"""Weights that were trained elsewhere: what is taken, under which names, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.tracker.conftest import Indelible
from tests.tracker.test_damage import one_line
from tracker.base.importing import import_weights
from unlearning.errors import UserError
from unlearning.models import weights_sha256

MLP = ("train", "--arch", "mlp")
Weights = dict[str, Tensor]


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def fresh() -> Weights:
    """A state dict that is not the network's own, with counters as after a training."""
    state = {name: t.clone() for name, t in network().state_dict().items()}
    return {name: t + 1 if t.is_floating_point() else t + 130 for name, t in state.items()}


def saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def read(path: Path) -> tuple[Weights, str]:
    weights, remarks = import_weights(path, network())
    return weights, " | ".join(remarks)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        import_weights(path, network())
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def in_modules(weights: Weights) -> Weights:
    return {f"module._orig_mod.{name}": t for name, t in weights.items()}


FORMS: dict[str, tuple[Callable[[Weights], object], str]] = {
    "plain": (lambda w: w, ""),
    "other strides": (
        lambda w: {n: t.mT.contiguous().mT if t.ndim == 2 else t for n, t in w.items()},
        "",
    ),
    "DDP, compiled": (in_modules, "the prefix 'module._orig_mod.'"),
    "Lightning": (
        lambda w: {"state_dict": {f"net.{n}": t for n, t in w.items()}, "epoch": 3},
        "the weights are 'state_dict' of",
    ),
    "with its optimizer": (
        lambda w: {"model": w, "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 6)}}}},
        "the weights are 'model' of",
    ),
    "twice the same": (lambda w: {"best": {"model": w}, "last": w}, "'best.model'"),
    "no tensors between": (lambda w: w | {"epoch": 3, "lr": 0.1}, "no tensors: 'epoch', 'lr'"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    made, said = FORMS[form]
    path = tmp_path / "w"
    for zipped in (True, False):
        path.write_bytes(saved(made(fresh()), _use_new_zipfile_serialization=zipped))
        tensors, remarks = read(path)
        assert weights_sha256(tensors) == weights_sha256(fresh())
        assert said in remarks
        assert bool(said) == bool(remarks)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_another_precision_is_the_same_from_both(kind: torch.dtype, tmp_path: Path) -> None:
    weights = {n: t.to(kind) if t.is_floating_point() else t for n, t in fresh().items()}
    save_file(weights, tmp_path / "a.pt")  # the content decides, and not the suffix
    torch.save(weights, tmp_path / "b.safetensors")
    for path in tmp_path.iterdir():
        assert weights_sha256(read(path)[0]) == weights_sha256(weights)


def test_counters_that_old_versions_did_not_write_are_not_missed(tmp_path: Path) -> None:
    old = {name: t for name, t in fresh().items() if "tracked" not in name}
    torch.save(in_modules(old), tmp_path / "b.pt")
    assert weights_sha256(read(tmp_path / "b.pt")[0]) == weights_sha256(old)


class Own(nn.Module):
    """A network that somebody pickles as a whole."""


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, plain: bool) -> None:
    trap, path = tmp_path / "executed", tmp_path / "w.pt"
    content: Any = fresh() | {"x": Malicious(trap)} if plain else Malicious(trap)
    for zipped in (True, False):
        path.write_bytes(saved(content, _use_new_zipfile_serialization=zipped))
        assert "mkdir" in refusal(path)
    path.write_bytes(pickle.dumps(content))
    refusal(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())  # that it is a trap at all
    assert trap.exists()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


def test_a_tensor_with_two_names(tmp_path: Path) -> None:
    state = Tied().state_dict()
    torch.save(state, tmp_path / "a")
    for kept in ({"a.weight", "b.weight"}, {"b.weight"}):
        some = {name: t.clone() for name, t in state.items() if name in kept or "bias" in name}
        save_file(some, tmp_path / str(len(kept)))
    for path in tmp_path.iterdir():
        assert weights_sha256(import_weights(path, Tied())[0]) == weights_sha256(state)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "neither a safetensors file nor what torch.save writes"),
    "cut": (lambda: saved(fresh())[:-40], "is damaged"),
    "a whole network": (lambda: saved(Own()), "test_importing.Own in it"),
    "a list": (lambda: saved(list(fresh().values())), "no tensors by name"),
    "two": (
        lambda: saved({"model": network().state_dict(), "ema": {"shadow": fresh()}}),
        "2 different state dicts that fit the architecture, 'model', 'ema.shadow'",
    ),
    "one missing": (
        lambda: saved(in_modules({n: t for n, t in fresh().items() if n != "3.bias"})),
        'do not fit the architecture: Missing key(s) in state_dict: "3.bias".',
    ),
    "int8": (
        lambda: saved(fresh() | {"3.bias": torch.ones(3, dtype=torch.int8)}),
        "are torch.int8, where torch.float32 is expected",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_file_is_one_line(what: str, tmp_path: Path) -> None:
    made, said = REFUSED[what]
    path = tmp_path / "w.pt"
    path.write_bytes(made())
    assert said in refusal(path)


def test_the_same_weights_are_the_same_base_model(tmp_path: Path, indelible: Indelible) -> None:
    """Through the command line: one run, whatever the file is, and no half of one if refused."""
    store = tmp_path / "s"
    assert indelible(store, *MLP, "--epochs", 5).code == 0
    (kept,) = store.rglob("weights-*.safetensors")
    weights, first = load_file(kept), indelible(store, *MLP, "--from-weights", kept)
    assert first.code == 0
    assert re.search(r"gets \d\d\.\d% of the test set right; always '\d', the most", first.err)
    (tmp_path / "lightning.ckpt").write_bytes(saved({"state_dict": in_modules(weights)}))
    again = indelible(store, *MLP, "--from-weights", tmp_path / "lightning.ckpt")
    assert (again.code, again.id) == (0, first.id)
    assert f"the weights are 'state_dict' of {tmp_path / 'lightning.ckpt'}\n" in again.err
    assert "the prefix 'module._orig_mod.' of their names is left out\n" in again.err
    bad = tmp_path / "bad.pt"
    bad.write_bytes(saved({"state_dict": weights, "x": Malicious(tmp_path / "executed")}))
    one_line(indelible(store, *MLP, "--from-weights", bad), "mkdir", "['state_dict']")
    assert not (tmp_path / "executed").exists()
    assert len(json.loads(indelible(store, "models", "--format", "json").out)) == 2
