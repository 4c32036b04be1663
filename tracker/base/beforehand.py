"""What is known of samples before attempts: `pre` factors, and forecasts of the index.

Both are computed once, and kept with the base model's run, also what there is when that is
interrupted, with the seconds that they took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

import factors
from analysis.warehouse import FORECAST
from factors import index
from factors.family import Family, pre_values, version_for
from tracker.base.base_models import BaseRun
from tracker.base.parts import (
    CATALOG,
    FORECASTS,
    IDS,
    INDEX,
    LABELS,
    PATHS,
    POSITIONS,
    PRE_FACTORS,
    Progress,
    Question,
    Rows,
    Table,
    answers,
)
from tracker.base.workers import THREADS, Engine, Pool, Stop
from tracker.store.records import sha256_of
from tracker.store.write import Store
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.version import VERSION

BLOCK = 64  # samples at a time: always the same, since the last bits depend on it


def pre_factors(
    store: Store,
    base_run: BaseRun,
    sample_ids: Sequence[int],
    families: Sequence[Family] | None = None,
    engine: Engine = THREADS,
    progress: Progress = lambda samples, doing: None,
) -> dict[str, Tensor]:
    """The `pre` factors by name, float64 (samples,) in the order of the ids.

    What was computed before by the same code is read; the rest is computed in fixed blocks.

    Args:
        families: whose factors; all if None.
        engine: computes.
        progress: is told of how many samples all is known now.
    """
    base = base_run.model
    beside, train = base.companions, base.dataset.train
    suffix = "" if base_run.precision == "float32" else f"-{base_run.precision}"

    def asked(family: Family) -> Question:
        def compute(base: BaseModel, ids: list[int]) -> Table:
            at, labels = base.dataset.train.positions(ids), base.dataset.train.labels
            found = pre_values(base, [family], at.to(base.device))
            return {**found, POSITIONS: at, LABELS: labels[at]}

        names = [column.name for column in family.columns]
        return Question(names, lambda ids: version_for(family, beside, ids) + suffix, compute)

    chosen = {f.key: f for f in families or factors.families() if f.pre is not None}

    def about(part: Table) -> dict[str, Any]:
        columns = factors.columns(chosen.values())
        told = {CATALOG: [factors.described(one) for one in columns if one.name in part]}
        paths = [train.path_of(sample) for sample in part[IDS].tolist()]
        return told if train.paths is None else told | {PATHS: paths}

    questions = {key: asked(family) for key, family in chosen.items()}
    pool = partial(engine.pool, base, Stop())
    how = (store, base_run.run_id, PRE_FACTORS, questions, sample_ids, pool, BLOCK)
    rows = answers(*how, progress, "factors", about)
    return _in_order(rows, sample_ids)


def forecasts(
    store: Store,
    base_run: BaseRun,
    algorithm: Algorithm,
    sample_ids: Sequence[int],
    pool: Pool,
    progress: Progress = lambda samples, doing: None,
    most: int | None = None,
    references: str | None = None,
) -> dict[str, Tensor]:
    """What the index says of these samples: by the names in FORECAST, (samples,) float64.

    What was computed before with the same formula and settings is read. The seed of unlearning
    plays no part in it.

    Args:
        pool: computes. progress: is told how many samples were just done, and for which algorithm.
        most: test samples that the index looks at; as many as it does by itself if None.
        references: the digest of the reference models, if they say where attempts end; else, at
            the flip, None.
    """
    name, brought = algorithm.name, algorithms.provider(algorithm.name)
    parts = (formula(), base_run.precision, name, algorithm.settings())
    others = [other for other in (most, references) if other is not None]
    version = sha256_of(*parts, str(brought) if brought else None, *others)[:16]

    def compute(base: BaseModel, ids: list[int]) -> Table:
        positions = base.dataset.train.positions(ids).to(base.device)
        target = None if references is None else base.targets(positions)
        with algorithms.REGISTRY.by(name):
            found = index.forecast(base, algorithm, positions, most, target)
        return {each: getattr(found, each).cpu().double() for each in FORECAST}

    asked = {f"{INDEX}{name}": Question(FORECAST, lambda ids: version, compute)}
    how = (store, base_run.run_id, FORECASTS, asked, sample_ids, lambda: nullcontext(pool), BLOCK)
    rows = answers(*how, progress, name)
    return _in_order(rows, sample_ids)


def _in_order(rows: Mapping[str, Rows], ids: Sequence[int]) -> dict[str, Tensor]:
    """Columns in the order of the ids, float64."""
    return {
        name: torch.tensor([values[i] for i in ids], dtype=torch.float64)
        for name, values in rows.items()
    }


def formula() -> str:
    """A digest of the versions of the index and of the engine."""
    return sha256_of("index", index.VERSION, VERSION)
