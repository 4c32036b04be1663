"""Run all parts, or those named; what is in a part's brackets is given to it: scale[100000]."""

from __future__ import annotations

import importlib
import sys

PARTS = (
    "evaluation",
    "sweeps",
    "stores",
    "team",
    "checkpoints",
    "demo",
    "warehouse",
    "scale",
    "precision",
    "memory",
    "batch_norm",
    "seeds",
    "salun",
    "tuning",
    "learning",
    "prediction",
    "requests",
    "machines",
    "engines",
    "advice",
)

if __name__ == "__main__":
    for asked in sys.argv[1:] or PARTS:
        name, _, given = asked.rstrip("]").partition("[")
        if name not in PARTS:
            sys.exit(f"no part '{name}': choose from {', '.join(PARTS)}")
        part = importlib.import_module(f"tests.benchmarks.{name}")
        print(f"\n== {asked}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
        part.main(*given.split(",") if given else ())
