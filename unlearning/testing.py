"""Checks of what an algorithm, a data set and an architecture keep to, for their authors' tests.

A check raises AssertionError with a line that says what is wrong; docs/plugins.md has an example.
For a factor family they are in `factors.testing`.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from unlearning import datasets, models, training
from unlearning.algorithm import Algorithm, Direct, Stepwise
from unlearning.architectures import Shape
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split, is_a_dataset
from unlearning.datasets import AS_IT_IS, Source
from unlearning.engine import unlearn
from unlearning.errors import UserError, hold
from unlearning.execution import Execution
from unlearning.hyperparameters import Accepts, Between, Setting
from unlearning.naming import IDENTIFIER
from unlearning.outcome import Status, Unlearned
from unlearning.recipe import Recipe

SEED = 5
SHAPE, CLASSES = (1, 8, 8), 10  # of the images that an architecture is tried on
PARAMS = (
    "algorithm",
    "seed",
    "engine_version",
    "precision",
    "until",
)  # of a member, beside its settings


@cache
def small_base() -> BaseModel:
    """A base model that is trained in a moment, and again as quickly: float64, on the digits."""
    digits = datasets.load("digits", Source(train_samples=300, test_samples=100))
    recipe, cpu = Recipe(epochs=4), torch.device("cpu")
    network = training.train(digits, "mlp", recipe, cpu).double()
    return BaseModel(network, digits, cpu, Origin("mlp", recipe))


@cache
def some_positions() -> Tensor:
    """Training samples of that base model, (4,): the first it gets wrong, the others right."""
    base = small_base()
    right = base.train_logits.argmax(1) == base.train_labels
    return torch.cat([(~right).nonzero()[:1, 0], right.nonzero()[:3, 0]])


def check_algorithm(algorithm: type[Algorithm], **settings: Setting) -> None:
    """Raise AssertionError where an algorithm is not what a sweep takes it for.

    It declares itself; changes its members' weights, not the base model's, nor those of a sample
    that this gets wrong; gives the same bits again, and the same up to the order of sums one by
    one, stacked and alone; and what it logs is finite.

    Args:
        settings: hyper-parameters under which it moves weights; its defaults where none is given.
    """
    declares_itself(algorithm)
    base, positions, name = small_base(), some_positions(), algorithm.name
    before, chosen = copy.deepcopy(base.network.state_dict()), algorithm.from_text(settings)
    result = unlearn(base, chosen, positions, SEED)
    for part, value in base.network.state_dict().items():
        hold(torch.equal(value, before[part]), f"{name} changed the base model's {part}")
    ran = torch.tensor([status is not Status.ALREADY_WRONG for status in result.status])
    for moved, has_run, position in zip(result.moved, ran, positions.tolist(), strict=True):
        what = "changed" if moved else "did not change"
        hold(moved == has_run, f"{name} {what} the weights of sample {position}")
    for part, values in result.details.items():
        hold(values[ran].isfinite().all(), f"{name}/{part} is not finite: {values}")
    again, one_by_one = (unlearn(base, chosen, positions, SEED, each) for each in Execution)
    what, every = f"{name} comes to something else", range(len(positions))
    _hold_same(f"{what} when it is run again", result, again, every, rtol=0, atol=0)
    _hold_same(f"{what} one by one than stacked", result, one_by_one, every)
    for member in every:
        alone = unlearn(base, chosen, positions[[member]], SEED)
        _hold_same(f"{what} alone than stacked", result, alone, [member])


def declares_itself(algorithm: type[Algorithm]) -> None:
    """It is a frozen dataclass with a name, a citation, and hyper-parameters as its fields."""
    called = algorithm.__name__
    hold(issubclass(algorithm, (Stepwise, Direct)), f"{called} is neither Stepwise nor Direct")
    for attribute in ("name", "citation"):
        hold(getattr(algorithm, attribute, None), f"{called} has no {attribute}: it takes a text")
    hold("__dataclass_params__" in vars(algorithm), f"{called} is no dataclass")
    for name in algorithm.logged:
        hold(str(name).isidentifier(), f"{called} logs '{name}': {IDENTIFIER}")
    types = typing.get_type_hints(algorithm)
    for field in dataclasses.fields(algorithm):
        accepts: Any = field.metadata.get("accepts")
        whose = f"the hyper-parameter {called}.{field.name}"
        hold(isinstance(accepts, Accepts), f"{whose} is not declared by `hyperparameter(...)`")
        hold(field.name not in PARAMS, f"{whose} has the name of another param of its runs")
        hold(types[field.name] in (float, int, str), f"{whose} is no float, int or str")
        searched = accepts.searched or ()
        ends = searched[:2] if isinstance(searched, Between) else searched
        hold(all(map(accepts.admits, ends)), f"{whose} does not accept all that is searched")
    algorithm()


def check_dataset(load: Callable[[Source], Dataset], source: Source = AS_IT_IS) -> None:
    """Raise AssertionError where a data set is none, or another one when it is loaded again."""
    first, again = load(source), load(source)
    is_a_dataset(first)
    same = first.fingerprint == again.fingerprint
    hold(same, f"{first.name} is another data set when it is loaded again")


def check_architecture(
    factory: Callable[[Shape, int], nn.Module],
    image_shape: Shape = SHAPE,
    classes: int = CLASSES,
) -> None:
    """Raise AssertionError where an architecture makes no network that can be swept."""
    images, labels = torch.zeros(classes, *image_shape, dtype=torch.uint8), torch.arange(classes)
    blank = Split.of(images, labels)
    dataset = Dataset("blank", blank, blank, tuple(map(str, range(classes))), white=255)
    named, weights = getattr(factory, "__name__", str(factory)), set()
    for _ in range(2):
        with models.seeded(SEED):
            network = factory(image_shape, classes)
        try:
            models.check(network, named, dataset)
            models.check_gradients(network, named, dataset)
        except UserError as error:
            raise AssertionError(str(error)) from error
        weights.add(models.weights_sha256(network.state_dict()))
    hold(len(weights) == 1, f"architecture '{named}' draws weights by more than torch's seed")


def _hold_same(
    what: str,
    whole: Unlearned,
    other: Unlearned,
    rows: Sequence[int],
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> None:
    """Raise AssertionError where members at rows of a result are others than all of the other.

    Args:
        atol: in shares of the largest weight.
    """
    status, steps = [whole.status[row] for row in rows], whole.steps[[*rows]]
    hold(status == other.status, f"{what}: {status}, {other.status}")
    hold(torch.equal(steps, other.steps), f"{what}: {steps}, {other.steps} steps")
    for name, stacked in whole.params.items():
        weights, scale = stacked[[*rows]], float(stacked.abs().max())
        close = torch.allclose(weights, other.params[name], rtol=rtol, atol=atol * scale)
        hold(close, f"{what}: other weights {name}")
