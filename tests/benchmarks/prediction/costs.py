"""What the index costs for a sample, against one attempt of GA with its evaluation.

Both on one thread, in turns, in CPU time; the ratio is the median of the rounds'. The attempt is
evaluated on the test set and all training samples, as a sweep does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from factors.evaluation import evaluate
from factors.index import forecast
from tests.benchmarks.prediction.attempts import Kept
from tests.benchmarks.prediction.tables import Row
from tracker.base.beforehand import formula
from unlearning import algorithms, models, presets
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn

CPU = torch.device("cpu")
ALGORITHMS = ("ga", "neggrad", "salun", "scrub")


@dataclass(frozen=True)
class Job:
    """What is timed: so many samples at a time, in so many rounds.

    Attributes:
        most: test images that the index looks at; as many as it does by itself if None.
    """

    title: str
    make: Callable[[], BaseModel]
    samples: int
    rounds: int
    algorithms: tuple[str, ...] = ALGORITHMS
    most: int | None = None


def timed(kept: Kept, jobs: list[Job]) -> list[Row]:
    """The medians of all jobs, measured once: seconds of CPU a sample, and their ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[Row] = []
    for job in jobs:
        inputs = (formula(), job.title, job.samples, job.rounds, job.algorithms, job.most)
        found += kept.once("cost", inputs, partial(_rows, job))
    torch.set_num_threads(threads)
    return found


def resnet18(train: int, test: int) -> BaseModel:
    """An untrained ResNet-18 on random images of CIFAR-10's shape, most of which it gets right."""
    random = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(256, (count, 3, 32, 32), generator=random, dtype=torch.uint8)
        return Split(images, torch.zeros(count, dtype=torch.int64), torch.arange(count))

    dataset = Dataset("random", split(train), split(test), tuple(map(str, range(10))), white=255)
    network = models.build("resnet18", dataset).eval()
    with torch.no_grad():
        predicted = int(network(dataset.inputs(split(16))).argmax(dim=1).mode().values)
    for part in (dataset.train, dataset.test):
        part.labels.fill_(predicted)
    return BaseModel(network, dataset, CPU)


def _rows(job: Job) -> list[Row]:
    base = job.make()
    right = (base.train_logits.argmax(dim=1) == base.train_labels).nonzero().squeeze(1)
    positions, everything = right[: job.samples], base.some(None)
    rate = presets.load("digits")
    chosen = {name: algorithms.get(name).from_text(rate[name]) for name in job.algorithms}
    ga = algorithms.get("ga").from_text(rate["ga"])

    def attempt() -> object:
        return evaluate(base, positions, unlearn(base, ga, positions, 0), everything)

    _ = base.test_outputs, base.train_outputs
    attempts: list[float] = []
    indices: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(job.rounds):
        attempts.append(_seconds(attempt) / len(positions))
        for name, algorithm in chosen.items():
            spent = _seconds(partial(forecast, base, algorithm, positions, job.most))
            indices[name].append(spent / len(positions))
    return [
        {
            "title": job.title,
            "algorithm": name,
            "attempt_s": median(attempts),
            "index_s": median(spent),
            "ratio": median(s / a for s, a in zip(spent, attempts, strict=True)),
        }
        for name, spent in indices.items()
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
