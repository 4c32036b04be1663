"""Forecasts of the index for a base model's samples: computed once, and kept with its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from analysis.warehouse import FORECAST
from factors import index
from tracker.base.base_models import BaseRun
from tracker.base.parts import AT, FORECASTS, IDS, INDEX, SECONDS, Kept
from tracker.base.workers import Pool
from tracker.store.blocks import in_blocks
from tracker.store.records import MEASURED_AT, milliseconds, sha256_of
from tracker.store.write import Store
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.version import VERSION

BLOCK = 64  # samples that a worker computes at a time

Numbers = tuple[float, ...]  # of one sample, in the order of FORECAST


def forecasts(
    store: Store,
    base_run: BaseRun,
    algorithm: Algorithm,
    sample_ids: Sequence[int],
    pool: Pool,
    progress: Callable[[int, str], None] = lambda samples, doing: None,
    most: int | None = None,
) -> dict[str, Tensor]:
    """What the index says of these samples: by the names in FORECAST, (samples,) float64.

    What an earlier call computed with the same formula and settings is read. The rest is computed,
    and kept for the next one with the seconds that it took, also what there is when this is
    interrupted. The seed of unlearning plays no part in it.

    Args:
        pool: computes. progress: is told how many samples were just done, and for which algorithm.
        most: test samples that the index looks at; as many as it does by itself if None.
    """
    version = _version(base_run, algorithm, most)
    known = dict(_read(store, base_run.run_id, version))
    missing = [sample for sample in sample_ids if sample not in known]
    progress(len(sample_ids) - len(missing), algorithm.name)

    def compute(base: BaseModel, ids: list[int]) -> tuple[list[Numbers], float]:
        started = time.perf_counter()
        positions = base.dataset.train.positions(ids).to(base.device)
        with algorithms.REGISTRY.by(algorithm.name):
            forecast = index.forecast(base, algorithm, positions, most)
        rows = _rows([getattr(forecast, name) for name in FORECAST])
        return rows, (time.perf_counter() - started) / len(ids)

    def save(new: Mapping[int, tuple[Numbers, float]]) -> None:
        part = _as_part({sample: numbers for sample, (numbers, _) in new.items()})
        seconds = [took for _, took in new.values()]
        part[f"{SECONDS}{INDEX}{algorithm.name}"] = torch.tensor(seconds, dtype=torch.float64)
        FORECASTS.add(store, base_run.run_id, part, version, {AT: milliseconds()})

    with Kept[tuple[Numbers, float]](save) as kept:
        for ids, (rows, seconds) in pool.map(compute, in_blocks(missing, BLOCK)):
            known |= zip(ids, rows, strict=True)
            kept.add({sample: (row, seconds) for sample, row in zip(ids, rows, strict=True)})
            progress(len(ids), algorithm.name)
    if missing:
        store.client.set_tag(base_run.run_id, MEASURED_AT, str(milliseconds()))
    wanted = _as_part({sample: known[sample] for sample in sample_ids})
    return {name: wanted[name] for name in FORECAST}


def formula() -> str:
    """A digest of the versions of the index and of the engine."""
    return sha256_of("index", index.VERSION, VERSION)


def _version(base_run: BaseRun, algorithm: Algorithm, most: int | None) -> str:
    """A digest of all that a forecast depends on beside base model and sample."""
    brought = algorithms.provider(algorithm.name)
    parts = (formula(), base_run.precision, algorithm.name, algorithm.settings())
    fewer = () if most is None else (most,)
    return sha256_of(*parts, str(brought) if brought else None, *fewer)[:16]


def _read(store: Store, run_id: str, version: str) -> Iterator[tuple[int, Numbers]]:
    """What was computed under this version, by sample. Damaged parts are left out."""
    run = store.run(run_id)
    for name, says in FORECASTS.names(run.data.tags).items():
        if says == version:
            with suppress(UserError):
                part = FORECASTS.read(store.artifacts, run.info.artifact_uri, run_id, name)
                yield from zip(
                    part[IDS].tolist(), _rows([part[name] for name in FORECAST]), strict=True
                )


def _rows(columns: Sequence[Tensor]) -> list[Numbers]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _as_part(rows: Mapping[int, Numbers]) -> dict[str, Tensor]:
    table = torch.tensor([*rows.values()], dtype=torch.float64).reshape(-1, len(FORECAST))
    columns = {name: table[:, k].contiguous() for k, name in enumerate(FORECAST)}
    return {IDS: torch.tensor([*rows]), **columns}
