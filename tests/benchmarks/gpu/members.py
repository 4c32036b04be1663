"""Members a second: our engine and evaluation against a plain loop, on the same samples.

Ours: unlearned in float32, evaluated on the test set and some of the remaining data by each form.
The plain loop (`plain`) may use TF32 for everything and evaluates in batches of 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from factors import families
from factors.evaluation import evaluate
from factors.family import Family, post_values
from tests.benchmarks.gpu import plain
from tests.benchmarks.gpu.bench import (
    Bench,
    Chunks,
    in_form,
    of_paper,
    right_ones,
    timed_chunks,
)
from unlearning.base_model import BaseModel
from unlearning.execution import Execution
from unlearning.passes import Form
from unlearning.passes import _tf32 as tf32
from unlearning.sampling import draw_retain

LOOPS = {"ga": plain.ga, "scrub": plain.scrub}
MEASURED = ("outcome", "performance")  # families, which are about what the plain loop measures


@dataclass(frozen=True)
class Cost:
    """Seconds a member."""

    steps: float
    evaluation: float

    @property
    def rate(self) -> float:
        """Members a second."""
        return 1 / (self.steps + self.evaluation)


def run(bench: Bench) -> None:
    base = bench.base()
    positions = right_ones(base, bench.sizes.members)
    print(
        f"ResNet-18, {bench.sizes.colour}, test set of {len(base.test_labels)} and "
        f"{len(base.some(bench.sizes.remaining))} remaining, {len(positions)} members"
    )
    for name in LOOPS:
        loop, taken = of_loop(bench, base, name, positions)
        print(f"{name}: the plain loop takes {taken:.1f} steps a member")
        print("execution   evaluation   steps s  evaluation s  members/s  times the loop's")
        print(_line("plain loop", "", loop, loop), flush=True)
        algorithm = of_paper(name)
        ours = {e: timed_chunks(bench, base, algorithm, positions, e) for e in Execution}
        _, chunks = ours[Execution.SEQUENTIAL]
        measured = chosen(MEASURED)
        for said, form in bench.forms(base).items():
            evaluation = evaluated(bench, base, form, chunks, measured)
            for execution, (steps, _) in ours.items():
                print(_line(str(execution), said, Cost(steps, evaluation), loop), flush=True)
        own = torch.cat([found.steps for _, found in chunks]).double().mean()
        print(f"ours take {own:.1f} steps a member")


def of_loop(bench: Bench, base: BaseModel, name: str, positions: Tensor) -> tuple[Cost, float]:
    """What a member costs the plain loop, and its steps, in the mean."""
    seen = base.some(bench.sizes.remaining)
    remaining = base.train_inputs[seen], base.train_labels[seen]
    found: list[tuple[nn.Module, int]] = []

    def measure() -> None:
        model, _ = found[-1]
        plain.measure(model, base.test_inputs, base.test_labels)
        plain.measure(model, *remaining)

    def costs(position: int) -> tuple[float, float]:
        steps = bench.once(lambda: found.append(looped(base, name, position)))
        spent = steps, bench.once(measure)
        found[-1] = nn.Identity(), found[-1][1]  # so that one model is there at a time
        return spent

    with tf32():
        costs(int(positions[0]))  # to warm up
        found.clear()
        spent = [costs(position) for position in positions.tolist()]
    steps, evaluation = (sum(part) / len(spent) for part in zip(*spent, strict=True))
    return Cost(steps, evaluation), sum(taken for _, taken in found) / len(found)


def looped(base: BaseModel, name: str, position: int) -> tuple[nn.Module, int]:
    """One member of the plain loop, with the retain batches of ours: the model, and its steps."""
    algorithm, images, labels = of_paper(name), base.train_inputs, base.train_labels
    drawn = draw_retain(base, algorithm, torch.tensor([position]), 0)[0]
    retain = plain.batches_of(images, labels, drawn.flatten(1))
    image, label, settings = images[position], int(labels[position]), algorithm.settings()
    return LOOPS[name](base.network, image, label, retain, settings)


def evaluated(
    bench: Bench, base: BaseModel, form: Form, chunks: Chunks, measured: Iterable[Family]
) -> float:
    """Seconds a member that its evaluation takes in that form, and factors of it."""
    measured = tuple(measured)
    with in_form(bench, base, form) as twin:
        seen = twin.some(bench.sizes.remaining)

        def work(some: Chunks) -> None:
            for positions, found in some:
                post_values(evaluate(twin, positions.to(base.device), found, seen), measured)

        for _ in range(3):  # of which the second records graphs
            work(chunks[:1])
        return bench.once(lambda: work(chunks)) / sum(len(positions) for positions, _ in chunks)


def chosen(names: Iterable[str]) -> list[Family]:
    """The factor families of those names that look at unlearned models."""
    return [family for family in families() if family.name in names and family.post]


def _line(execution: str, evaluation: str, cost: Cost, loop: Cost) -> str:
    return (
        f"{execution:11} {evaluation:10} {cost.steps:9.4f} {cost.evaluation:13.4f} "
        f"{cost.rate:10.2f} {cost.rate / loop.rate:17.2f}"
    )
