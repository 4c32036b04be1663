"""Forecasts of the index for a base model's samples: computed once, and kept with its run."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from factors import index
from tracker.base.base_models import BaseRun
from tracker.base.parts import FORECASTS
from tracker.base.workers import Workers, in_blocks
from tracker.record.records import sha256_of
from tracker.record.store import Store
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.version import VERSION

IDS = "sample_ids"  # the tensor beside the forecasts
BLOCK = 64  # samples that a worker computes at a time
KEPT = 2048  # samples after which what was computed is kept, so that a later call goes on there


def forecasts(
    store: Store,
    base_run: BaseRun,
    algorithm: Algorithm,
    sample_ids: Sequence[int],
    workers: Workers,
    progress: Callable[[int, str], None] = lambda samples, doing: None,
) -> dict[str, Tensor]:
    """What the index says of these samples: the fields of Forecast by name, (samples,) float64.

    What an earlier call computed with the same formula and settings is read. The rest is computed,
    and kept for the next one. The seed of unlearning plays no part in it.

    Args:
        progress: is told how many samples were just done, and for which algorithm.
    """
    version = _version(base_run, algorithm)
    parts = list(_read(store, base_run.run_id, version))
    there = {sample for part in parts for sample in part[IDS].tolist()}
    missing = [sample for sample in sample_ids if sample not in there]
    progress(len(sample_ids) - len(missing), algorithm.name)

    def compute(base: BaseModel, ids: list[int]) -> dict[str, Tensor]:
        positions = base.dataset.train.positions(ids).to(base.device)
        found = vars(index.forecast(base, algorithm, positions))
        return {IDS: torch.tensor(ids)} | {name: v.cpu().double() for name, v in found.items()}

    for some in in_blocks(missing, KEPT):
        done = []
        for ids, found in workers.map(compute, in_blocks(some, BLOCK)):
            done.append(found)
            progress(len(ids), algorithm.name)
        parts.append(_joined(done))
        FORECASTS.add(store, base_run.run_id, parts[-1], version)
    known = _joined(parts)
    row_of = {sample: row for row, sample in enumerate(known[IDS].tolist())}
    rows = torch.tensor([row_of[sample] for sample in sample_ids])
    return {name: values[rows] for name, values in known.items() if name != IDS}


@cache
def formula() -> str:
    """The fingerprint of the index: SHA-256 of its source and of that of the factors it is made of.

    The rest of what it calls is covered by VERSION.
    """
    things = [index, *vars(index).values()]
    named = {
        thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "")
        for thing in things
    }
    digest = hashlib.sha256()
    for name in sorted(name for name in named if str(name).startswith("factors.")):
        digest.update(inspect.getsource(sys.modules[name]).encode())
    return digest.hexdigest()


def _version(base_run: BaseRun, algorithm: Algorithm) -> str:
    """A digest of all that a forecast depends on beside base model and sample."""
    brought = algorithms.provider(algorithm.name)
    parts = (formula(), VERSION, base_run.precision, algorithm.name, algorithm.settings())
    return sha256_of(*parts, str(brought) if brought else None)[:16]


def _read(store: Store, run_id: str, version: str) -> Iterator[dict[str, Tensor]]:
    """What was computed under this version. Damaged parts are left out."""
    run = store.run(run_id)
    for name, says in FORECASTS.names(run.data.tags).items():
        if says == version:
            with suppress(UserError):
                yield FORECASTS.read(store.artifacts, run.info.artifact_uri, run_id, name)


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
