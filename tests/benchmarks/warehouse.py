"""The warehouse alone, made of rows in memory: 12,000 members, and many small sweeps' worth."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.warehouse import rebuild
from tests.analysis.warehouses import member, staging

FACTORS = [f"{'pre_' if k < 12 else 'post_'}{k}" for k in range(27)]  # and the two of GT


def members(sweeps: int, algorithms: int, samples: int, flipped: float) -> list[dict[str, Any]]:
    """Sweeps of as many base models, with factors of every third of which many are tied."""
    random, made = np.random.default_rng(0), []
    for sweep in range(sweeps):
        where = {"sweep": f"s{sweep}", "base": f"b{sweep}", "base_seed": sweep}
        for algorithm in range(algorithms):
            values = random.normal(size=(samples, len(FACTORS)))
            values[:, ::3] = values[:, ::3].round()
            for sample in range(samples):
                status = "flipped" if random.random() < flipped else "max_steps"
                factors = dict(zip(FACTORS, values[sample].tolist(), strict=True))
                f, u = random.uniform(0.1, 0.9), random.uniform(0.8, 1)
                one = member(sample, f, u, status, f"a{algorithm}", sample % 10, **factors)
                made.append(one | where)
    return made


def load(folder: Path, tables: dict[str, pa.Table]) -> float:
    """Seconds."""
    started = time.perf_counter()
    rebuild(folder / "w.duckdb", tables)
    return time.perf_counter() - started


def main() -> None:
    shapes = {
        "12,000 members, all flipped": (3, 4, 1000, 1.0),
        "12,000 members, half flipped": (3, 4, 1000, 0.5),
        "12 algorithms, 9 samples": (1, 12, 9, 0.5),
    }
    with tempfile.TemporaryDirectory() as name:
        for said, shape in shapes.items():
            tables = staging(members(*shape), FACTORS)
            seconds = sorted(load(Path(name), tables) for _ in range(3))
            print(f"{said}: {seconds[1]:.2f} s (of three: {seconds[0]:.2f} to {seconds[2]:.2f})")
