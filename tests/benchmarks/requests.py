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

ORDERS = ("given", "easy", "hard", "together")
ALGORITHMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ga", "neggrad", "scrub", "salun"), ORDERS),
    "retrain": ("together",),
}
SEEDS, WHEN, TRAIN = (0, 1, 2), ("before", "after"), ("train",)
SMALLEST = {"SEEDS": (0,), "TRAIN": ("train", "--epochs", "1"), "ALGORITHMS": {"ga": ("given",)}}
WORDS = [("2",)]


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


def main(requests: str = "20", *names: str) -> None:
    """Means over the seeds of unlearning; each has requests of its own, in a random order.

    Misclassified, whether steps for them were needed or not: of the requests that the base model
    gets right. Right: the share of the requests that
    the model gets right in the end. Unseen: the share that an attack by confidence takes for ones
    never trained on, before in brackets.
    """
    every, count = datasets.load("digits").train.ids.numpy(), int(requests)
    print("| algorithm | order | misclassified | points lost | steps | right | unseen |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command(folder, *TRAIN)
        lists = {}
        for seed in SEEDS:
            drawn = np.random.default_rng([7, seed]).permutation(every)[:count]
            lists[seed] = folder / f"ids-{seed}.txt"
            lists[seed].write_text(" ".join(map(str, drawn)))
        for algorithm in names or ALGORITHMS:
            for order in ALGORITHMS[algorithm]:
                found = [once(folder, algorithm, order, s, ids) for s, ids in lists.items()]
                missed = sum(of["forgotten"] + of["misclassified"] for of in found)
                right = [of["requests"] - of["already_wrong"] for of in found]
                lost = [of["points_lost"] for of in found]
                unseen = {w: fmean(of[f"{w}/called_unseen"] for of in found) for w in WHEN}
                print(
                    f"| {algorithm} | {order} "
                    f"| {missed:.0f} of {sum(right):.0f} "
                    f"| {fmean(lost):.1f} ({min(lost):.1f} to {max(lost):.1f}) "
                    f"| {fmean(of['steps'] for of in found):.0f} "
                    f"| {fmean(of['after/requests_accuracy'] for of in found):.0%} "
                    f"| {unseen['after']:.0%} ({unseen['before']:.0%}) |",
                    flush=True,
                )
