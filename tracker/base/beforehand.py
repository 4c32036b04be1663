"""What is known of samples before attempts: `pre` factors, and forecasts of the index.

Both are computed once, and kept with the base model's run, also what there is when that is
interrupted, with the seconds that they took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

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
    chosen = {f.key: f for f in families or factors.families() if f.pre is not None}
    known: dict[str, dict[int, float]] = {c.name: {} for f in chosen.values() for c in f.columns}

    def learn(part: Table, of: Iterable[Family]) -> None:
        for column in (column.name for family in of for column in family.columns):
            known[column] |= zip(part[IDS].tolist(), part[column].tolist(), strict=True)

    def has_some(says: str) -> bool:
        return bool(read_tag(says).keys() & chosen)

    for says, part in PRE_FACTORS.intact(store, base_run.run_id, has_some):
        now, said = _versions(base_run, chosen.values(), part[IDS].tolist()), read_tag(says)
        current = [family for key, family in chosen.items() if said.get(key) == now[key]]
        # A column that was added since is lacking, also where the version was not raised for it.
        learn(part, [f for f in current if all(column.name in part for column in f.columns)])
    missing: dict[tuple[int, ...], list[Family]] = {}  # families by the samples that they lack
    for family in chosen.values():
        there = known[family.columns[0].name]
        if ids := tuple(sample for sample in dict.fromkeys(sample_ids) if sample not in there):
            missing.setdefault(ids, []).append(family)
    progress(len(set(sample_ids)) - len({i for ids in missing for i in ids}), "found")
    for ids, lacking in missing.items():
        _compute(store, base_run, ids, lacking, engine, progress, learn)
    if missing:
        store.client.set_tag(base_run.run_id, MEASURED_AT, str(milliseconds()))
    return {
        name: torch.tensor([values[i] for i in sample_ids], dtype=torch.float64)
        for name, values in known.items()
    }


def _versions(base_run: BaseRun, families: Iterable[Family], ids: Sequence[int]) -> dict[str, str]:
    """What the tag of a part with these samples says: versions by the keys of the families."""
    suffix = "" if base_run.precision == "float32" else f"-{base_run.precision}"
    beside = base_run.model.companions
    return {family.key: version_for(family, beside, ids) + suffix for family in families}


def _compute(
    store: Store,
    base_run: BaseRun,
    ids: Sequence[int],
    families: Sequence[Family],
    engine: Engine,
    progress: Progress,
    learn: Callable[[Table, Iterable[Family]], None],
) -> None:
    """Compute families for some samples, and keep the results as parts."""
    train = base_run.model.dataset.train

    def compute(replica: BaseModel, block: list[int]) -> Table:
        positions = replica.dataset.train.positions(block).to(replica.device)
        part = {IDS: torch.tensor(block)}
        for family in families:
            started = time.perf_counter()
            part |= pre_values(replica, [family], positions)
            part[f"{SECONDS}{family.key}"] = _share(started, block)
        return part

    def save(part: Table) -> None:
        ids = part[IDS].tolist()
        positions = train.positions(ids)
        part |= {POSITIONS: positions, LABELS: train.labels[positions]}
        catalog = [factors.described(column) for column in factors.columns(families)]
        about = {AT: milliseconds(), CATALOG: catalog}
        if train.paths is not None:
            about[PATHS] = [train.path_of(sample) for sample in ids]
        versions = as_tag(_versions(base_run, families, ids))
        PRE_FACTORS.add(store, base_run.run_id, part, versions, about)
        learn(part, families)

    with engine.pool(base_run.model, Stop()) as pool:
        complete(pool, ids, compute, save, progress, "factors", BLOCK)


def _share(started: float, ids: list[int]) -> Tensor:
    """The seconds since then, a share for each sample: (samples,) float64."""
    seconds = (time.perf_counter() - started) / len(ids)
    return torch.full((len(ids),), seconds, dtype=torch.float64)


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
    run_id, known = base_run.run_id, dict[int, list[float]]()  # in the order of FORECAST
    brought = algorithms.provider(algorithm.name)
    parts = (formula(), base_run.precision, algorithm.name, algorithm.settings())
    fewer = () if most is None else (most,)
    version = sha256_of(*parts, str(brought) if brought else None, *fewer)[:16]

    def learn(part: Table) -> None:
        rows = torch.stack([part[name] for name in FORECAST], dim=1)
        known.update(zip(part[IDS].tolist(), rows.tolist(), strict=True))

    def compute(base: BaseModel, ids: list[int]) -> Table:
        started = time.perf_counter()
        positions = base.dataset.train.positions(ids).to(base.device)
        with algorithms.REGISTRY.by(algorithm.name):
            found = index.forecast(base, algorithm, positions, most)
        part = {name: getattr(found, name).cpu().double() for name in FORECAST}
        return {IDS: torch.tensor(ids), **part, seconds: _share(started, ids)}

    def save(part: Table) -> None:
        FORECASTS.add(store, run_id, part, version, {AT: milliseconds()})
        learn(part)

    seconds = f"{SECONDS}{INDEX}{algorithm.name}"
    for _, part in FORECASTS.intact(store, run_id, lambda says: says == version):
        learn(part)
    missing = [sample for sample in sample_ids if sample not in known]
    progress(len(sample_ids) - len(missing), algorithm.name)
    complete(pool, missing, compute, save, progress, algorithm.name, BLOCK)
    if missing:
        store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    rows = torch.tensor([known[i] for i in sample_ids], dtype=torch.float64)
    return dict(zip(FORECAST, rows.reshape(-1, len(FORECAST)).T.contiguous(), strict=True))


def formula() -> str:
    """A digest of the versions of the index and of the engine."""
    return sha256_of("index", index.VERSION, VERSION)
