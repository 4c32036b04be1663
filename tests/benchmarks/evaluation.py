"""Evaluation of one unlearned model on all digits, against the machine's matrix multiplication."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch

from unlearning import datasets, training
from unlearning.base_model import BaseModel, logits
from unlearning.recipe import Recipe

CPU = torch.device("cpu")
# Multiplications and additions of one image: two convolutions and two linear layers.
ROUNDS, SIZES = 15, (512, 1024, 2048)
SMALLEST = {"ROUNDS": 1, "SIZES": (16,)}
FLOP = 2 * (9 * 16 * 64 + 9 * 16 * 32 * 64 + 512 * 64 + 64 * 10)


def best(work: Callable[[], object], threads: int) -> float:
    """Seconds of the best round, the work done once in each of several threads at a time."""

    def seconds() -> float:
        crew = [threading.Thread(target=work) for _ in range(threads)]
        started = time.perf_counter()
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return time.perf_counter() - started

    seconds()
    return min(seconds() for _ in range(ROUNDS))


def evaluation(base: BaseModel) -> Callable[[], None]:
    """Evaluate ten times, in any thread, on a replica of one's own."""
    replicas = [base.replica() for _ in range(2)]

    def work() -> None:
        torch.set_num_threads(1)
        replica = replicas.pop()
        for _ in range(10):
            logits(replica.model, replica.test_inputs)
            logits(replica.model, replica.train_inputs)
        replicas.append(replica)

    return work


def multiplication(size: int) -> Callable[[], None]:
    """Multiply square matrices four times."""
    a, b = torch.randn(size, size), torch.randn(size, size)

    def work() -> None:
        torch.set_num_threads(1)
        for _ in range(4):
            _ = a @ b

    return work


def main() -> None:
    digits = datasets.load("digits")
    recipe = Recipe(epochs=3)
    base = BaseModel(training.train(digits, "small-cnn", recipe, CPU), digits, CPU)
    images = len(base.test_labels) + len(base.train_labels)
    for workers in (1, 2):
        limit = max(4 * workers * 2 * n**3 / best(multiplication(n), workers) for n in SIZES)
        seconds = best(evaluation(base), workers)
        rate = 10 * workers * images * FLOP / seconds
        print(
            f"{workers} workers, a thread each: {seconds / 10 / workers * 1e3:.1f} ms a member, "
            f"{rate / 1e9:.0f} GFLOP/s; matrix multiplication {limit / 1e9:.0f} GFLOP/s; "
            f"ratio {rate / limit:.2f}"
        )
