"""Milliseconds of a step of one member, and of a batch in training: as it is, and as CUDA graphs.

Members never flip, so that all of a chunk take all steps; recording is a part of the time, as it is
in a sweep. Memory is what torch has taken at the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch

from tests.benchmarks.gpu.bench import ARCH, Bench, fitting, never_flipping, right_ones
from unlearning import graphs, training
from unlearning.engine import unlearn
from unlearning.execution import Execution

EAGER = 0  # lanes: none
LANES = (EAGER, 1, 2, 4)
EPOCHS = 2


def run(bench: Bench) -> None:
    base = bench.base()
    print("algorithm  execution   members  graphs      ms a step   ratio to none      GB")
    for name in ("ga", "scrub", "salun"):
        algorithm = never_flipping(bench, name)
        for execution in Execution:
            positions = right_ones(base, bench.sizes.members)
            positions = positions[: fitting(base, algorithm, positions, execution)]
            none = None
            for lanes in LANES if execution is Execution.SEQUENTIAL else LANES[:2]:
                if lanes and not bench.on_gpu:
                    continue
                taken, memory = measured(
                    bench,
                    lanes,
                    lambda: unlearn(base, algorithm, positions, 0, execution),  # noqa: B023
                )
                none, said = none or taken, said_of(lanes, execution)
                ms = 1e3 * taken / (len(positions) * algorithm.budget)
                print(
                    f"{name:10} {execution:11} {len(positions):7}  {said:10} "
                    f"{ms:10.3f} {none / taken:15.2f} {memory:7.1f}",
                    flush=True,
                )
    batches = -(-len(base.train_labels) // bench.recipe.batch_size)
    for mixed in (False, True):
        recipe = replace(bench.recipe, epochs=EPOCHS, mixed_precision=mixed)
        for lanes in LANES[: 1 + bench.on_gpu]:
            taken, memory = measured(
                bench,
                lanes,
                lambda: training.train(base.dataset, ARCH, recipe, bench.device),  # noqa: B023
            )
            print(
                f"training in {'bfloat16' if mixed else 'float32'}, batches of "
                f"{recipe.batch_size}, {'recorded' if lanes else 'as it is'}: "
                f"{1e3 * taken / (EPOCHS * batches):.2f} ms a batch, {memory:.1f} GB",
                flush=True,
            )


def measured(bench: Bench, lanes: int, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the second of two rounds, the first of which warms up; and GB of memory."""
    bench.release()
    if bench.on_gpu:
        torch.cuda.reset_peak_memory_stats(bench.device)
    with on_lanes(lanes):
        bench.once(work)
        taken = bench.once(work)
    return taken, torch.cuda.max_memory_reserved(bench.device) / 1e9 if bench.on_gpu else 0.0


def said_of(lanes: int, execution: Execution) -> str:
    if lanes == EAGER:
        return "none"
    return "one" if execution is Execution.STACKED else f"{lanes} lanes"


@contextmanager
def on_lanes(lanes: int) -> Iterator[None]:
    """So many members at a time, each by its graph; without graphs if none."""
    with ExitStack() as changed:
        if lanes == EAGER:
            changed.enter_context(patch.object(graphs, "records", lambda device: False))
        else:
            changed.enter_context(patch.object(graphs, "LANES", lanes))
        yield
