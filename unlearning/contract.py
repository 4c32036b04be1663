'''What every algorithm, data set and architecture keeps to, ours and other people's: as checks.

A check is a function that raises AssertionError with a line that says what is wrong. For a factor
family they are in `factors.contract`. A package with a method of its own is, all of it, for
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

    from factors.contract import check_family
    from unlearning.contract import check_algorithm

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
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from unlearning import datasets, models, training
from unlearning.algorithm import Accepts, Algorithm, Between, Direct, Setting, Stepwise
from unlearning.architectures import Shape
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.datasets import AS_IT_IS, Source
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.outcome import Status, Unlearned
from unlearning.recipe import Recipe

SEED = 5
SHAPE, CLASSES = (1, 8, 8), 10  # of the images that an architecture is tried on
MOST = 10**9  # ids that a data set may have, from 0 on: they are places in a file
DOES = {Stepwise: "losses", Direct: "propose"}  # what an algorithm cannot be without
PARAMS = ("algorithm", "seed", "engine_version", "precision")  # of a member, beside its settings


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


def hold(holds: object, said: str) -> None:
    """Raise AssertionError where something does not hold, under `python -O` too.

    For what is checked when a thing is used, and not in its author's tests only.
    """
    if not holds:
        raise AssertionError(said)


def check_algorithm(algorithm: type[Algorithm], **settings: Setting) -> None:
    """All of the contract. Raises AssertionError.

    Args:
        settings: hyper-parameters under which it moves weights; its defaults where none is given.
    """
    declares_itself(algorithm)
    settings_survive_text(algorithm)
    refuses_what_it_does_not_accept(algorithm)
    for check in BEHAVIOUR:
        check(algorithm, settings)


def declares_itself(algorithm: type[Algorithm]) -> None:
    """A documented frozen dataclass with a name, a citation, and hyper-parameters as its fields."""
    named = getattr(algorithm, "__qualname__", repr(algorithm))
    hold(isinstance(algorithm, type), f"{named} is no class: it takes one, Stepwise or Direct")
    called = algorithm.__name__
    hold(issubclass(algorithm, (Stepwise, Direct)), f"{called} is neither Stepwise nor Direct")
    for attribute in ("name", "citation"):
        text = getattr(algorithm, attribute, None)
        hold(isinstance(text, str), f"{called} has no {attribute}: it takes a text")
        hold(text, f"{called} has an empty {attribute}")
    hold("__dataclass_params__" in vars(algorithm), f"{called} is no dataclass")
    hold(vars(algorithm)["__dataclass_params__"].frozen, f"{called} is not frozen")
    hold(algorithm.__doc__, f"{called} has no docstring: it says what the algorithm does")
    hold(isinstance(algorithm.logged, tuple), f"{called}.logged is no tuple of names")
    lacks = [name for kind, name in DOES.items() if getattr(algorithm, name, 0) is vars(kind)[name]]
    hold(not lacks, f"{called} has no method {lacks and lacks[0]}: it says what is done in a step")
    types = typing.get_type_hints(algorithm)
    for field in dataclasses.fields(algorithm):
        accepts: Any = field.metadata.get("accepts")
        whose = f"the hyper-parameter {called}.{field.name}"
        hold(isinstance(accepts, Accepts), f"{whose} is not declared by `hyperparameter(...)`")
        hold(field.name not in PARAMS, f"{whose} has the name of another param of its runs")
        is_plain = types[field.name] in (float, int, str)
        hold(
            is_plain,
            f"{whose} is declared as {_type(types[field.name])}: it takes float, int or str",
        )
        hold(accepts.description, f"{whose} has no description")
        hold(str(accepts), f"{whose} does not say what it accepts")
        hold(field.default is not dataclasses.MISSING, f"{whose} has no default")
        hold(accepts.admits(field.default), f"{whose} does not accept its default")
        ends = accepts.searched or ()
        if isinstance(ends, Between):
            hold(ends.low < ends.high, f"{whose} is searched from {ends}: no range")
            hold(ends.low > 0 or not ends.log, f"{whose} has no order of magnitude at {ends.low}")
            ends = ends[:2]
        hold(all(map(accepts.admits, ends)), f"{whose} does not accept all that is searched")
    algorithm()


def _type(hint: object) -> str:
    return getattr(hint, "__name__", str(hint))


def settings_survive_text(algorithm: type[Algorithm]) -> None:
    """The defaults, written out as text and read again, are the defaults."""
    default = algorithm()
    as_text = {name: str(value) for name, value in default.settings().items()}
    again = algorithm.from_text(as_text)
    assert again == default, f"{algorithm.name}: {default} comes back from text as {again}"


def refuses_what_it_does_not_accept(algorithm: type[Algorithm]) -> None:
    """Values out of range or of another type, and unknown names, raise UserError that says so."""
    for field in dataclasses.fields(algorithm):
        accepts = field.metadata["accepts"]
        for value in _just_outside(accepts, type(field.default)):
            _refuses(algorithm, {field.name: value}, str(accepts))
        if not isinstance(field.default, str):
            _refuses(algorithm, {field.name: "many"}, "type")
    _refuses(algorithm, {"no_such_setting": "9"}, "no_such_setting")


def leaves_the_base_model_alone(
    algorithm: type[Algorithm], settings: Mapping[str, Setting]
) -> None:
    """It changes parameters of its members, not of the base model, nor of what that gets wrong."""
    base, positions = small_base(), some_positions()
    before = copy.deepcopy(base.network.state_dict())
    result = _unlearned(algorithm, settings)
    for name, value in base.network.state_dict().items():
        assert torch.equal(value, before[name]), f"{algorithm.name} changed the base model's {name}"
    for member, status in enumerate(result.status):
        moved = any(not torch.equal(w, before[n]) for n, w in result.state_of(member).items())
        assert moved == (status is not Status.ALREADY_WRONG), (
            f"{algorithm.name} {'changed' if moved else 'did not change'} the weights of sample "
            f"{int(positions[member])}, which ended as {status}"
        )


def repeats_itself(algorithm: type[Algorithm], settings: Mapping[str, Setting]) -> None:
    """The same seed gives the same bits."""
    first, again = (_unlearned(algorithm, settings) for _ in range(2))
    what = f"{algorithm.name} comes to something else when it is run again"
    assert first.status == again.status, f"{what}: {first.status}, {again.status}"
    for name, weights in first.params.items():
        assert torch.equal(weights, again.params[name]), f"{what}: other weights {name}"


def is_the_same_alone_and_in_company(
    algorithm: type[Algorithm], settings: Mapping[str, Setting]
) -> None:
    """Stacked or one by one, all at once or each on its own: the same up to the order of sums."""
    together = _unlearned(algorithm, settings)
    one_by_one = _unlearned(algorithm, settings, execution=Execution.SEQUENTIAL)
    _assert_same(algorithm, "one by one", together, one_by_one)
    for member, position in enumerate(some_positions()):
        alone = _unlearned(algorithm, settings, position[None])
        _assert_same(algorithm, "alone", _only(together, member), alone)


def reports_a_number_a_member(algorithm: type[Algorithm], settings: Mapping[str, Setting]) -> None:
    """What it says it logs is a finite number of each member for which anything was run."""
    result = _unlearned(algorithm, settings)
    given, logged = sorted(result.details), sorted(algorithm.logged)
    assert given == logged, f"{algorithm.name} reports {given}, where it says {logged}"
    for name, values in result.details.items():
        assert values.shape == (len(result.status),), f"{algorithm.name}/{name} is no number each"
        ran = torch.tensor([status is not Status.ALREADY_WRONG for status in result.status])
        assert values[ran].isfinite().all(), f"{algorithm.name}/{name} is not finite: {values}"


Check = Callable[[type[Algorithm], Mapping[str, Setting]], None]
BEHAVIOUR: tuple[Check, ...] = (
    leaves_the_base_model_alone,
    repeats_itself,
    is_the_same_alone_and_in_company,
    reports_a_number_a_member,
)


def check_dataset(load: Callable[[Source], Dataset], source: Source = AS_IT_IS) -> None:
    """The contract of a data set. Raises AssertionError."""
    first, again = load(source), load(source)
    is_a_dataset(first)
    same = first.fingerprint == again.fingerprint
    assert same, f"{first.name} is another data set when it is loaded again"


def is_a_dataset(dataset: Dataset) -> None:
    """Images, labels and ids are as a Dataset says, and each class is there to be learned."""
    hold(isinstance(dataset, Dataset), f"it gives a {type(dataset).__name__}, not a Dataset")
    shapes = [_check_split(dataset, part) for part in (dataset.train, dataset.test)]
    hold(shapes[0] == shapes[1], f"training and test images have shapes {shapes}")
    learned = set(dataset.train.labels.tolist())
    hold(len(learned) >= 2, f"{dataset.name} has training samples of {len(learned)} classes")
    unknown = set(dataset.test.labels.tolist()) - learned
    hold(not unknown, f"{dataset.name} has the classes {unknown} in the test set only")
    hold(1 <= dataset.white <= 255, f"{dataset.name} has {dataset.white} as its white")


def _check_split(dataset: Dataset, split: Split) -> tuple[int, ...]:
    """The shape of one image of it."""
    images, labels, ids, name = split.images, split.labels, split.ids, dataset.name
    hold(images.dtype == torch.uint8, f"the images of {name} are {images.dtype}, not uint8")
    hold(images.ndim == 4, f"the images of {name} are not (N, C, H, W): {tuple(images.shape)}")
    for part, values in (("labels", labels), ("ids", ids)):
        hold(values.dtype == torch.int64, f"the {part} of {name} are {values.dtype}, not int64")
        hold(values.shape == (len(images),), f"the {part} of {name} are not one for each image")
    hold(len(images) >= 1, f"{name} has a split without samples")
    in_range = labels.min() >= 0 and labels.max() < len(dataset.classes)
    hold(in_range, f"{name} has {len(dataset.classes)} classes and other labels")
    hold((ids.diff() > 0).all(), f"the ids of {name} are not ascending")
    hold(ids[0] >= 0 and ids[-1] < MOST, f"the ids of {name} are not from 0 to {MOST - 1}")
    hold(images.max() <= dataset.white, f"{name} has pixels above its white, {dataset.white}")
    return tuple(images.shape[1:])


def check_architecture(
    factory: Callable[[Shape, int], nn.Module],
    image_shape: Shape = SHAPE,
    classes: int = CLASSES,
) -> None:
    """The contract of an architecture. Raises AssertionError."""
    torch.manual_seed(SEED)
    network = factory(image_shape, classes)
    assert isinstance(network, nn.Module), f"it gives a {type(network).__name__}, not a network"
    torch.manual_seed(SEED)
    again = factory(image_shape, classes)
    same = models.weights_sha256(network.state_dict()) == models.weights_sha256(again.state_dict())
    assert same, "torch's seed does not decide its weights"
    images = torch.rand(3, *image_shape, generator=torch.Generator().manual_seed(SEED)).double()
    network = network.double().eval()
    with torch.no_grad():
        logits = network(images)
        alone = torch.cat([network(image[None]) for image in images])
        head = models.last_linear(network, images)
    assert logits.shape == (3, classes), f"logits of 3 images have the shape {tuple(logits.shape)}"
    assert head is not None, "its logits do not come straight out of a linear layer"
    apart = (logits - alone).abs().max().item()
    assert apart < 1e-9 * max(1.0, logits.abs().max().item()), "an image's logits depend on others"


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
        buffers={name: b[member : member + 1] for name, b in result.buffers.items()},
        status=result.status[member : member + 1],
        steps=result.steps[member : member + 1],
    )


def _assert_same(algorithm: type[Algorithm], how: str, one: Unlearned, other: Unlearned) -> None:
    what = f"{algorithm.name} comes to something else {how} than stacked"
    assert one.status == other.status, f"{what}: {one.status}, {other.status}"
    assert torch.equal(one.steps, other.steps), f"{what}: {one.steps}, {other.steps} steps"
    for name, weights in one.params.items():
        scale = float(weights.abs().max())
        close = torch.allclose(weights, other.params[name], rtol=1e-7, atol=1e-9 * scale)
        assert close, f"{what}: other weights {name}"


def _just_outside(accepts: Accepts, kind: type) -> Iterator[str]:
    """Values of the right type that are just not accepted."""
    if accepts.choices:
        yield f"not {accepts.choices[0]}"
    if math.isfinite(accepts.above):
        yield str(kind(accepts.above))
    if math.isfinite(accepts.at_least):
        yield str(kind(accepts.at_least - 1))
    if math.isfinite(accepts.at_most):
        yield str(kind(accepts.at_most + 1))


def _refuses(algorithm: type[Algorithm], settings: Mapping[str, str], said: str) -> None:
    with _refusal() as refusal:
        algorithm.from_text(settings)
    assert refusal, f"{algorithm.name} accepts {dict(settings)}"
    assert said in refusal[0], f"{algorithm.name} refuses {dict(settings)} without '{said}'"


@contextmanager
def _refusal() -> Iterator[list[str]]:
    said: list[str] = []
    try:
        yield said
    except UserError as error:
        said.append(str(error))
