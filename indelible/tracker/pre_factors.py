"""The `pre` factors of a base model's samples: computed once, and kept with its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import indelible
from indelible import factors
from indelible.errors import UserError
from indelible.factors.family import before
from indelible.tracker.base_models import BaseRun
from indelible.tracker.plan import sha256_of
from indelible.tracker.store import Store

FILE = "pre_factors.safetensors"
IDS = "sample_ids"  # the tensor beside the factors
VERSION = "pre_factors"  # the tag of the base model that says which definitions they follow


def pre_factors(store: Store, base: BaseRun, sample_ids: Sequence[int]) -> dict[str, Tensor]:
    """The `pre` factors by name, float64 (samples,) in the order of the ids.

    What an earlier sweep computed is read, the rest computed and added for the next one.
    """
    version = _version(base)
    known = _read(store, base.run_id, version)
    there = {sample: row for row, sample in enumerate(known.get(IDS, torch.empty(0)).tolist())}
    missing = [sample for sample in sample_ids if sample not in there]
    if missing:
        positions = base.model.dataset.train.positions(missing).to(base.model.device)
        found = before(base.model, factors.families(), positions)
        found[IDS] = torch.tensor(missing)
        known = {n: torch.cat([known[n], v]) if n in known else v for n, v in found.items()}
        store.attach(base.run_id, FILE, save(known), (VERSION, version))
        there = {sample: row for row, sample in enumerate(known[IDS].tolist())}
    rows = torch.tensor([there[sample] for sample in sample_ids])
    return {name: values[rows] for name, values in known.items() if name != IDS}


def _version(base: BaseRun) -> str:
    """Changes with the definitions, and with what is known of memorisation."""
    columns = [dataclasses.astuple(c) for c in factors.columns() if c.phase == "pre"]
    memorization = sorted(base.model.companions.memorization.items())
    return sha256_of(indelible.__version__, columns, memorization)[:16]


def _read(store: Store, run_id: str, version: str) -> dict[str, Tensor]:
    run = store.run(run_id)
    if run.data.tags.get(VERSION) != version:
        return {}
    try:
        with store.artifact(run, FILE) as path:
            return load_file(path)
    except (UserError, SafetensorError):  # lost, or written by two at once: only a cache
        return {}
