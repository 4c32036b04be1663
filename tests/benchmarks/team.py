"""A store that a team shares: members a second.

Beside them stands what the embedded store does. The server asks for passwords, its database is
PostgreSQL and its artifacts are on moto's S3; all of it runs on the cores that compute.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.team import team, why_not
from tracker.cli import run

SAMPLES, TRAIN = 100, ("train",)
ALGORITHMS = ("ga", "neggrad")
OPTIONS = [word for name in ALGORITHMS for word in ("--algorithm", name)]
SMALLEST = {"SAMPLES": 1, "TRAIN": ("train", "--epochs", "1"), "OPTIONS": OPTIONS[:2]}


def swept(folder: Path, to: list[str], seed: int) -> float:
    """Members a second of a sweep, with all that a command takes to start and to end."""
    sweep = ["sweep", *OPTIONS, "--samples", str(SAMPLES), "--seed", str(seed)]
    started = time.perf_counter()
    assert run(["--store", str(folder), *to, *sweep]) == 0
    return SAMPLES * len(ALGORITHMS) / (time.perf_counter() - started)


def measure(name: str, folder: Path, to: list[str], seed: int = 0) -> None:
    """Print what a store does. `seed`: the first of two that no sweep there has had."""
    assert run(["--store", str(folder), *to, *TRAIN]) == 0
    swept(folder, to, seed)  # `pre` factors are made once
    print(f"{name:20} {swept(folder, to, seed + 1):6.1f} members/s", flush=True)
    started = time.perf_counter()
    assert run(["--store", str(folder), *to, "load"]) == 0
    print(f"{'':20} load {time.perf_counter() - started:.1f} s", flush=True)


def main() -> None:
    if said := why_not():
        print(said)
        return
    with tempfile.TemporaryDirectory() as place, team(Path(place) / "team") as running:
        folder, to = Path(place), ["--tracking-uri", running.uri]
        measure("embedded", folder / "embedded", [])
        measure("server", folder / "server", to)
