"""More than one machine: 12,000 members of another store merged into a new one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.demo import run
from tests.benchmarks.scale import ALGORITHMS, made_up, swept
from tracker.store.opening import open_store

SAMPLES = 3000  # of each of four algorithms
SMALLEST = {"SAMPLES": 10}


def main() -> None:
    """Seconds and memory of merging a sweep whose numbers are made up, as our writer writes it."""
    size = SAMPLES * len(ALGORITHMS)
    for checkpoints in ("none", "all"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store = open_store(folder / "source")
            swept(store, made_up(store, folder, SAMPLES), checkpoints)
            for state in ("new store", "all there"):
                seconds, memory = run(folder / "target", "merge", str(folder / "source"))
                print(
                    f"{size} members, checkpoints {checkpoints}, {state}: {seconds:.1f} s, "
                    f"{size / seconds:.0f} members/s, {memory:.0f} MB at its peak",
                    flush=True,
                )
