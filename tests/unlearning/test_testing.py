"""The contract: its example keeps it, and whoever breaks it is told how."""

from __future__ import annotations

import dataclasses
import random
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from unlearning import architectures, datasets, testing
from unlearning.algorithm import Direct, Members, State
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.hyperparameters import Between, hyperparameter
from unlearning.testing import PARAMS, declares_itself


def test_the_example_in_the_docs_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(testing.__file__).parents[1] / "docs" / "plugins.md").read_text("utf-8")
    method, test, points = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "halving.py").write_text(method)
    monkeypatch.syspath_prepend(tmp_path)
    checks: dict[str, Any] = {}
    exec(test, checks)
    found = [check for name, check in checks.items() if name.startswith("test_")]
    assert len(found) == 2
    for check in found:
        check()
    sys.modules.pop("halving")
    named = {group: next(iter(of)) for group, of in tomllib.loads(points)["project"].items()}
    assert named == {"entry-points": "indelible.algorithms"}
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
        (lambda: Noisy(64, 10), "depend on others beside it"),
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
        (spoiled(digits, images=train.images.float()), "are torch.float32, not torch.uint8"),
        (spoiled(digits, images=train.images[:, 0]), "are not \\(N, C, H, W\\)"),
        (spoiled(digits, labels=train.labels.int()), "its labels are torch.int32"),
        (spoiled(digits, labels=train.labels[1:]), "its labels are .* for 1000 images"),
        (spoiled(digits, labels=train.labels + 5), "of 10 classes"),
        (spoiled(digits, ids=train.ids.flip(0)), "are not ascending"),
        (spoiled(digits, ids=train.ids - train.ids[0] - 1), "are not from 0 to 999999999"),
        (spoiled(digits, ids=train.ids + 10**9), "are not from 0 to 999999999"),
        (spoiled(digits, images=train.images[..., :4]), "have the shapes"),
        (dataclasses.replace(digits, white=9), "pixels above its white"),
    ):
        with pytest.raises(AssertionError, match=said):
            testing.check_dataset(lambda source, wrong=wrong: wrong)  # type: ignore[misc]
    answers = iter([digits, spoiled(digits, labels=train.labels.roll(1))])
    with pytest.raises(AssertionError, match="another data set when it is loaded again"):
        testing.check_dataset(lambda source: next(answers))
