"""Is difficulty the same on other networks? The same samples, four networks, four algorithms.

Trains base models, predicts, and unlearns the same samples of each under several seeds. Then it
prints what a member takes beside a plain loop, how far the index goes with GT, and how far networks
agree on which samples are hard. A second call goes on where the first one stopped.
`settings.py` says what is done.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import indelible
from tests.benchmarks.networks.settings import ALGORITHMS, FULL, Network, Trial
from tests.benchmarks.prediction.grading import Floats, reliability_of, spearman
from tests.fashion_mnist import unpack_fashion_mnist
from tests.unlearning.plain_loops import loop
from tracker.base import base_models
from tracker.store.opening import open_store
from unlearning import algorithms, presets
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.execution import Execution

PRESET = "digits"
SMALLEST = {
    "TRIAL": Trial(
        None,
        {name: Network(name, {"epochs": 5}) for name in ("mlp", "small-cnn")},
        dataset="digits",
        data_dir=None,
        train_samples=200,
        test_samples=50,
        base_seeds=(0,),
        seeds=(0,),
        samples=3,
        references=0,
        timed=1,
    )
}
TRIAL = FULL
HALF = 0.5  # of the training samples, which each reference model sees
Cell = tuple[str, int]  # a network and the seed of its training
MEASURES = {"GT": "gt", "points lost": "points_lost", "z": "z"}
ATTEMPTS = """
    select
        a.base_run_id, s.until, a.algorithm, a.seed, a.sample_id, a.status, a.steps, a.gt,
        a.test_points_lost as points_lost, a.z, a.verdict, p.predicted_gt
    from attempts as a
    join sweeps as s on s.sweep_id = a.sweep_id
    left join (select distinct on (key) * from predictions) as p on p.key = a.key
"""


def main(
    folder: str = "", names: str = "", samples: str = "", trainings: str = "", references: str = ""
) -> None:
    """Do the trials and print their tables.

    Args:
        folder, names, samples, trainings, references: where the store is, the networks with +
            between, how many samples, training seeds and references; else as the settings say.
    """
    chosen = names.split("+") if names else [*TRIAL.networks]
    trial = replace(
        TRIAL,
        folder=Path(folder or TRIAL.folder or tempfile.mkdtemp()),
        networks={name: TRIAL.networks[name] for name in chosen},
        samples=int(samples or TRIAL.samples),
        base_seeds=TRIAL.base_seeds[: int(trainings or len(TRIAL.base_seeds))],
        references=int(references or TRIAL.references),
    )
    assert trial.folder is not None
    data_dir = trial.folder / "data"
    if trial.data_dir is not None and not data_dir.exists():
        unpack_fashion_mnist(data_dir)
    store = indelible.open(trial.folder / "store", data_dir=data_dir)
    models: dict[Cell, Any] = {}
    for cell in itertools.product(trial.networks, trial.base_seeds):
        is_referred = cell[1] == trial.base_seeds[0]  # before the sweeps, which then log z
        models[cell] = _trained(store, trial, cell, trial.references if is_referred else 0)
        base = _base(trial, models[cell].run_id)
        how = {"sample_ids": _ids(trial, base), "preset": PRESET, "remaining": trial.remaining}
        how |= {"model": models[cell], "workers": 1}
        known = store.sql("select base_run_id from predictions").df().base_run_id
        if not (known == models[cell].run_id).any():
            store.predict(*ALGORITHMS, seed=trial.seeds[0], **how)
        for seed in trial.seeds:
            store.sweep(*ALGORITHMS, seed=seed, checkpoints="none", **how)
        _outcomes(store, models[cell], cell, base)
    _agreement(store, models)
    for cell in models:
        if cell[1] == trial.base_seeds[0]:
            base = _base(trial, models[cell].run_id)
            _times(cell[0], base, trial.timed)
            if trial.references:
                how = {"sample_ids": _ids(trial, base), "remaining": trial.remaining, "workers": 1}
                how |= {"model": models[cell], "preset": PRESET, "checkpoints": "none"}
                store.sweep(*ALGORITHMS, until="reference", **how)
                _until_reference(store, models[cell], cell)


def _trained(store: Any, trial: Trial, cell: Cell, references: int = 0) -> Any:
    network = trial.networks[cell[0]]
    return store.train(
        trial.dataset,
        arch=network.arch,
        seed=cell[1],
        train_samples=trial.train_samples,
        test_samples=trial.test_samples,
        references=references or None,
        reference_share=HALF if references else None,
        **network.train,
    )


def _base(trial: Trial, run_id: str) -> BaseModel:
    assert trial.folder is not None
    store, cpu = open_store(trial.folder / "store"), torch.device("cpu")
    return base_models.load(store, run_id, cpu, trial.folder / "data").model


def _ids(trial: Trial, base: BaseModel) -> list[int]:
    """The ids of the samples, whichever the base model gets right, the same for all networks."""
    ids = base.dataset.train.ids.numpy()
    return [int(one) for one in np.random.default_rng(0).permutation(ids)[: trial.samples]]


def _times(name: str, base: BaseModel, samples: int) -> None:
    """CPU milliseconds a member and step: stacked, one by one, and in a plain loop, by turns."""
    right = base.train_logits.argmax(dim=1) == base.train_labels
    positions = right.nonzero()[:samples, 0]
    known = presets.load(PRESET)
    print(
        "\n| network | algorithm | stacked, ms | one by one | plain loop |\n" + "| --- " * 5 + "|"
    )
    for algorithm in ALGORITHMS:
        chosen = algorithms.get(algorithm).from_text(known[algorithm] | {"max_steps": 2})
        result = unlearn(base, chosen, positions, 0)  # warms up
        steps = max(1, int(result.steps.sum()))

        def plain(chosen: Any = chosen, result: Any = result) -> None:
            for member, position in enumerate(positions.tolist()):
                loop(base, chosen, position, 0, result.details, member)

        def ours(how: Execution, chosen: Any = chosen) -> Callable[[], object]:
            return lambda: unlearn(base, chosen, positions, 0, how)

        ways = [ours(Execution.STACKED), ours(Execution.SEQUENTIAL), plain]
        took = [[_cpu_s(way) for way in ways] for _ in range(2)]
        best = [f"{1000 * min(each) / steps:.0f}" for each in zip(*took, strict=True)]
        print(f"| {name} | {algorithm} | {' | '.join(best)} |", flush=True)


def _cpu_s(do: Callable[[], object]) -> float:
    started = time.process_time()
    do()
    return time.process_time() - started


def _attempts(store: Any, model: Any, until: str) -> Any:
    rows = store.sql(ATTEMPTS).df()
    return rows[(rows.base_run_id == model.run_id) & (rows.until == until)]


def _by_seed(rows: Any, algorithm: str, column: str) -> Any:
    """(seeds, samples) of an algorithm, of the samples that have a value under every seed."""
    own = rows[rows.algorithm == algorithm]
    table = own.pivot_table(index="seed", columns="sample_id", values=column, dropna=False)
    return table.dropna(axis=1)


def _ceiling(measured: Floats) -> float:
    """The most to expect of a rank correlation with the mean of (seeds, samples)."""
    alike = np.ptp(measured, axis=0).max() == 0  # an algorithm without chance
    return float(np.sqrt(max(0.0, 1.0 if alike else reliability_of(measured))))


def _table(*titles: str) -> None:
    print(f"\n| {' | '.join(titles)} |\n{'| --- ' * len(titles)}|")


def _outcomes(store: Any, model: Any, cell: Cell, base: BaseModel) -> None:
    """How good the base model is, what unlearning came to, and how far the index goes with GT."""
    size = sum(p.numel() for p in base.params.values())
    right = (base.test_logits.argmax(dim=1) == base.test_labels).double().mean()
    print(f"\n{cell[0]}, seed {cell[1]}: {size:,} parameters, test accuracy {right:.3f}")
    rows = _attempts(store, model, "flip")
    _table("network", "seed", "algorithm", "n", "flipped", "points lost", "rho, index", "ceiling")
    for algorithm in ALGORITHMS:
        own = rows[(rows.algorithm == algorithm) & rows["gt"].notna()]
        gt = _by_seed(own, algorithm, "gt")
        index = own[own.predicted_gt.notna()].groupby("sample_id").predicted_gt.first()
        both = [*index.index.intersection(gt.columns)]
        measured = gt[both].to_numpy()
        rho = spearman(index[both].to_numpy(), measured.mean(axis=0)) if both else np.nan
        print(
            f"| {cell[0]} | {cell[1]} | {algorithm} | {len(both)} | "
            f"{(own.status == 'flipped').mean():.0%} | {own.points_lost.mean():.1f} | {rho:.2f} | "
            f"{_ceiling(measured) if both else np.nan:.2f} |",
            flush=True,
        )


def _until_reference(store: Any, model: Any, cell: Cell) -> None:
    rows = _attempts(store, model, "reference")
    _table("network", "algorithm", "n", "forgotten", "points lost")
    for algorithm in ALGORITHMS:
        own = rows[(rows.algorithm == algorithm) & rows["z"].notna()]
        share, lost = (own.verdict == "forgotten").mean(), own.points_lost.mean()
        print(f"| {cell[0]} | {algorithm} | {len(own)} | {share:.0%} | {lost:.1f} |", flush=True)


def _agreement(store: Any, models: Mapping[Cell, Any]) -> None:
    """Rank correlations of base models, with ceilings."""
    rows = {cell: _attempts(store, model, "flip") for cell, model in models.items()}
    for title, column in MEASURES.items():
        print(f"\n{title}")
        _table("pair", *ALGORITHMS)
        for a, b in itertools.combinations(models, 2):
            if a[0] != b[0] and a[1] != b[1]:
                continue
            said = [
                _pair(*(_by_seed(rows[c], name, column) for c in (a, b))) for name in ALGORITHMS
            ]
            print(f"| {a[0]} {a[1]}, {b[0]} {b[1]} | {' | '.join(said)} |", flush=True)


def _pair(one: Any, other: Any) -> str:
    """Spearman's rho of what both have, its ceiling, and of how many samples.

    Each of the two is taken under another seed of unlearning, since chance that both share, as of
    batches, would pass for agreement. The ceiling is that of one run of each.
    """
    both = [*one.columns.intersection(other.columns)]
    if len(both) < 3:
        return ""
    parts = [part[both].to_numpy() for part in (one, other)]
    pairs = [*itertools.permutations(range(len(parts[0])), 2)] or [(0, 0)]
    rho = np.mean([spearman(parts[0][i], parts[1][j]) for i, j in pairs])
    alike = [np.mean([spearman(part[i], part[j]) for i, j in pairs]) for part in parts]
    return f"{rho:.2f} of {np.sqrt(np.prod(np.clip(alike, 0, 1))):.2f} (n {len(both)})"
