"""Weights that were trained elsewhere: what is taken, under which names, and what is refused."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
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
from tracker.base import doubts
from tracker.base.importing import import_weights
from unlearning.dataset import Dataset, Split
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
    assert "imported model gets" not in first.err
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
    assert "right, and" not in first.err
    shifted = {n: t.roll(1, 0) if n.startswith("5.") else t for n, t in weights.items()}
    wrong = indelible(store, *MLP, "--from-weights", written(tmp_path / "order.pt", shifted))
    assert wrong.code == 0
    assert "- the order of the labels: 0 is '0', 1 is '1', 2 is '2', ...\n" in wrong.err
    assert "if its outputs are put in another order, as the output of '0' for '9'" in wrong.err
    assert "- the scale: images are in [0, 1]; a normalisation" in wrong.err
    assert "(1, 8, 8), grey\n" in wrong.err
    found = indelible(store, *MLP, "--from-weights", tmp_path / "order.pt")
    assert found.id == wrong.id
    assert "the order of the labels" in found.err


def data(train: int, counts: tuple[int, ...]) -> Dataset:
    """Blank images; so many test samples of each class."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    def part(own: Tensor) -> Split:
        return Split(torch.zeros(len(own), 3, 2, 2).byte(), own, torch.arange(len(own)))

    names = tuple(f"class {number}" for number in range(len(counts)))
    return Dataset("blank", part(torch.arange(train) % len(counts)), part(labels), names, 255)


def binomial_tail(right: int, count: int, chance: float) -> float:
    return sum(
        math.comb(count, k) * chance**k * (1 - chance) ** (count - k)
        for k in range(right, count + 1)
    )


def is_doubted(train: int, right: int, counts: tuple[int, ...], trained: float = 1.0) -> list[str]:
    metrics = {"train_accuracy": trained, "test_accuracy": right / sum(counts)}
    return list(doubts.of_accuracies(metrics, data(train, counts)))


@pytest.mark.parametrize("counts", [(7, 5), (30, 10, 4), (1, 1), (60, 60), (200, 20, 20)])
def test_a_model_that_is_no_better_than_chance_is_doubted(counts: tuple[int, ...]) -> None:
    tested, chance = sum(counts), max(counts) / sum(counts)
    for right in range(tested + 1):
        is_luck = binomial_tail(right, tested, chance) > 1e-3
        is_little = right / tested < chance + (1 - chance) / 4
        assert bool(is_doubted(40, right, counts)) == (is_luck or is_little), right


def test_what_a_doubt_says() -> None:
    (said,) = is_doubted(40, 20, (30, 10, 4))
    first = "the imported model gets 45.5% of the test set right, where always 'class 0' would get "
    assert said.startswith(f"{first}68.2%")
    assert "red, green, blue" in said
    assert "0 is 'class 0', 1 is 'class 1', 2 is 'class 2'\n" in said


def test_a_model_of_other_samples_is_doubted() -> None:
    def hypergeometric_tail(tested: int, right: int, trained: int, right_there: int) -> float:
        drawn, known = tested, right + right_there
        ways = sum(
            math.comb(known, k) * math.comb(tested + trained - known, drawn - k)
            for k in range(right, min(drawn, known) + 1)
        )
        return ways / math.comb(tested + trained, drawn)

    for right_there in range(0, 61, 3):
        said = is_doubted(60, 38, (20, 20), right_there / 60)
        expected = hypergeometric_tail(40, 38, 60, right_there) < 1e-3
        assert bool(said) == expected, right_there
    assert "other samples than these 60" in is_doubted(60, 38, (20, 20), 0.5)[0]


class Reading(nn.Module):
    """Tells the class of a sample by its first pixel, once that is given in some way."""

    def __init__(self, undo: Callable[[Tensor], Tensor], shift: int = 0) -> None:
        super().__init__()
        self.undo, self.shift = undo, shift

    def forward(self, images: Tensor) -> Tensor:
        level = (self.undo(images)[:, :1, 0, 1] * 10).floor()
        near: Tensor = -(level - torch.arange(10)).abs()
        return near.roll(self.shift, 1)


def levels(channels: int = 3, count: int = 200, white: int = 255) -> Dataset:
    """Images whose pixel in the first row and second column tells the class, of ten."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 10, count))
    images = torch.from_numpy(rng.integers(0, white + 1, (count, channels, 4, 4))).byte()
    images[:, 0, 0, 1] = ((labels + 0.5) / 10 * white).round().byte()
    split = Split(images, labels, torch.arange(count))
    return Dataset("levels", split, split, tuple("abcdefghij"), white)


WAYS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "-1 to 1": (lambda x: (x + 1) / 2, "if pixels are from -1 to 1"),
    "0 to 255": (lambda x: x / 255, "if pixels are from 0 to 255"),
    "inverted": (lambda x: 1 - x, "if black is 1 and white is 0"),
    "exchanged": (lambda x: x.mT, "if rows and columns are exchanged"),
    "BGR": (lambda x: x.flip(1), "if channels are in the order blue, green, red"),
    "ImageNet": (lambda x: x * 0.229 + 0.485, "if channels are normalised as for ImageNet"),
    "own": (
        lambda x: x * levels().train.images[:, :1].div(255).std() + 0.5,
        "if channels are normalised to mean 0",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_way_in_which_a_network_wants_its_inputs_is_found(way: str) -> None:
    undo, said = WAYS[way]
    assert said in next(doubts.of_inputs(Reading(undo), levels()))
    assert list(doubts.of_inputs(Reading(lambda x: x), levels())) == []


def test_raw_values_of_other_data_are_found() -> None:
    (doubt,) = doubts.of_inputs(Reading(lambda x: x / 16), levels(1, white=16))
    assert "and 100.0% if pixels are from 0 to 16: it was probably trained so" in doubt


def test_another_order_of_the_outputs_is_found() -> None:
    (doubt,) = doubts.of_inputs(Reading(lambda x: x, shift=1), levels())
    assert "gets 0.0% of 200 test samples right, and 100.0% if its outputs are put in" in doubt
    assert "as the output of 'a' for 'j'" in doubt


def test_what_a_network_cannot_do_with_other_inputs_is_left_out() -> None:
    class Indexing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(256, 10)[(images[:, 0, 0, 1] * 255).long()]

    assert list(doubts.of_inputs(Indexing(), levels())) == []


@pytest.mark.parametrize(("wrong", "is_more_than_luck"), [(13, True), (12, False)])
def test_a_few_wrong_ones_may_be_luck(wrong: int, is_more_than_luck: bool) -> None:
    """(1/2)^13 is below a thousandth of one in seven ways, and (1/2)^12 is not."""
    data = levels()
    data.test.images[:, :, 0, 0] = 0  # tells the network whether black is 0
    data.test.images[:, 0, 0, 2] = 0
    data.test.images[:wrong, 0, 0, 2] = 255  # those that it gets wrong then

    class Inverted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = Reading(lambda x: 1 - x if x[0, 0, 0, 0] == 1 else x)(images)
            is_wrong = (images[:, 0, 0, 2] == 1) & (images[:, 0, 0, 0] == 0)
            return logits.roll(1, 1).where(is_wrong[:, None], logits)

    found = list(doubts.of_inputs(Inverted(), data))
    assert [doubt.startswith("the imported model gets 93.5%") for doubt in found] == (
        [True] if is_more_than_luck else []
    )
