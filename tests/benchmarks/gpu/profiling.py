"""Where the time of one member goes: the ten heaviest rows of torch's profiler.

On a GPU the rows are kernels and copies by the time that they take there, and how long the device
is busy stands beside the wall time without the profiler; on a CPU they are operators.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from factors.evaluation import evaluate
from tests.benchmarks.gpu.bench import Bench, in_form, never_flipping, right_ones
from unlearning.engine import unlearn
from unlearning.execution import Execution

ROWS, WIDTH = 10, 50


def run(bench: Bench) -> None:
    base = bench.base()
    positions = right_ones(base, 1)
    for name in ("ga", "scrub"):
        algorithm = never_flipping(bench, name)
        work = partial(unlearn, base, algorithm, positions, 0, Execution.SEQUENTIAL)
        told(bench, f"{name}, {algorithm.budget} steps of one member", work)
    found = work()
    for said, form in bench.forms(base).items():
        with in_form(bench, base, form) as twin:
            seen = twin.some(bench.sizes.remaining)
            images = len(base.test_labels) + len(seen)
            work_of = partial(evaluate, twin, positions.to(bench.device), found, seen)
            told(bench, f"evaluation {said}, {images} images", work_of)


def told(bench: Bench, title: str, work: Callable[[], object]) -> None:
    """The heaviest rows of a piece of work, and how busy the device was."""
    wall = bench.seconds(work)  # which warms up too
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * bench.on_gpu]
    with profile(activities=activities) as profiler:
        bench.once(work)
    rows = sorted(_rows(bench, profiler), key=lambda row: -row[1])
    whole = sum(microseconds for _, microseconds, _ in rows) or 1.0
    print(f"{title}: {1e3 * wall:.1f} ms, of which rows take {whole / 1e3:.1f} ms when profiled")
    for name, microseconds, calls in rows[:ROWS]:
        print(
            f"  {name[:WIDTH]:{WIDTH}} {microseconds / 1e3:9.2f} ms {microseconds / whole:5.0%}"
            f" {calls:6}"
        )
    print(end="", flush=True)


def _rows(bench: Bench, profiler: Any) -> list[tuple[str, float, int]]:
    """Name, microseconds and calls of each."""
    found = []
    for row in profiler.key_averages():
        is_kernel = row.device_type.name == "CUDA"
        is_a_mark = getattr(row, "is_user_annotation", False) or row.key.startswith("Optimizer.")
        if is_kernel is bench.on_gpu and not is_a_mark:
            time = row.self_device_time_total if bench.on_gpu else row.self_cpu_time_total
            found.append((row.key.removeprefix("void "), float(time), int(row.count)))
    return found
