"""Deletion requests: what `unlearn` chooses, beside training without them and beside the flip.

For each seed a base model with reference models, and requests of its own. Forgotten: the share of
the requests that stand, by z, where nine of ten models stand that never saw them.
"""

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
from unlearning.datasets import Source

FLIP = ("--until", "flip", "--algorithm")
WAYS: dict[str, tuple[str, ...]] = {
    "chosen": (),
    "trained without them": ("--algorithm", "retrain"),
    "ga until the flip": (*FLIP, "ga"),
    "neggrad until the flip": (*FLIP, "neggrad"),
}
SEEDS, TRAIN = (0, 1, 2), ("train", "--references", "32")
SMALLEST = {
    "SEEDS": (0,),
    "TRAIN": ("train", "--epochs", "1", "--references", "16", "--reference-share", "0.5"),
    "WAYS": {"chosen": ()},
}
WORDS = [("2",)]


def command(folder: Path, *arguments: object, may_fail: bool = False) -> str:
    words, said = ["--store", str(folder), *map(str, arguments)], io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run(words)
    if code > may_fail:
        sys.exit(f"{' '.join(words)} failed: {said.getvalue()}")
    return said.getvalue()


def once(folder: Path, out: Path, ids: Path, how: tuple[str, ...], data: tuple[Any, ...]) -> Any:
    """The record of one unlearning."""
    words = ("unlearn", "--sample-ids", ids, "--preset", "digits", *how, "--output", out)
    command(folder, *data, *words, may_fail=True)
    return json.loads((out / "record.json").read_text())


def main(requests: str = "20", dataset: str = "digits", data_dir: str = "data") -> None:
    """Means over the seeds, and the worst. Of Fashion-MNIST 2,000 images are trained on."""
    few: dict[str, Any] = {} if dataset == "digits" else {"train_samples": 2000}
    sizes = [word for n, v in few.items() for word in (f"--{n.replace('_', '-')}", v)]
    every = datasets.load(dataset, Source(Path(data_dir), **few)).train.ids.numpy()
    print("| way | forgotten | points lost | seconds |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        found: dict[str, list[Any]] = {way: [] for way in WAYS}
        for seed in SEEDS:
            folder, data = Path(temporary, str(seed)), ("--data-dir", data_dir)
            command(folder, *data, *TRAIN, "--dataset", dataset, *sizes, "--seed", seed)
            ids = Path(temporary, f"ids-{seed}.txt")
            drawn = np.random.default_rng([7, seed]).permutation(every)[: int(requests)]
            ids.write_text(" ".join(map(str, drawn)))
            for way, how in WAYS.items():
                out = Path(temporary, f"{way}-{seed}")
                found[way].append(once(folder, out, ids, how, data))
        for way, records in found.items():
            share = [fmean(abs(r["z"]) <= r["z_limit"] for r in one["requests"]) for one in records]
            lost = [one["metrics"]["points_lost"] for one in records]
            seconds = [one["metrics"]["seconds"] for one in records]
            print(
                f"| {way} | {fmean(share):.0%} ({min(share):.0%}) "
                f"| {fmean(lost):.2f} ({max(lost):.2f}) "
                f"| {fmean(seconds):.1f} ({max(seconds):.1f}) |",
                flush=True,
            )
            for one in records:
                if one["how"]["algorithm"] == "retrain" and way == "chosen":
                    print("chosen: trained without them")
