"""Weights that were trained elsewhere: what is taken, under which names, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def written(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def read(path: Path) -> tuple[Weights, str]:
    imported = import_weights(path, network())
    return dict(imported.tensors), " | ".join(imported.remarks)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        import_weights(path, network())
    said = str(refused.value)
    assert "\n" not in said
    assert str(path) in said
    return said


def old(weights: Weights) -> Weights:
    return {name: t for name, t in weights.items() if "tracked" not in name}


def strided(weights: Weights) -> Weights:
    """The same values in other strides, and where shapes agree in one storage."""
    vectors = torch.stack([t for t in weights.values() if t.shape == (4,)], dim=1)
    columns = iter(vectors.T)
    return {
        name: next(columns) if t.shape == (4,) else t.T.contiguous().T if t.ndim == 2 else t
        for name, t in weights.items()
    }


def in_modules(weights: Weights) -> Weights:
    return {f"module._orig_mod.{name}": t for name, t in weights.items()}


FORMS: dict[str, tuple[Callable[[Weights], object], str]] = {
    "plain": (lambda w: w, ""),
    "parameters": (lambda w: {n: nn.Parameter(t, t.is_floating_point()) for n, t in w.items()}, ""),
    "other strides": (strided, ""),
    "DDP, compiled": (in_modules, "the prefix 'module._orig_mod.'"),
    "Lightning": (
        lambda w: {"state_dict": {f"net.{n}": t for n, t in w.items()}, "epoch": 3},
        "the weights are 'state_dict' of",
    ),
    "with its optimizer": (
        lambda w: {"model": w, "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 6)}}}},
        "the weights are 'model' of",
    ),
    "deep": (lambda w: {"best": {"model": w, "loss": torch.tensor(0.5)}}, "'best.model'"),
    "twice the same": (lambda w: {"model": w, "best": {n: t.clone() for n, t in w.items()}}, ""),
    "no tensors between": (lambda w: w | {"epoch": 3, "lr": 0.1}, "no tensors: 'epoch', 'lr'"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_form_gives_the_same_tensors(form: str, zipped: bool, tmp_path: Path) -> None:
    made, said = FORMS[form]
    path = written(tmp_path / "w", made(fresh()), _use_new_zipfile_serialization=zipped)
    tensors, remarks = read(path)
    assert weights_sha256(tensors) == weights_sha256(fresh())
    assert said in remarks
    assert bool(said) == bool(remarks) or form == "twice the same"


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    save_file(fresh(), tmp_path / "a.pt")
    written(tmp_path / "b.safetensors", fresh())
    for path in tmp_path.iterdir():
        assert weights_sha256(read(path)[0]) == weights_sha256(fresh())


def test_counters_that_old_versions_did_not_write_are_zero(tmp_path: Path) -> None:
    save_file(old(fresh()), tmp_path / "a.safetensors")
    written(tmp_path / "b.pt", in_modules(old(fresh())))
    for path in tmp_path.iterdir():
        tensors, remarks = read(path)
        assert "num_batches_tracked, which is missing" in remarks
        assert tensors.pop("2.num_batches_tracked").item() == 0
        assert weights_sha256(tensors) == weights_sha256(old(fresh()))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_said_and_is_the_same_from_both(
    kind: torch.dtype, tmp_path: Path
) -> None:
    weights = {n: t.to(kind) if t.is_floating_point() else t for n, t in fresh().items()}
    save_file(weights, tmp_path / "a.safetensors")
    written(tmp_path / "b.pt", weights)
    (one, said), (other, again) = (read(path) for path in sorted(tmp_path.iterdir()))
    assert weights_sha256(one) == weights_sha256(other) == weights_sha256(weights)
    assert said == again == f"{str(kind)[6:]} becomes float32, the architecture's precision"


class Own(nn.Module):
    """A network that somebody pickles as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Linear(6, 3)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, zipped: bool, plain: bool) -> None:
    trap, path = tmp_path / "executed", tmp_path / "w.pt"
    content: Any = fresh() | {"x": Malicious(trap)} if plain else Malicious(trap)
    written(path, content, _use_new_zipfile_serialization=zipped)
    assert "mkdir" in refusal(path)
    path.write_bytes(pickle.dumps(content))
    refusal(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())  # that it is a trap at all
    assert trap.exists()


def command_in(said: str) -> list[str]:
    words = shlex.split(said[said.index("python -c ") :])
    return [sys.executable, *words[1:3]]


def converted(path: Path, name: str) -> Path:
    """What the command writes that a refusal tells of."""
    command = command_in(refusal(path))
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True, timeout=120)
    return path.parent / name


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    path = written(tmp_path / "w.pt", Own(), _use_new_zipfile_serialization=zipped)
    said = refusal(path)
    assert "is a whole pickled " in said
    assert "test_importing.Own, which" in said
    assert ".state_dict()" in said


@pytest.mark.slow
def test_the_command_that_a_refusal_tells_of_converts_the_file(tmp_path: Path) -> None:
    whole = network()
    whole.load_state_dict(fresh())
    odd = written(tmp_path / 'it\'s "ö".pt', whole)
    several = written(tmp_path / "two.pt", {"a": network().state_dict(), "b": fresh()})
    numbers = {"state_dict": fresh(), "accuracy": np.float64(0.5)}
    scripted = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(whole.eval()), scripted)
    arrays = {name: t.numpy() for name, t in fresh().items()}
    for path in (
        *(odd, several, scripted, written(tmp_path / "numbers.pt", numbers)),
        written(tmp_path / "arrays.pt", arrays),
    ):
        made = converted(path, f"{path.stem}-state-dict.pt")
        assert weights_sha256(read(made)[0]) == weights_sha256(fresh())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


def test_a_tensor_with_two_names(tmp_path: Path) -> None:
    state = Tied().state_dict()
    apart = {name: t.clone() for name, t in state.items()}
    paths = [written(tmp_path / "a.pt", state), tmp_path / "b", tmp_path / "c"]
    save_file(apart, paths[1])
    save_file({name: t for name, t in apart.items() if name != "a.weight"}, paths[2])
    for path in paths:
        tensors = import_weights(path, Tied()).tensors
        assert weights_sha256(tensors) == weights_sha256(state)
    written(paths[0], apart | {"b.weight": torch.zeros(4, 4)})
    with pytest.raises(UserError, match=r"'a\.weight' and 'b\.weight' differ"):
        import_weights(paths[0], Tied())


def archive(*names: str) -> bytes:
    from zipfile import ZipFile

    stream = io.BytesIO()
    with ZipFile(stream, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return stream.getvalue()


def saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


OLD = {"_use_new_zipfile_serialization": False}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "short": (lambda: b"{", "is neither"),
    "text": (lambda: b"these are no weights\n", "is neither a safetensors file nor one of"),
    "braces": (lambda: b"12345678{}", "no safetensors file"),
    "cut": (lambda: saved(fresh())[:-40], "is damaged"),
    "old, cut": (lambda: saved(fresh(), **OLD)[:-5], "is damaged"),
    "old, short": (lambda: saved(fresh(), **OLD)[:40], "is damaged"),
    "a zip": (lambda: archive("a/b.txt"), "is a zip file, but not one of torch.save"),
    "a zip like it": (lambda: archive("a/data.pkl", "a/version"), "is damaged"),
    "pickle": (lambda: pickle.dumps(fresh()), "is damaged, or not what torch.save writes"),
    "arrays": (lambda: saved({"a": np.ones(3)}), "has objects beside its tensors, numpy."),
    "a list": (lambda: saved(list(fresh().values())), "no tensors by name"),
    "a tensor": (lambda: saved(torch.ones(3)), "no tensors by name"),
    "numbers": (lambda: saved({"a": 1.0}), "no tensors by name"),
    "no names": (lambda: saved({0: torch.ones(3)}), "no tensors by name"),
    "two": (
        lambda: saved({"model": network().state_dict(), "ema": {"shadow": fresh()}}),
        "2 different state dicts that fit the architecture, 'model', 'ema.shadow'",
    ),
    "others": (
        lambda: saved({"model": {n: torch.ones(3) for n in "ab"}, "lr": torch.ones(())}),
        "do not fit the architecture: '1.bias' is nothing, where (4,) is expected; 9 of 9 tensors "
        "are missing, 2 are unknown",
    ),
    "one missing": (
        lambda: saved(in_modules({n: t for n, t in fresh().items() if n != "3.bias"})),
        "'3.bias' is nothing, where (3,) is expected; 1 of 9 tensors are missing, 0 are unknown",
    ),
    "another shape": (
        lambda: saved({"state_dict": fresh() | {"3.bias": torch.ones(5)}}),
        "'3.bias' is (5,), where (3,) is expected",
    ),
    "half of them in a module": (
        lambda: saved({n if "3" in n else f"module.{n}": t for n, t in fresh().items()}),
        "do not fit the architecture",
    ),
    "meta": (lambda: saved(fresh() | {"3.bias": torch.ones(3, device="meta")}), "without values"),
    "sparse": (lambda: saved(fresh() | {"1.weight": torch.eye(4, 6).to_sparse()}), "not dense"),
    "complex": (
        lambda: saved(fresh() | {"3.bias": torch.ones(3, dtype=torch.complex64)}),
        "complex",
    ),
    "int8": (
        lambda: saved(fresh() | {"3.bias": torch.ones(3, dtype=torch.int8)}),
        "'3.bias' is int8, where float32 is expected",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_file_is_one_line(what: str, tmp_path: Path) -> None:
    made, said = REFUSED[what]
    path = tmp_path / "w.pt"
    path.write_bytes(made())
    assert said in refusal(path)


def test_a_mapping_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": fresh()}
    content["again"] = content
    assert weights_sha256(read(written(tmp_path / "w", content))[0]) == weights_sha256(fresh())


def test_a_script_is_refused(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(network()), path)
    recwarn.clear()
    assert "is a TorchScript archive" in refusal(path)
    assert not recwarn


def test_the_same_weights_are_the_same_base_model(tmp_path: Path, indelible: Indelible) -> None:
    """Through the command line: one run, whatever the file is, and no half of one if refused."""
    store = tmp_path / "s"
    assert indelible(store, *MLP, "--epochs", 15).code == 0
    (kept,) = store.rglob("weights-*.safetensors")
    weights, first = load_file(kept), indelible(store, *MLP, "--from-weights", kept)
    assert first.code == 0
    assert re.search(r"gets \d\d\.\d% of the test set right; always '\d', the most", first.err)
    forms = {"plain.pt": weights, "lightning.ckpt": {"state_dict": in_modules(weights)}}
    for name, content in forms.items():
        again = indelible(store, *MLP, "--from-weights", written(tmp_path / name, content))
        assert (again.code, again.id) == (0, first.id), name
    assert f"the weights are 'state_dict' of {tmp_path / 'lightning.ckpt'}\n" in again.err
    assert "the prefix 'module._orig_mod.' of their names is left out\n" in again.err
    trap = tmp_path / "executed"
    bad = written(tmp_path / "bad.pt", {"state_dict": weights, "x": Malicious(trap)})
    one_line(indelible(store, *MLP, "--from-weights", bad), "mkdir", '["state_dict"]')
    one_line(indelible(store, *MLP, "--from-weights", tmp_path), str(tmp_path))
    assert not trap.exists()
    assert len(json.loads(indelible(store, "models", "--format", "json").out)) == 2
