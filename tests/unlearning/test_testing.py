"""The contract: its example keeps it, and whoever breaks it is told how."""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from unlearning import architectures, testing
from unlearning.algorithm import Direct, Members
from unlearning.dataset import Dataset
from unlearning.hyperparameters import hyperparameter


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


def destroyed(self: Fine, members: Members, step: int) -> dict[str, Tensor]:
    for weights in members.base.network.parameters():
        weights.data += 0.001
    return Fine.propose(self, members, step)


def changed(change: Any) -> Any:
    """A method that changes what is proposed, by how many members there are."""
    return lambda self, members, step: {
        name: change(weights, len(members.forget.label))
        for name, weights in Fine.propose(self, members, step).items()
    }


BROKEN: dict[str, dict[str, Any]] = {
    "did not change the weights of sample": {"propose": changed(lambda w, _: w + 0.1)},
    "comes to something else alone than stacked": {"propose": changed(lambda w, k: w - 0.1 * k)},
    "changed the base model": {"propose": destroyed},
    "fine/depth is not finite": {
        "logged": ("depth",),
        "report": lambda self, state, steps, kept: {"depth": steps / 0},
    },
}


@pytest.mark.parametrize("said", BROKEN)
def test_what_breaks_it_is_told(said: str) -> None:
    testing.small_base.cache_clear()  # one of them changes it
    broken: Any = type("Broken", (Fine,), BROKEN[said])
    with pytest.raises(AssertionError, match=said):
        testing.check_algorithm(dataclass(frozen=True, kw_only=True)(broken))
    testing.small_base.cache_clear()


def test_an_architecture_keeps_the_contract() -> None:
    testing.check_architecture(architectures.get("small-cnn"), (3, 16, 16))


class Noisy(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return super().forward(flat - flat.mean(dim=0))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: "none", "gives a str, not a network"),
        (lambda: Noisy(64, 10), "depend on others beside it"),
    ],
)
def test_an_architecture_that_breaks_it_is_told(network: object, said: str) -> None:
    assert callable(network)
    with pytest.raises(AssertionError, match=said):
        testing.check_architecture(lambda shape, classes: network())


def spoiled(dataset: Dataset, **parts: Any) -> Dataset:
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, **parts))


def test_a_data_set_that_breaks_it_is_told(digits: Dataset) -> None:
    train = digits.train
    for wrong, said in (
        (spoiled(digits, images=train.images.float()), "are torch.float32, not torch.uint8"),
        (spoiled(digits, labels=train.labels + 5), "of 10 classes"),
        (spoiled(digits, ids=train.ids.flip(0)), "its ids do not ascend"),
        (dataclasses.replace(digits, white=9), "pixels above its white"),
    ):
        with pytest.raises(AssertionError, match=said):
            testing.check_dataset(lambda source, wrong=wrong: wrong)  # type: ignore[misc]
    answers = iter([digits, spoiled(digits, labels=train.labels.roll(1))])
    with pytest.raises(AssertionError, match="another data set when it is loaded again"):
        testing.check_dataset(lambda source: next(answers))
