"""What is known of samples before attempts: `pre` factors, and forecasts of the index.

Both are computed once, and kept with the base model's run, also what there is when that is
interrupted, with the seconds that they took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import factors
from analysis.warehouse import FORECAST
from factors import index
from factors.family import Family, pre_values, version_for
from tracker.base.base_models import BaseRun
from tracker.base.parts import (
    AT,
    CATALOG,
    FORECASTS,
    IDS,
    INDEX,
    LABELS,
    PATHS,
    POSITIONS,
    PRE_FACTORS,
    SECONDS,
    Parts,
    Progress,
    Table,
    complete,
)
from tracker.base.workers import THREADS, Engine, Pool, Stop
from tracker.store.records import MEASURED_AT, as_tag, milliseconds, read_tag, sha256_of
from tracker.store.write import Store
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.version import VERSION

BLOCK = 64  # samples at a time: always the same, since the last bits depend on it


@dataclass(frozen=True)
class _Question:
    """Columns that are computed together of samples.

    Attributes:
        version: of the values of the samples with these ids. compute: the columns, (K,) each, for
            positions (K,) in the training split.
    """

    names: Sequence[str]
    version: Callable[[list[int]], str]
    compute: Callable[[BaseModel, Tensor], Mapping[str, Tensor]]


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
    beside = base_run.model.companions
    suffix = "" if base_run.precision == "float32" else f"-{base_run.precision}"

    def asked(family: Family) -> _Question:
        return _Question(
            [column.name for column in family.columns],
            lambda ids: version_for(family, beside, ids) + suffix,
            lambda base, positions: pre_values(base, [family], positions),
        )

    chosen = [family for family in families or factors.families() if family.pre is not None]
    return _answers(
        *(store, base_run, PRE_FACTORS, {family.key: asked(family) for family in chosen}),
        *(sample_ids, lambda: engine.pool(base_run.model, Stop()), progress, "factors"),
        [factors.described(column) for column in factors.columns(chosen)],
    )


def forecasts(
    store: Store,
    base_run: BaseRun,
    algorithm: Algorithm,
    sample_ids: Sequence[int],
    pool: Pool,
    progress: Progress = lambda samples, doing: None,
    most: int | None = None,
) -> dict[str, Tensor]:
    """What the index says of these samples: by the names in FORECAST, (samples,) float64.

    What was computed before with the same formula and settings is read. The seed of unlearning
    plays no part in it.

    Args:
        pool: computes. progress: is told how many samples were just done, and for which algorithm.
        most: test samples that the index looks at; as many as it does by itself if None.
    """
    name, brought = algorithm.name, algorithms.provider(algorithm.name)
    parts = (formula(), base_run.precision, name, algorithm.settings())
    fewer = () if most is None else (most,)
    version = sha256_of(*parts, str(brought) if brought else None, *fewer)[:16]

    def compute(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
        with algorithms.REGISTRY.by(name):
            found = index.forecast(base, algorithm, positions, most)
        return {each: getattr(found, each).cpu().double() for each in FORECAST}

    asked = {f"{INDEX}{name}": _Question(FORECAST, lambda ids: version, compute)}
    return _answers(
        store, base_run, FORECASTS, asked, sample_ids, lambda: nullcontext(pool), progress, name
    )


def formula() -> str:
    """A digest of the versions of the index and of the engine."""
    return sha256_of("index", index.VERSION, VERSION)


def _answers(
    store: Store,
    base_run: BaseRun,
    kind: Parts,
    questions: Mapping[str, _Question],
    sample_ids: Sequence[int],
    pool: Callable[[], AbstractContextManager[Pool]],
    progress: Progress,
    doing: str,
    catalog: Sequence[Mapping[str, str]] = (),
) -> dict[str, Tensor]:
    """The columns of all questions, float64 (samples,), read or else computed and kept.

    Args:
        questions: by what their versions and seconds are kept under. catalog: the factors as rows.
    """
    run, train = store.run(base_run.run_id), base_run.model.dataset.train
    known: dict[str, dict[int, float]] = {n: {} for q in questions.values() for n in q.names}

    def learn(part: Table, of: Mapping[str, _Question]) -> None:
        for name in (name for question in of.values() for name in question.names):
            known[name] |= zip(part[IDS].tolist(), part[name].tolist(), strict=True)

    for part, says in kind.of(store, run, lambda says: read_tag(says).keys() & questions):
        said, ids = read_tag(says), part[IDS].tolist()
        current = {key: q for key, q in questions.items() if said.get(key) == q.version(ids)}
        # A column that was added since is lacking, also where the version was not raised for it.
        learn(part, {key: q for key, q in current.items() if part.keys() >= {*q.names}})
    lacking = {k: q for k, q in questions.items() if {*sample_ids} - known[q.names[0]].keys()}
    there = [known[question.names[0]].keys() for question in lacking.values()]
    missing = [i for i in dict.fromkeys(sample_ids) if not all(i in ids for ids in there)]
    computes = {key: question.compute for key, question in lacking.items()}
    progress(len({*sample_ids}) - len(missing), "found")

    def compute(base: BaseModel, ids: list[int]) -> Table:
        split, part = base.dataset.train, {IDS: torch.tensor(ids)}
        positions = split.positions(ids)
        for key, columns_of in computes.items():
            started = time.perf_counter()
            part |= columns_of(base, positions.to(base.device))
            seconds = (time.perf_counter() - started) / len(ids)  # a share for each sample
            part[f"{SECONDS}{key}"] = torch.full((len(ids),), seconds, dtype=torch.float64)
        return part | {POSITIONS: positions, LABELS: split.labels[positions]}

    def save(part: Table) -> None:
        ids = part[IDS].tolist()
        rows = [row for row in catalog if row["factor"] in part]
        about: dict[str, Any] = {AT: milliseconds(), CATALOG: rows}
        if train.paths is not None:
            about[PATHS] = [train.path_of(sample) for sample in ids]
        says = as_tag({key: question.version(ids) for key, question in lacking.items()})
        kind.add(store, base_run.run_id, part, says, about)
        learn(part, lacking)

    if missing:
        with pool() as workers:
            complete(workers, missing, compute, save, progress, doing, BLOCK)
        store.client.set_tag(base_run.run_id, MEASURED_AT, str(milliseconds()))
    return {
        name: torch.tensor([values[i] for i in sample_ids], dtype=torch.float64)
        for name, values in known.items()
    }
