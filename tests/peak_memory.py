"""What a chunk takes at its peak, against what is expected.

A process for each case: the most that it ever held in main memory, over what was there before.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import factors
from factors.evaluation import evaluate
from factors.family import post_values
from tracker.sweep.memory import evaluation
from unlearning import algorithms, models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.hyperparameters import Setting
from unlearning.recipe import Recipe

ROOT = Path(__file__).parent.parent
SELF = Path("/proc/self")


@dataclasses.dataclass(frozen=True)
class Case:
    """A chunk on random images: of `side` pixels, that many for training and for testing."""

    algorithm: str
    settings: dict[str, Setting]
    arch: str = "mlp"
    side: int = 96
    train: int = 300
    test: int = 200
    members: int = 16
    execution: str = "stacked"
    dtype: str = "float32"


def can_measure() -> bool:
    """Whether this system lets a process forget the most that it ever held."""
    return (SELF / "clear_refs").exists()


def measure(case: Case) -> tuple[float, float]:
    """The bytes that the chunk took at its peak, and those expected of it."""
    words = [sys.executable, "-m", "tests.peak_memory", json.dumps(dataclasses.asdict(case))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    taken, expected = json.loads(done.stdout.splitlines()[-1])
    return taken, expected


def expected_bytes(base: BaseModel, case: Case) -> float:
    """Of the larger phase."""
    execution = Execution(case.execution) if case.members > 1 else Execution.SEQUENTIAL
    algorithm = algorithms.get(case.algorithm).from_text(case.settings)
    phases = (algorithm.memory(base, execution), evaluation(base, None))
    return max(phase.once + case.members * phase.member for phase in phases)


def taken_bytes(base: BaseModel, case: Case) -> float:
    """Over what is there before the chunk, after a small one to warm up."""
    algorithm = algorithms.get(case.algorithm).from_text(case.settings)

    def chunk(members: int) -> Any:
        positions = torch.arange(members)
        unlearned = unlearn(base, algorithm, positions, 0, Execution(case.execution))
        evaluated = evaluate(base, positions, unlearned, base.some(None))
        return unlearned, post_values(evaluated, factors.families())

    chunk(2)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    (SELF / "clear_refs").write_text("5")
    before = resident("VmRSS")
    _ = chunk(case.members)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """Bytes in main memory: now (VmRSS) or at most (VmHWM)."""
    lines = (SELF / "status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(what))
    return 1024 * float(line.split()[1])


def random_base(case: Case) -> BaseModel:
    """An untrained network on random images, right about all of them."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.train + case.test, 3 if case.arch == "resnet18" else 1, case.side, case.side)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    ids = torch.arange(len(images))
    train, test = (Split.of(images, ids % 10, part) for part in ids.split([case.train, case.test]))
    data = Dataset("random", train, test, tuple("0123456789"), 255)
    network = models.build(case.arch, data).to(getattr(torch, case.dtype))
    origin, cpu = Origin(case.arch, Recipe(epochs=1)), torch.device("cpu")
    untaught = BaseModel(network, data, cpu, origin)
    train = dataclasses.replace(train, labels=untaught.train_logits.argmax(dim=1))
    test = dataclasses.replace(test, labels=untaught.test_logits.argmax(dim=1))
    return BaseModel(network, dataclasses.replace(data, train=train, test=test), cpu, origin)


def answer(case: Case) -> None:
    """Print what one case came to, in a process of its own."""
    torch.set_num_threads(1)
    base = random_base(case)
    print(json.dumps([taken_bytes(base, case), expected_bytes(base, case)]))


if __name__ == "__main__":
    answer(Case(**json.loads(sys.argv[1])))
