"""`indelible demo` on the GPU and on the CPU: a cold process, an empty store, two cores."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

from tests.benchmarks import demo
from tests.benchmarks.gpu.bench import Bench

CORES = 2
NEEDED = ("click", "duckdb", "matplotlib", "mlflow", "rich", "vl_convert")


def run(bench: Bench) -> None:
    for name in NEEDED:
        importlib.import_module(name)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:CORES])  # of what is started, too
    try:
        for device in ("cuda", "cpu") if bench.on_gpu else ("cpu",):
            with tempfile.TemporaryDirectory() as folder:
                seconds, memory = demo.run(Path(folder) / "store", "demo", "--device", device)
            print(
                f"demo --device {device:4} on {CORES} cores: {seconds:6.1f} s, {memory:5.0f} MB of "
                "main memory at its peak",
                flush=True,
            )
    finally:
        os.sched_setaffinity(0, allowed)
