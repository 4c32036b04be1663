"""What does it gain to try all algorithms on each sample? Beside always taking the same one.

100 digits that the base model gets right, each until the flip and until the reference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import indelible
from tests.benchmarks.demo import run
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.studies.advise import usual
from tracker.sweep.choosing import choose_samples

SAMPLES, SEED, MAX_LOSS = 100, 7, 1.0
TRAIN = ("train", "--references", "32", "--reference-share", "0.5")
SMALLEST = {
    "SAMPLES": 2,
    "TRAIN": ("train", "--epochs", "1", "--references", "16", "--reference-share", "0.5"),
}
ATTEMPTS = """
    select a.sample_id, a.algorithm, has_arrived(a.status) as arrived, a.verdict,
        a.test_points_lost as lost, 1 - a.u as prob_lost, f.value as seconds
    from attempts as a
    join sweeps as s on s.sweep_id = a.sweep_id and s.study = 'advice' and s.until = '{until}'
    left join factors as f on f.run_id = a.run_id and f.factor = 'elapsed_s'
    where a.status not in ('already_wrong', 'nothing_to_forget')
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), *TRAIN)
        base = base_models.load(open_store(Path(name)), "latest", torch.device("cpu"))
        ids = choose_samples(base.model, [], SAMPLES, SEED, only_correct=True)
        store = indelible.open(name)
        for until in ("flip", "reference"):
            store.advise(sample_ids=ids, until=until, max_loss=MAX_LOSS)
            tried = store.sql(ATTEMPTS.format(until=until)).to_arrow_table().to_pylist()
            print(f"\nuntil the {until}\n")
            print("| way | samples | least damage | arrived | forgotten | lost | within a point |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            best = {i: min(of_sample(tried, i), key=order) for i in ids if of_sample(tried, i)}
            for each in usual(until):
                own = [row for row in tried if row["algorithm"] == each]
                _print(f"always `{each}`", own, best)
            _print("the best of all", [*best.values()], best)


def of_sample(tried: Sequence[dict[str, Any]], sample: int) -> list[dict[str, Any]]:
    return [row for row in tried if row["sample_id"] == sample]


def order(row: dict[str, Any]) -> tuple[Any, ...]:
    """As `advise` takes the best."""
    lost = (100.0, 1.0) if row["lost"] is None else (round(row["lost"], 9), row["prob_lost"])
    return not row["arrived"], *lost, row["seconds"]


def _print(way: str, taken: Sequence[dict[str, Any]], best: dict[int, dict[str, Any]]) -> None:
    """A row: how often it is as good as the best, and what it comes to."""
    hits = sum(order(one)[:2] == order(best[one["sample_id"]])[:2] for one in taken)
    there = [one for one in taken if one["arrived"]]
    forgotten = sum(one["verdict"] == "forgotten" for one in there)
    lost = fmean(one["lost"] for one in there) if there else float("nan")
    within = sum(one["lost"] <= MAX_LOSS for one in there)
    print(
        f"| {way} | {len(taken)} | {hits} | {len(there)} | {forgotten} | {lost:.2f} | {within} |",
        flush=True,
    )
