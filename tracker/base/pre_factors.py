"""The `pre` factors of a base model's samples: computed once, and kept with its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

import factors
from factors.family import Family, pre_values
from factors.versions import version_for
from tracker.base.base_models import BaseRun
from tracker.base.parts import (
    AT,
    CATALOG,
    IDS,
    LABELS,
    PATHS,
    POSITIONS,
    PRE_FACTORS,
    SECONDS,
    Kept,
)
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.blocks import in_blocks
from tracker.store.records import MEASURED_AT, as_tag, milliseconds, read_tag
from tracker.store.write import Store
from unlearning.base_model import BaseModel
from unlearning.errors import UserError

BLOCK = 64  # samples at a time: always the same, since the last bits depend on it

Values = dict[str, float]  # of one sample, by the names of a part's tensors
Progress = Callable[[int, str], None]


def pre_factors(
    store: Store,
    base_run: BaseRun,
    sample_ids: Sequence[int],
    families: Sequence[Family] | None = None,
    engine: Engine = THREADS,
    progress: Progress = lambda samples, doing: None,
) -> dict[str, Tensor]:
    """The `pre` factors by name, float64 (samples,) in the order of the ids.

    What was computed before by the same code is read; the rest is computed by worker threads in
    fixed blocks, and kept for the next time, also what there is when this is interrupted.

    Args:
        families: whose factors; all if None.
        engine: computes.
        progress: is told of how many samples all is known now.
    """
    chosen = [f for f in families or factors.families() if f.pre is not None]
    known = _Known.read(store, base_run, chosen)
    missing = known.missing(sample_ids)
    progress(len(set(sample_ids)) - len({i for ids in missing for i in ids}), "found")
    for ids, lacking in missing.items():
        _compute(store, base_run, ids, lacking, engine, progress, known)
    if missing:
        store.client.set_tag(base_run.run_id, MEASURED_AT, str(milliseconds()))
    names = [column.name for family in chosen for column in family.columns]
    return {
        name: torch.tensor([known.values[i][name] for i in sample_ids], dtype=torch.float64)
        for name in names
    }


@dataclass
class _Known:
    """What is known of samples by the present code.

    Attributes:
        of: the samples that each family, by its key, was computed for. values: by sample.
    """

    families: Sequence[Family]
    of: dict[str, set[int]]
    values: dict[int, Values] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, base_run: BaseRun, families: Sequence[Family]) -> _Known:
        """What was kept with the base model's run. Damaged parts are left out."""
        known = cls(families, {family.key: set() for family in families})
        run = store.run(base_run.run_id)
        for name, says in PRE_FACTORS.names(run.data.tags).items():
            said = read_tag(says)
            if not said.keys() & known.of.keys():
                continue
            with suppress(UserError):
                uri, run_id = run.info.artifact_uri, run.info.run_id
                part = PRE_FACTORS.read(store.artifacts, uri, run_id, name)
                ids = part[IDS].tolist()
                now = _stamps(base_run, families, ids)
                known.add([f for f in families if said.get(f.key) == now[f.key]], part)
        return known

    def add(self, computed: Iterable[Family], part: Mapping[str, Tensor]) -> None:
        """Take in the values of some families."""
        ids = part[IDS].tolist()
        for family in computed:
            self.of[family.key] |= {*ids}
            for column in family.columns:
                for sample, value in zip(ids, part[column.name].tolist(), strict=True):
                    self.values.setdefault(sample, {})[column.name] = value

    def missing(self, sample_ids: Sequence[int]) -> dict[tuple[int, ...], list[Family]]:
        """Families by the samples, in order, that they have yet to be computed for."""
        found: dict[tuple[int, ...], list[Family]] = {}
        for family in self.families:
            there = self.of[family.key]
            ids = tuple(i for i in dict.fromkeys(sample_ids) if i not in there)
            if ids:
                found.setdefault(ids, []).append(family)
        return found


def _stamps(base_run: BaseRun, families: Iterable[Family], ids: Sequence[int]) -> dict[str, str]:
    """What the tag of a part with these samples says: versions by the keys of the families."""
    precision = base_run.precision
    return {
        family.key: version_for(family, base_run.model.companions, ids)
        + ("" if precision == "float32" else f"-{precision}")
        for family in families
    }


def _compute(
    store: Store,
    base_run: BaseRun,
    ids: Sequence[int],
    families: Sequence[Family],
    engine: Engine,
    progress: Progress,
    known: _Known,
) -> None:
    """Compute families for some samples, and keep the results as parts."""
    base, stop = base_run.model, Stop()

    def compute(twin: BaseModel, block: list[int]) -> list[Values]:
        positions = twin.dataset.train.positions(block).to(twin.device)
        columns: dict[str, list[float]] = {}
        for family in families:
            started = time.perf_counter()
            found = pre_values(twin, [family], positions)
            seconds = (time.perf_counter() - started) / len(block)
            columns |= {name: values.tolist() for name, values in found.items()}
            columns[f"{SECONDS}{family.key}"] = [seconds] * len(block)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def save(rows: Mapping[int, Values]) -> None:
        ids = list(rows)
        positions = base.dataset.train.positions(ids)
        labels = base.dataset.train.labels[positions]
        part = {IDS: torch.tensor(ids), POSITIONS: positions, LABELS: labels.clone()}
        for name in next(iter(rows.values())):
            part[name] = torch.tensor([row[name] for row in rows.values()], dtype=torch.float64)
        said = as_tag(_stamps(base_run, families, ids))
        catalog = [factors.described(column) for column in factors.columns(families)]
        about = {AT: milliseconds(), CATALOG: catalog}
        if base.dataset.train.paths is not None:
            about[PATHS] = [base.dataset.train.path_of(sample) for sample in ids]
        PRE_FACTORS.add(store, base_run.run_id, part, said, about)
        known.add(families, part)

    with Kept(save) as kept, engine.pool(base, stop) as pool:
        for block, rows in pool.map(compute, in_blocks(ids, BLOCK)):
            kept.add(dict(zip(block, rows, strict=True)))
            progress(len(block), "factors")
