"""12,000 child runs end to end: 1,000 digits, 4 algorithms, 3 base models, without checkpoints.

`scale[100000]` is as many child runs of made-up values in one sweep, and what reads them;
`scale[100000,postgres]` the same in PostgreSQL.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks import synthetic
from tests.benchmarks.demo import run

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
BASE_MODELS, SAMPLES, TRAIN = 3, 1000, ("train",)
SMALLEST = {"BASE_MODELS": 1, "SAMPLES": 2, "TRAIN": ("train", "--epochs", "1")}
WORDS = [(), ("40",)]
NONE = ("--checkpoints", "none")
SWEEP = [argument for name in ALGORITHMS for argument in ("--algorithm", name)]


def main(size: str = "", database: str = "") -> None:
    if size:
        synthetic.measure(int(size), database == "postgres")
        return
    members = SAMPLES * len(ALGORITHMS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = 0.0
        for seed in range(BASE_MODELS):
            before, _ = run(folder, *TRAIN, "--seed", str(seed))
            seconds, memory = run(folder, "sweep", *SWEEP, "--samples", str(SAMPLES), *NONE)
            whole += before + seconds
            print(
                f"base model {seed}: train {before:.1f} s, sweep of {members} members "
                f"{seconds:.0f} s, {members / seconds:.1f} runs/s, {memory:.0f} MB at its peak",
                flush=True,
            )
        print(f"{BASE_MODELS * members} child runs in {whole:.0f} s")
        start, _ = run(folder, "load", "--help")
        for what in ("load", "load again", "correlate", "rank", "report"):
            seconds, memory = run(folder, what.split()[0])
            print(f"{what:11} {seconds:.2f} s ({start:.2f} s of it start-up), {memory:.0f} MB")
        page = (folder / "report" / "report.html").stat().st_size
        print(f"the report of the last sweep, {members} attempts, has {page / 1e6:.1f} MB")
