"""The whole of a study of ResNet-18, in minutes, projected from measured parts.

Three data sets of the sizes of MNIST, CIFAR-10 and SVHN (the splits of the preset `paper`), four
algorithms, 1,000 samples each. Measured are, for grey images of 28x28 and colour ones of 32x32, the
seconds a member of all 20 steps (at a rate so low that nothing flips: an upper bound, for whoever
flips is done) in the faster execution, of evaluation for each image, and of the factors after
unlearning beside 10,000 remaining. Not in it: training, factors before unlearning, and whatever the
writers do not do beside the device's work (see `beside`).
"""

from __future__ import annotations

from dataclasses import dataclass

from factors import families
from tests.benchmarks.gpu.bench import (
    ALGORITHMS,
    Bench,
    never_flipping,
    of_paper,
    right_ones,
    timed_chunks,
)
from tests.benchmarks.gpu.members import evaluated
from unlearning import presets
from unlearning.architectures import Shape
from unlearning.base_model import BaseModel
from unlearning.execution import Execution

SAMPLES = 1000  # of each data set, for each algorithm
TEST = {"mnist": 10_000, "cifar10": 10_000, "svhn": 26_032}
STANDING_FOR = 10_000  # training samples that stand for the remaining data
FEW = 8  # members of each algorithm


@dataclass(frozen=True)
class Parts:
    """Seconds: a member's steps by algorithm, the evaluation of an image, and a member's factors.

    The latter two by form.
    """

    steps: dict[str, float]
    image: dict[str, float]
    factors: dict[str, float]


def run(bench: Bench) -> None:
    shapes = {"mnist": bench.sizes.grey, "cifar10": bench.sizes.colour, "svhn": bench.sizes.colour}
    known = {shape: measured(bench, bench.base(shape)) for shape in dict.fromkeys(shapes.values())}
    parts = {name: known[shape] for name, shape in shapes.items()}
    print("\nminutes      evaluation   remaining   steps  evaluation  factors    all")
    forms = next(iter(parts.values())).image
    for form in forms:
        for count in (None, STANDING_FOR):
            whole = [0.0] * 3
            for name, part in parts.items():
                row = minutes(part, form, images_of(name, count))
                whole = [a + b for a, b in zip(whole, row, strict=True)]
                print(_line(name, form, count, row))
            print(_line("all three", form, count, whole), flush=True)


def images_of(name: str, remaining: int | None) -> int:
    """Images that each unlearned model is evaluated on."""
    train = int(presets.recipe("paper", name)["train_samples"])
    return TEST[name] + (train if remaining is None else min(remaining, train))


def minutes(parts: Parts, form: str, images: int) -> list[float]:
    """Of steps, evaluation and factors of all algorithms on one data set."""
    steps = SAMPLES * sum(parts.steps.values())
    members = SAMPLES * len(parts.steps)
    seconds = steps, members * images * parts.image[form], members * parts.factors[form]
    return [part / 60 for part in seconds]


def measured(bench: Bench, base: BaseModel) -> Parts:
    """The parts for images of one shape, which are told."""
    shape: Shape = base.dataset.image_shape
    positions = right_ones(base, min(FEW, bench.sizes.members))
    steps, said = {}, []
    for name in ALGORITHMS:
        algorithm, budget = never_flipping(bench, name), of_paper(name).budget
        times = {}
        for execution in Execution:
            times[execution], chunks = timed_chunks(bench, base, algorithm, positions, execution)
            for _, found in chunks:
                assert set(found.steps.tolist()) == {algorithm.budget}, f"{name}: {found.steps}"
            if all(found.moved.all() for _, found in chunks):
                moved = chunks  # evaluating a model that did not move takes no time
        fastest = min(times, key=times.__getitem__)
        steps[name] = times[fastest] * budget / algorithm.budget
        said.append(f"{name} {steps[name]:.3f} ({fastest})")
    print(f"{shape}: {budget} steps, seconds a member: {', '.join(said)}", flush=True)
    images = len(base.test_labels) + len(base.some(bench.sizes.remaining))
    image, factors = {}, {}
    for name, form in bench.forms(base).items():
        bare = evaluated(bench, base, form, moved, ())
        image[name] = bare / images
        factors[name] = max(0.0, evaluated(bench, base, form, moved, families()) - bare)
        print(
            f"{shape}: evaluation {name}, {1e6 * image[name]:.1f} us an image; factors "
            f"{factors[name]:.3f} s a member",
            flush=True,
        )
    return Parts(steps, image, factors)


def _line(name: str, form: str, remaining: int | None, row: list[float]) -> str:
    seen = "all" if remaining is None else f"{remaining:,}"
    return (
        f"{name:12} {form:10} {seen:>11} {row[0]:7.1f} {row[1]:11.1f} {row[2]:8.1f} {sum(row):6.1f}"
    )
