"""What the parts share: device, sizes, base models of made-up images, and how time is taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tracker.base.devices import pick_device
from unlearning import algorithms, presets, training
from unlearning.algorithm import Stepwise
from unlearning.architectures import Shape
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Pictures
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.machine import budget
from unlearning.outcome import Unlearned
from unlearning.passes import Form, Passes
from unlearning.precision import EvalPrecision
from unlearning.recipe import Recipe

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
ARCH, CLASSES = "resnet18", 10
LARGEST_CHUNK = 32  # members at a time, as in a sweep
WORDS = ("cpu", "autotune")
NEVER = 1e-8  # a learning rate at which nothing flips
WARM_UPS = 3  # of which the second records a CUDA graph

Chunks = list[tuple[Tensor, Unlearned]]  # positions of some members, and what these came to


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        colour, grey: shapes of images. train, test: samples. remaining: training samples on which
            unlearned models are evaluated. members: of each algorithm. epochs: of training.
        steps: of members that never flip. rounds: of which the median is taken.
        matrix: rows of square matrices.
    """

    colour: Shape = (3, 32, 32)
    grey: Shape = (1, 28, 28)
    train: int = 20_000
    test: int = 10_000
    remaining: int = 10_000
    members: int = 50
    epochs: int = 3
    steps: int = 20
    rounds: int = 5
    matrix: int = 8192


SMALL = Sizes((3, 8, 8), (1, 8, 8), 128, 40, 40, 2, epochs=4, steps=1, rounds=1, matrix=512)


@dataclass
class Bench:
    """Where is measured, and with what.

    Attributes:
        data: where Fashion-MNIST is. precision: in which a sweep evaluates. autotune: whether cuDNN
            tries its algorithms. bases: by shape, those that were trained.
    """

    device: torch.device
    sizes: Sizes
    data: Path | None = None
    precision: EvalPrecision = EvalPrecision.SAME
    autotune: bool = False
    bases: dict[Shape, BaseModel] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Sequence[str]) -> Bench:
        """What the words ask for. Raises UserError."""
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        unknown = [word for word in words if word not in WORDS and "=" not in word]
        device, sizes = pick_device("cpu" if "cpu" in words else "cuda"), Sizes()
        if "cpu" in words:
            sizes = SMALL
        counts = {f.name for f in fields(Sizes) if f.type == "int"}
        data, precision = pairs.pop("data", None), pairs.pop("precision", EvalPrecision.SAME)
        unknown += pairs.keys() - counts
        unknown += [f"{name}={count}" for name, count in pairs.items() if not count.isdecimal()]
        if unknown or precision not in [*EvalPrecision]:
            raise UserError(f"not understood: {', '.join(unknown) or precision}")
        changes: dict[str, Any] = {name: int(count) for name, count in pairs.items()}
        sizes = replace(sizes, **changes)
        torch.backends.cudnn.benchmark = "autotune" in words
        where = Path(data) if data else None
        return cls(device, sizes, where, EvalPrecision(precision), "autotune" in words)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def card(self) -> str:
        """What computes, and which torch."""
        threads = f"CPU, {torch.get_num_threads()} threads"
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else threads
        tuned = ", cuDNN autotuned" if self.autotune else ""
        return f"{name}, torch {torch.__version__}{tuned}"

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Of the median round, after some to warm up."""
        rounds = [self.once(work) for _ in range(WARM_UPS + self.sizes.rounds)]
        return statistics.median(rounds[WARM_UPS:])

    def once(self, work: Callable[[], object]) -> float:
        """Seconds of one round, as it comes."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def release(self) -> None:
        """Give the device's memory back that nothing uses."""
        if self.on_gpu:
            torch.cuda.empty_cache()

    def base(self, shape: Shape | None = None) -> BaseModel:
        """A ResNet-18 that was trained on made-up images of that shape, the colour ones if None."""
        shape = shape or self.sizes.colour
        if shape not in self.bases:
            train, test = (made_up(shape, n) for n in (self.sizes.train, self.sizes.test))
            names = tuple(map(str, range(CLASSES)))
            dataset = Pictures(train, test, names).split("made-up", torch.arange(len(train[1])))
            started = time.perf_counter()
            base = self.bases[shape] = self.trained(dataset)
            print(
                f"a base model of {len(train[1])} made-up images {shape}, trained in "
                f"{time.perf_counter() - started:.1f} s; test accuracy {test_accuracy(base):.1%}",
                flush=True,
            )
        return self.bases[shape]

    def trained(self, dataset: Dataset) -> BaseModel:
        """A ResNet-18 for a data set, on the device."""
        recipe = self.recipe
        network = training.train(dataset, ARCH, recipe, self.device)
        return BaseModel(network, dataset, self.device, Origin(ARCH, recipe))

    @property
    def recipe(self) -> Recipe:
        """Few epochs; batches that are small enough for the statistics of normalisation."""
        return Recipe(epochs=self.sizes.epochs, batch_size=128 if self.on_gpu else 16, lr=1e-3)

    def forms(self, base: BaseModel) -> dict[str, Form]:
        """The network as it is, and the forms of a sweep on a GPU in each precision there is."""
        usual = replace(Form.of(base), folded=True)
        precisions = [p for p in EvalPrecision if self.on_gpu or p is not EvalPrecision.TF32]
        return {"as it is": Form()} | {str(p): replace(usual, precision=p) for p in precisions}


def made_up(shape: Shape, count: int) -> tuple[Tensor, Tensor]:
    """Images of ten patterns under noise, (count, *shape) uint8, and which they are, (count,)."""
    patterns = np.random.default_rng(0).integers(256, size=(CLASSES, *shape))
    random = np.random.default_rng(count)
    labels = np.arange(count) % CLASSES
    noise = random.integers(256, size=(count, *shape))
    images = (patterns[labels] + noise) // 2
    return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels)


def test_accuracy(base: BaseModel) -> float:
    """Of the base model."""
    return (base.test_logits.argmax(1) == base.test_labels).double().mean().item()


def right_ones(base: BaseModel, count: int) -> Tensor:
    """Positions of training samples that a base model gets right, (count,) or as many as it does.

    Raises UserError where there are none.
    """
    right = (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1).cpu()
    if not len(right):
        raise UserError("the base model gets no training sample right: give more epochs=N")
    return right[torch.from_numpy(np.random.default_rng(0).permutation(len(right))[:count])]


def of_paper(name: str) -> Stepwise:
    """An algorithm with the settings of the preset `paper`."""
    algorithm = algorithms.get(name).from_text(presets.load("paper").get(name, {}))
    assert isinstance(algorithm, Stepwise)
    return algorithm


def never_flipping(bench: Bench, name: str) -> Stepwise:
    """The same with a rate at which weights move and predictions do not: it takes all steps."""
    return replace(of_paper(name), lr=NEVER, max_steps=bench.sizes.steps)


def fitting(base: BaseModel, algorithm: Stepwise, positions: Tensor, execution: Execution) -> int:
    """How many members have memory enough at a time: they take two steps, which warms up, too."""
    room = algorithm.memory(base, execution).members_within(budget(base.device))
    size = max(1, min(LARGEST_CHUNK, len(positions), room))
    short = replace(algorithm, max_steps=min(2, algorithm.budget))
    while True:
        try:
            unlearn(base, short, positions[:size], 0, execution)
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
        else:
            return size
        torch.cuda.empty_cache()


def timed_chunks(
    bench: Bench, base: BaseModel, algorithm: Stepwise, positions: Tensor, execution: Execution
) -> tuple[float, Chunks]:
    """Unlearn samples, as many at a time as fit: seconds a member, and what came of them."""
    size = fitting(base, algorithm, positions, execution)
    found: Chunks = []

    def work() -> None:
        for some in positions.split(size):
            found.append((some, unlearn(base, algorithm, some, 0, execution)))

    return bench.once(work) / len(positions), found


@contextmanager
def in_form(bench: Bench, base: BaseModel, form: Form) -> Iterator[BaseModel]:
    """A base model that is evaluated in that form, whatever its device; graphs end with it."""
    twin = base.twin()
    twin.for_itself("passes", lambda: Passes(twin, form))
    try:
        yield twin
    finally:
        twin.let_go()
        bench.release()
