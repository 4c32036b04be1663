'''Checks of what an algorithm, a data set and an architecture keep to, for their authors' tests.

A check is a function that raises AssertionError with a line that says what is wrong. For a factor
family they are in `factors.testing`. A package with a method of its own is, all of it, for
instance `src/halving.py`:

    """Unlearn a sample by shrinking the last layer, and measure by how much that layer shrank."""

    from dataclasses import dataclass

    from factors.family import Column, Family
    from unlearning.algorithm import Direct, hyperparameter

    @dataclass(frozen=True, kw_only=True)
    class Halving(Direct):
        """The weights of all layers are multiplied by `share`."""

        name = "halving"
        citation = "ours"
        share: float = hyperparameter(0.5, "share of each weight that is left", above=0, at_most=1)

        def propose(self, members, step):
            """The base model's parameters, smaller: (K, ...) each."""
            count = len(members.forget.label)
            return {
                name: (self.share * weights).expand(count, *weights.shape).clone()
                for name, weights in members.base.params.items()
            }

    def shrunk(chunk):
        """By how much the weights shrank, (K,)."""
        norms = [p.double().flatten(1).norm(dim=1) for p in chunk.unlearned.params.values()]
        return {"total_norm": sum(norms)}

    FAMILY = Family(
        name="shrinking",
        post=shrunk,
        declared=(
            Column(
                "total_norm",
                "Total Norm",
                unit="1",
                harder="low",
                description="sum of the norms of all parameters after unlearning",
            ),
        ),
    )

its test,

    from halving import FAMILY, Halving

    from factors.testing import check_family
    from unlearning.testing import check_algorithm

    def test_halving_keeps_the_contract():
        check_algorithm(Halving)

    def test_shrinking_keeps_the_contract():
        check_family(FAMILY)

and, in `pyproject.toml`, by what names they are found:

    [project.entry-points."indelible.algorithms"]
    halving = "halving:Halving"

    [project.entry-points."indelible.factors"]
    shrinking = "halving:FAMILY"

Data sets are entry points of `indelible.datasets`, functions of a Source that give a Dataset, and
architectures of `indelible.architectures`, functions of an image shape (channels, height, width)
and a number of classes that give a network.
'''

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from unlearning import datasets, models, training
from unlearning.algorithm import Algorithm, Setting, declares_itself
from unlearning.architectures import Shape
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split, is_a_dataset
from unlearning.datasets import AS_IT_IS, Source
from unlearning.engine import unlearn
from unlearning.errors import UserError, hold
from unlearning.execution import Execution
from unlearning.outcome import Status, Unlearned
from unlearning.recipe import Recipe

SEED = 5
SHAPE, CLASSES = (1, 8, 8), 10  # of the images that an architecture is tried on


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

    Args:
        settings: hyper-parameters under which it moves weights; its defaults where none is given.
    """
    declares_itself(algorithm)
    for check in BEHAVIOUR:
        check(algorithm, settings)


def leaves_the_base_model_alone(
    algorithm: type[Algorithm], settings: Mapping[str, Setting]
) -> None:
    """It changes parameters of its members, not of the base model, nor of what that gets wrong."""
    base, positions = small_base(), some_positions()
    before = copy.deepcopy(base.network.state_dict())
    result = _unlearned(algorithm, settings)
    for name, value in base.network.state_dict().items():
        hold(torch.equal(value, before[name]), f"{algorithm.name} changed the base model's {name}")
    for member, status in enumerate(result.status):
        moved = any(not torch.equal(w, before[n]) for n, w in result.state_of(member).items())
        hold(
            moved == (status is not Status.ALREADY_WRONG),
            f"{algorithm.name} {'changed' if moved else 'did not change'} the weights of sample "
            f"{int(positions[member])}, which ended as {status}",
        )


def repeats_itself(algorithm: type[Algorithm], settings: Mapping[str, Setting]) -> None:
    """The same seed gives the same bits."""
    first, again = (_unlearned(algorithm, settings) for _ in range(2))
    what = f"{algorithm.name} comes to something else when it is run again"
    _hold_same(what, first, again, rtol=0, atol=0)


def is_the_same_alone_and_in_company(
    algorithm: type[Algorithm], settings: Mapping[str, Setting]
) -> None:
    """Stacked or one by one, all at once or each on its own: the same up to the order of sums."""
    together = _unlearned(algorithm, settings)
    one_by_one = _unlearned(algorithm, settings, execution=Execution.SEQUENTIAL)
    what = f"{algorithm.name} comes to something else"
    _hold_same(f"{what} one by one than stacked", together, one_by_one)
    for member, position in enumerate(some_positions()):
        alone = _unlearned(algorithm, settings, position[None])
        _hold_same(f"{what} alone than stacked", _only(together, member), alone)


def reports_a_number_a_member(algorithm: type[Algorithm], settings: Mapping[str, Setting]) -> None:
    """What it says it logs is a finite number of each member for which anything was run."""
    result = _unlearned(algorithm, settings)
    ran = torch.tensor([status is not Status.ALREADY_WRONG for status in result.status])
    for name, values in result.details.items():
        finite = values[ran].isfinite().all()
        hold(finite, f"{algorithm.name}/{name} is not finite: {values}")


Check = Callable[[type[Algorithm], Mapping[str, Setting]], None]
BEHAVIOUR: tuple[Check, ...] = (
    leaves_the_base_model_alone,
    repeats_itself,
    is_the_same_alone_and_in_company,
    reports_a_number_a_member,
)


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
    blank = Split(images, labels, labels)
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


def _unlearned(
    algorithm: type[Algorithm],
    settings: Mapping[str, Setting],
    positions: Tensor | None = None,
    execution: Execution = Execution.STACKED,
) -> Unlearned:
    positions = some_positions() if positions is None else positions
    return unlearn(small_base(), algorithm.from_text(settings), positions, SEED, execution)


def _only(result: Unlearned, member: int) -> Unlearned:
    """What became of one member, as if it had been the only one."""
    return dataclasses.replace(
        result,
        params={name: p[member : member + 1] for name, p in result.params.items()},
        status=result.status[member : member + 1],
        steps=result.steps[member : member + 1],
    )


def _hold_same(
    what: str, one: Unlearned, other: Unlearned, rtol: float = 1e-7, atol: float = 1e-9
) -> None:
    """Raise AssertionError where two results differ. `atol`: in shares of the largest weight."""
    hold(one.status == other.status, f"{what}: {one.status}, {other.status}")
    hold(torch.equal(one.steps, other.steps), f"{what}: {one.steps}, {other.steps} steps")
    for name, weights in one.params.items():
        scale = float(weights.abs().max())
        close = torch.allclose(weights, other.params[name], rtol=rtol, atol=atol * scale)
        hold(close, f"{what}: other weights {name}")
