"""The `pre` factors of a base model's samples: computed once, and kept with its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

import factors
import tracker
from factors.family import Family, pre_values
from tracker.base.base_models import BaseRun
from tracker.base.parts import PRE_FACTORS
from tracker.record.records import sha256_of
from tracker.record.store import Store
from unlearning.errors import UserError
from unlearning.version import VERSION

IDS = "sample_ids"  # the tensor beside the factors


def pre_factors(
    store: Store,
    base_run: BaseRun,
    sample_ids: Sequence[int],
    families: Sequence[Family] | None = None,
) -> dict[str, Tensor]:
    """The `pre` factors by name, float64 (samples,) in the order of the ids.

    What an earlier sweep computed is read; the rest is computed, and kept for the next one. What
    families compute that are not `lasting` is not kept.

    Args:
        families: whose factors; all if None.
    """
    families, device = families or factors.families(), base_run.model.device
    lasting = _lasting(store, base_run, sample_ids, [f for f in families if f.lasting])
    positions = base_run.model.dataset.train.positions(list(sample_ids)).to(device)
    return lasting | pre_values(base_run.model, [f for f in families if not f.lasting], positions)


def _lasting(
    store: Store, base_run: BaseRun, sample_ids: Sequence[int], families: list[Family]
) -> dict[str, Tensor]:
    version = _version(base_run, families)
    known = _read(store, base_run.run_id, version)
    there = set(known[IDS].tolist()) if known else set()
    missing = [sample for sample in sample_ids if sample not in there]
    if missing:
        positions = base_run.model.dataset.train.positions(missing).to(base_run.model.device)
        computed = pre_values(base_run.model, families, positions)
        computed[IDS] = torch.tensor(missing)
        PRE_FACTORS.add(store, base_run.run_id, computed, version)
        known = _joined([known, computed] if known else [computed])
    row_of = {sample: row for row, sample in enumerate(known[IDS].tolist())}
    rows = torch.tensor([row_of[sample] for sample in sample_ids])
    return {name: values[rows] for name, values in known.items() if name != IDS}


def _version(base_run: BaseRun, families: list[Family]) -> str:
    """A digest that changes with the definitions of the factors and with the precision."""
    columns = [dataclasses.astuple(c) for f in families for c in f.columns if c.phase == "pre"]
    brought = [str(who) for family in families if (who := factors.provider(family.name))]
    return sha256_of(tracker.__version__, VERSION, base_run.precision, columns, *brought)[:16]


def _read(store: Store, run_id: str, version: str) -> dict[str, Tensor]:
    """What was computed under these definitions. Damaged parts are left out."""
    run, parts = store.run(run_id), []
    for name, says in PRE_FACTORS.names(run.data.tags).items():
        if says == version:
            with suppress(UserError):
                part = PRE_FACTORS.read(store.artifacts, run.info.artifact_uri, run_id, name)
                parts.append(part)
    return _joined(parts) if parts else {}


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
