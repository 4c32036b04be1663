"""Deletion requests: what orders and algorithms cost where one model is to forget them all."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tracker.cli import run
from unlearning import datasets

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
ORDERS = ("given", "easy", "hard", "together")
SEEDS = (0, 1, 2)


def command(folder: Path, *arguments: object) -> None:
    words, said = ["--store", str(folder), *map(str, arguments)], io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run(words)
    if code:
        sys.exit(f"{' '.join(words)} failed: {said.getvalue()}")


def once(folder: Path, algorithm: str, order: str, seed: int, ids: Path) -> dict[str, Any]:
    """What one unlearning came to."""
    out = folder / f"{algorithm}-{order}-{seed}"
    how = ("--order", order, "--seed", seed, "--preset", "digits", "--sample-ids", ids)
    command(folder, "unlearn", "--algorithm", algorithm, *how, "--output", out)
    text = (out / "README.md").read_text()
    found: dict[str, Any] = json.loads(text.partition("```json\n")[2].partition("```")[0])
    return found


def main(requests: str = "20") -> None:
    """Means over the seeds of unlearning; each draws requests of its own, in a random order."""
    every, count = datasets.load("digits").train.ids.numpy(), int(requests)
    print("| algorithm | order | forgotten | points lost | steps | called unseen |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command(folder, "train")
        lists = {}
        for seed in SEEDS:
            drawn = np.random.default_rng([7, seed]).permutation(every)[:count]
            lists[seed] = folder / f"ids-{seed}.txt"
            lists[seed].write_text(" ".join(map(str, drawn)))
        for algorithm in ALGORITHMS:
            for order in ORDERS:
                found = [once(folder, algorithm, order, s, ids) for s, ids in lists.items()]
                right = [of["requests"] - of["already_wrong"] for of in found]
                lost = [of["points_lost"] for of in found]
                print(
                    f"| {algorithm} | {order} "
                    f"| {sum(of['forgotten'] for of in found):.0f} of {sum(right):.0f} "
                    f"| {fmean(lost):.1f} ({min(lost):.1f} to {max(lost):.1f}) "
                    f"| {fmean(of['steps'] for of in found):.0f} "
                    f"| {fmean(of['after/called_unseen'] for of in found):.0%} |",
                    flush=True,
                )
