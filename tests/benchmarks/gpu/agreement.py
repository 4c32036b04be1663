"""What a precision of evaluation does to ranks: the same unlearned weights, evaluated by each.

The base model learns Fashion-MNIST, which is looked for where `data=` says and where Debian's
package has it, else the digits. Members are unlearned once, in float32. The rule: a precision may
be a default where both of Spearman's coefficients with float64 are at least .999, and no member's
U is off by more than 1e-5.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.outcome import outcome
from tests.benchmarks.gpu.bench import (
    ALGORITHMS,
    Bench,
    in_form,
    of_paper,
    right_ones,
    test_accuracy,
    timed_chunks,
)
from tests.benchmarks.precision import rho
from tests.fashion_mnist import PACKAGED
from unlearning import datasets
from unlearning.base_model import BaseModel
from unlearning.engine import faster_execution
from unlearning.outcome import Unlearned
from unlearning.passes import Form

LEAST_RHO, LARGEST_DIFFERENCE = 0.999, 1e-5


def run(bench: Bench) -> None:
    base = bench.trained(data_of(bench))
    double = BaseModel(copy.deepcopy(base.network).double(), base.dataset, bench.device)
    positions = right_ones(base, bench.sizes.members)
    print(
        f"{base.dataset.name}, {len(base.train_labels)} for training, {len(base.test_labels)} for "
        f"testing, test accuracy {test_accuracy(base):.1%}; {len(positions)} members each"
    )
    print("algorithm  evaluation      rho of GT      rho of U  largest in U  rule", flush=True)
    for name in ALGORITHMS:
        algorithm = of_paper(name)
        execution = faster_execution(base, algorithm, positions, 0)
        seconds, chunks = timed_chunks(bench, base, algorithm, positions, execution)
        with in_form(bench, double, Form()) as exact:
            gt, u = measured(exact, (_doubled(*chunk) for chunk in chunks))
        for said, form in bench.forms(base).items():
            with in_form(bench, base, form) as twin:
                other_gt, other_u = measured(twin, chunks)
            found, off = (rho(gt, other_gt), rho(u, other_u)), (u - other_u).abs().max().item()
            # Not a number is not at least anything.
            holds = all(r >= LEAST_RHO for r in found) and off <= LARGEST_DIFFERENCE
            print(
                f"{name:10} {said:10} {found[0]:14.7f} {found[1]:13.7f} {off:13.1e}  "
                f"{'holds' if holds else 'broken'}",
                flush=True,
            )
        statuses = [str(status) for _, unlearned in chunks for status in unlearned.status]
        steps = torch.cat([unlearned.steps for _, unlearned in chunks]).double().mean()
        counts = ", ".join(f"{statuses.count(s)} {s}" for s in sorted({*statuses}))
        print(
            f"           {counts}; {steps:.1f} steps, {execution}, {seconds:.2f} s a member",
            flush=True,
        )


def data_of(bench: Bench) -> datasets.Dataset:
    """Fashion-MNIST where it is, else the digits."""
    folder = bench.data or PACKAGED
    sizes = bench.sizes
    if folder.is_dir():
        source = datasets.Source(folder, train_samples=sizes.train, test_samples=sizes.test)
        return datasets.load("fashion-mnist", source)
    print(f"there is no Fashion-MNIST in {folder}: the digits instead; give data=PATH")
    digits = datasets.load("digits")
    few = min(sizes.train, len(digits.train)), min(sizes.test, len(digits.test))
    return replace(digits, train=digits.train.draw(few[0]), test=digits.test.draw(few[1]))


def measured(base: BaseModel, chunks: Iterable[tuple[Tensor, Unlearned]]) -> tuple[Tensor, Tensor]:
    """GT and the fall of p on the test set, which U is one minus: (K,) each, in main memory."""
    gt, u = [], []
    for positions, unlearned in chunks:
        chunk = Chunk(base, positions.to(base.device), unlearned, base.some(None))
        gt.append(outcome(chunk)["gt"].cpu().double())
        u.append(chunk.test_prob_diff.cpu().double())
    return torch.cat(gt), torch.cat(u)


def _doubled(positions: Tensor, unlearned: Unlearned) -> tuple[Tensor, Unlearned]:
    """The same weights in float64."""
    params = {name: p.double() for name, p in unlearned.params.items()}
    return positions, replace(unlearned, params=params)
