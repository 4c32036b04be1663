"""A sweep as it is run, with its store, all its checkpoints and factors: where its time goes.

On a GPU one worker computes while another encodes what it has, and the store is written meanwhile.
So what counts is the wall time beside that in which the device was at work: whatever is not beside
it is time that the device waits.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.benchmarks.gpu.bench import ALGORITHMS, ARCH, Bench, made_up
from tracker.base import base_models
from tracker.base.training import Request, train
from tracker.base.workers import Clock, Threads
from tracker.record.opening import open_store
from tracker.sweeping import sweep
from tracker.sweeping.choosing import draw_samples
from tracker.sweeping.options import Options, Reporter
from tracker.sweeping.plan import Plan
from tracker.sweeping.settings import configure
from unlearning.datasets import AS_IT_IS
from unlearning.precision import Precision

MEMBERS = 100  # of the sweep, of all algorithms
BEFORE = "factors before"
ON_DEVICE = ("compute", "evaluate", "factors", BEFORE)


class Waiting(Clock):
    """A clock that waits for the device, so that each part has its own time."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench

    @contextmanager
    def of(self, doing: str) -> Iterator[None]:
        own = threading.current_thread() is threading.main_thread() and doing == "factors"
        with super().of(BEFORE if own else doing):
            yield
            if doing in ON_DEVICE:
                self.bench.wait()


def run(bench: Bench) -> None:
    each = MEMBERS // len(ALGORITHMS) if bench.on_gpu else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = _base(bench, folder)
        for nth, (samples, what) in enumerate([(1, "to warm up"), (each, "measured")]):
            ids = draw_samples(base.model.dataset.train.ids.tolist(), samples, nth)
            chosen = configure(ALGORITHMS, "paper", ())
            plan = Plan.on(base, chosen, ids, nth, what, bench.sizes.remaining)
            clock, options = Waiting(bench), Options(engine=Threads(None if bench.on_gpu else 1))
            store = open_store(folder)
            before, started = _size(folder), time.perf_counter()
            sweep.run(store, base, plan, options, Reporter(clock=clock))
            wall = time.perf_counter() - started
        written = _size(folder) - before
    members = len(plan.algorithms) * each
    print(
        f"{members} members, {bench.sizes.remaining} remaining, evaluated in {bench.precision}: "
        f"{wall:.1f} s, {members / wall:.2f} members/s; the store grew by {written / 1e9:.2f} GB"
    )
    shares = clock.shares()
    spent = clock.taken()
    print("part             seconds   share of all counted")
    for doing, share in shares.items():
        print(f"{doing:15} {spent[doing]:8.1f} {share:10.0%}")
    busy = sum(spent.get(doing, 0.0) for doing in ON_DEVICE)
    print(
        f"the device's parts take {busy:.1f} s of {wall:.1f} s: {wall - busy:.1f} s "
        f"({(wall - busy) / wall:.0%}) are not beside them, "
        "the sweep's beginning and end among them"
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _base(bench: Bench, folder: Path) -> base_models.BaseRun:
    sizes, file = bench.sizes, folder / "made-up.npz"
    (images, labels), (test_images, test_labels) = (
        made_up(sizes.colour, count) for count in (sizes.train, sizes.test)
    )
    np.savez(
        file,
        images=images.numpy(),
        labels=labels.numpy(),
        test_images=test_images.numpy(),
        test_labels=test_labels.numpy(),
    )
    store, request = open_store(folder), Request(f"npz:{file}", ARCH, bench.recipe)
    run_id, _ = train(store, request, AS_IT_IS, bench.device)
    precision = str(Precision("float32", bench.precision))
    return base_models.load(store, run_id, bench.device, precision=precision)
