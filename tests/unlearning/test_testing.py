"""The contract: its example keeps it, and whoever breaks it is told how."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from unlearning import algorithms, architectures, datasets, testing
from unlearning.algorithm import (
    PARAMS,
    Between,
    Direct,
    Members,
    State,
    declares_itself,
    hyperparameter,
)
from unlearning.base_model import BaseModel
from unlearning.datasets import Dataset


def examples() -> list[str]:
    """The indented blocks of the module's docstring."""
    lines = (testing.__doc__ or "").splitlines()
    blocks, block = [], ""
    for line in [*lines, "end"]:
        if line.startswith("    ") or not line:
            block += line + "\n"
        elif block.strip():
            blocks.append(textwrap.dedent(block).strip() + "\n")
            block = ""
        else:
            block = ""
    return blocks


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example in the docstring as files, where it can be imported."""
    method, test, _ = examples()
    (tmp_path / "halving.py").write_text(method)
    (tmp_path / "example_test.py").write_text(test)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in ("halving", "example_test"):
        sys.modules.pop(module, None)


def test_the_example_in_the_docstring_keeps_the_contract(example: Path) -> None:
    checks: dict[str, object] = {}
    exec((example / "example_test.py").read_text(), checks)
    found = [check for name, check in checks.items() if name.startswith("test_")]
    assert len(found) == 2
    for check in found:
        assert callable(check)
        check()
    points = examples()[2]
    assert set(re.findall(r'entry-points\."(.*)"', points)) == {
        "indelible.algorithms",
        "indelible.factors",
    }
    assert "halving:Halving" in points
    assert "halving:FAMILY" in points


@dataclass(frozen=True, kw_only=True)
class Fine(Direct):
    """Subtracts a little from all weights."""

    name: ClassVar[str] = "fine"
    citation: ClassVar[str] = "nobody"
    less: float = hyperparameter(0.1, "what is subtracted", above=0, at_most=1)

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        count = len(members.forget.label)
        return {
            name: (weights - self.less).expand(count, *weights.shape).clone()
            for name, weights in members.base.params.items()
        }


def test_what_keeps_the_contract_passes() -> None:
    testing.check_algorithm(Fine, less=0.2)


@dataclass(frozen=True, kw_only=True)
class Idle(Fine):
    """Does nothing."""

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        count = len(members.forget.label)
        return {n: w.expand(count, *w.shape).clone() for n, w in members.base.params.items()}


@dataclass(frozen=True, kw_only=True)
class Random(Fine):
    """Adds noise of torch's own generator."""

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        return {n: w + torch.rand_like(w) for n, w in super().propose(members, step).items()}


@dataclass(frozen=True, kw_only=True)
class Sociable(Fine):
    """Looks at how many there are."""

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        count = len(members.forget.label)
        return {n: w - 0.1 * count for n, w in super().propose(members, step).items()}


@dataclass(frozen=True, kw_only=True)
class Destructive(Fine):
    """Changes the base model itself."""

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        changed = super().propose(members, step)
        for weights in members.base.network.parameters():
            weights.data += 0.001
        return changed


@dataclass(frozen=True, kw_only=True)
class Infinite(Fine):
    """Reports what is no number."""

    logged: ClassVar[tuple[str, ...]] = ("depth",)

    def report(self, state: State, steps: Tensor, kept: Tensor) -> Mapping[str, Tensor]:
        return {"depth": torch.full((len(steps),), torch.inf)}


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        (Idle, "did not change the weights of sample"),
        (Random, "comes to something else when it is run again"),
        (Sociable, "comes to something else alone than stacked"),
        (Destructive, "changed the base model"),
        (Infinite, "fine/depth is not finite"),
    ],
)
def test_what_breaks_it_is_told(algorithm: type[Fine], said: str) -> None:
    testing.small_base.cache_clear()  # one of them changes it
    with pytest.raises(AssertionError, match=said):
        testing.check_algorithm(algorithm)
    testing.small_base.cache_clear()


@pytest.mark.parametrize("param", PARAMS)
def test_a_setting_that_would_hide_another_param_is_told(param: str) -> None:
    field = (param, int, hyperparameter(1, "hides it", at_least=0))
    hiding = dataclasses.make_dataclass("Hiding", [field], bases=(Fine,), frozen=True, kw_only=True)
    with pytest.raises(AssertionError, match=f"Hiding.{param} has the name of another param"):
        declares_itself(hiding)


@pytest.mark.parametrize(
    ("default", "searched", "said"),
    [
        (0.1, Between(0.5, 2.0), "does not accept all that is searched"),
        (0.1, Between(0.5, 0.1), "no range"),
        (0.1, Between(0.0, 1.0), "no order of magnitude"),
        ("a", ("a", "c"), "does not accept all that is searched"),
    ],
)
def test_what_is_searched_has_to_be_accepted(default: Any, searched: Any, said: str) -> None:
    choices: Any = {"choices": ("a", "b")} if default == "a" else {"at_least": 0, "at_most": 1}
    own = hyperparameter(default, "of its own", **choices, searched=searched)
    fields = [("own", type(default), own)]
    made = dataclasses.make_dataclass("Made", fields, bases=(Fine,), frozen=True, kw_only=True)
    with pytest.raises(AssertionError, match=said):
        declares_itself(made)


@pytest.mark.parametrize("name", architectures.REGISTRY.ours())
def test_our_architectures_keep_the_contract(name: str) -> None:
    shape = (3, 32, 32) if name.startswith("resnet18") else testing.SHAPE
    testing.check_architecture(architectures.get(name), shape)


class Noisy(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return super().forward(flat - flat.mean(dim=0))


class Unseeded(nn.Linear):
    def __init__(self, images: int, classes: int) -> None:
        super().__init__(images, classes)
        self.weight.data[0, 0] = random.random()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: "none", "gives a str, not a network"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "gives the logits of 10 classes"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()), "linear layer"),
        (lambda: Noisy(64, 10), "an image's logits depend on others"),
        (lambda: Unseeded(64, 10), "draws weights by more than torch's seed"),
    ],
)
def test_an_architecture_that_breaks_it_is_told(network: object, said: str) -> None:
    assert callable(network)
    with pytest.raises(AssertionError, match=said):
        testing.check_architecture(lambda shape, classes: network())


def test_digits_keep_the_contract() -> None:
    testing.check_dataset(datasets.REGISTRY.get("digits"))


def spoiled(dataset: Dataset, **parts: Any) -> Dataset:
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, **parts))


def test_a_data_set_that_breaks_it_is_told(digits: Dataset, base: BaseModel) -> None:
    train = digits.train
    for wrong, said in (
        (spoiled(digits, images=train.images.float()), "are torch.float32, not uint8"),
        (spoiled(digits, images=train.images[:, 0]), "are not \\(N, C, H, W\\)"),
        (spoiled(digits, labels=train.labels.int()), "labels of digits are torch.int32"),
        (spoiled(digits, labels=train.labels[1:]), "are not one for each image"),
        (spoiled(digits, labels=train.labels + 5), "10 classes and other labels"),
        (spoiled(digits, labels=train.labels * 0), "training samples of 1 classes"),
        (spoiled(digits, ids=train.ids.flip(0)), "are not ascending"),
        (spoiled(digits, ids=train.ids - train.ids[0] - 1), "are not from 0 to 999999999"),
        (spoiled(digits, ids=train.ids + 10**9), "are not from 0 to 999999999"),
        (spoiled(digits, images=train.images[..., :4]), "have shapes"),
        (dataclasses.replace(digits, white=9), "pixels above its white"),
    ):
        with pytest.raises(AssertionError, match=said):
            testing.check_dataset(lambda source, wrong=wrong: wrong)  # type: ignore[misc]
    answers = iter([digits, spoiled(digits, labels=train.labels.roll(1))])
    with pytest.raises(AssertionError, match="another data set when it is loaded again"):
        testing.check_dataset(lambda source: next(answers))


def test_every_algorithm_of_ours_is_one_that_the_registry_would_take_from_others() -> None:
    for name in algorithms.REGISTRY.ours():
        algorithms.REGISTRY.check(algorithms.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["algorithm", "factor family", "data set"])
def test_what_breaks_it_is_refused_by_an_optimising_python_too(kind: str, tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(CARELESS)
    asks = {
        "algorithm": "from unlearning import algorithms; algorithms.get('module:careless:A')",
        "factor family": "import factors; factors.families(['module:careless:F'])",
        "data set": "from unlearning import datasets; datasets.load('module:careless:load')",
    }
    asked = f"from unlearning.errors import UserError\n{asks[kind]}"
    done = subprocess.run(
        [sys.executable, "-O", "-c", asked],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(testing.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"unlearning.errors.UserError: {kind} 'module:careless:"), done.stderr


CARELESS = """
from dataclasses import dataclass

import torch

from factors.family import Column, Family
from unlearning.algorithm import Direct
from unlearning.dataset import Dataset, Split


@dataclass(frozen=True)
class A(Direct):
    name = "careless"
    citation = ""


F = Family("careless", (Column("x", "", "1", "high", ""),), pre=lambda base, positions: {})


def load(source):
    images, labels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6) % 2
    split = Split.of(images, labels, torch.arange(6))
    return Dataset("careless", split, split, classes=("the only one",), white=255)
"""
