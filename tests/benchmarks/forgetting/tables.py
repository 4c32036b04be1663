"""What came out, as rows of tables: is it forgotten, hard in which sense, how few references do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.attacks import ratio_wins
from tests.benchmarks.forgetting.cells import Cell
from tests.benchmarks.forgetting.settings import (
    ALGORITHMS,
    FACTORS,
    INDEX,
    TARGETS,
    UNTIL,
    Study,
)
from tests.benchmarks.prediction.grading import spearman
from unlearning.losses import wide
from unlearning.references import References

Row = dict[str, Any]
AUDITED = (
    *("auc_ratio", "auc_ratio_low", "auc_ratio_high", "auc_z", "auc_z_low", "auc_z_high"),
    *("auc_copies_z", "auc_neighbours_z", "forgotten", "points_lost", "worst_points_lost"),
)
AUDITED_MODELS = 16  # where it is asked how many judge them
ATTEMPTS = """
select
    algorithm, count(*) as attempts, avg((verdict = 'forgotten')::int) as base_forgotten,
    avg((verdict = 'remembered')::int) as base_remembered,
    avg(test_points_lost) as base_points_lost, max(test_points_lost) as base_worst,
    avg(steps) as base_steps
from attempts where sweep_id = '{}' group by algorithm order by algorithm
"""
MEASURED = """
select o.algorithm, o.sample_id, t.target, t.measured
from attempts as o join internal.targets as t using (run_id) where o.sweep_id = '{}'
"""
KNOWN = """
select distinct o.sample_id, f.factor, f.value
from attempts as o join factors as f using (run_id) where o.sweep_id = '{}'
"""
PHI = """
select algorithm, sample_id, model, saw, phi
from internal.audit_phi join audits using (audit_id, algorithm, sample_id)
where is_audited and sweep_id = '{}'
"""
CEILINGS = "select algorithm, target, ceiling from ceilings where sweep_id = '{}'"


def forgotten(cell: Cell) -> list[Row]:
    """A row an end and algorithm: the attempts on the base model, and the audit."""
    rows = []
    for until in UNTIL:
        found = cell.store.sql(ATTEMPTS.format(cell.swept[until][0])).df()
        attempts = {row["algorithm"]: row for row in found.to_dict("records")}
        audited = {row["algorithm"]: row for row in cell.audited.get(until, ())}
        for name in dict.fromkeys((*attempts, *audited)):
            told = {key: audited[name][key] for key in AUDITED} if name in audited else {}
            head = {"case": cell.case.name, "until": until, "algorithm": name}
            rows.append({**head, **attempts.get(name, {}), **told})
    return rows


def hard(cell: Cell) -> list[Row]:
    """A row an end, algorithm and target: rho of each factor and of the index, and the ceiling."""
    rows = []
    for until in UNTIL:
        sweep = cell.swept[until][0]
        measured = cell.store.sql(MEASURED.format(sweep)).df()
        known = cell.store.sql(KNOWN.format(sweep)).df().pivot_table("value", "sample_id", "factor")
        told = cell.store.sql(CEILINGS.format(sweep)).df().set_index(["algorithm", "target"])
        halves = _halves(cell, sweep)
        for name in ALGORITHMS:
            of = measured[measured["algorithm"] == name]
            table = of.pivot_table("measured", "sample_id", "target")
            index = {r["sample_id"]: r for r in cell.predicted[until] if r["algorithm"] == name}
            for target in TARGETS:
                if target not in table:
                    continue
                values = table[target].dropna()
                said = [index.get(k, {}).get(INDEX[target]) for k in values.index]
                row: Row = {
                    **{"case": cell.case.name, "until": until, "algorithm": name},
                    **{"target": target, "n": len(values), "different": values.nunique()},
                }
                for factor in FACTORS:
                    row[factor] = rho(known[factor].reindex(values.index), values)
                row["index"] = rho(said, values)
                ceiling = told["ceiling"].get((name, target), 1.0 if name == "ga" else math.nan)
                row["ceiling"] = halves.get(name, math.nan) if target == "auc" else ceiling
                rows.append(row)
    return rows


def rho(a: Any, b: Any) -> float:
    """Spearman's, of pairs that are whole; NaN of fewer than four."""
    x, y = (np.asarray(values, dtype=float) for values in (a, b))
    whole = np.isfinite(x) & np.isfinite(y)
    return spearman(x[whole], y[whole]) if whole.sum() > 3 else math.nan


def _halves(cell: Cell, sweep: str) -> dict[str, float]:
    """The ceiling of an audit's AUC by algorithm: of one half of the models with the other.

    Where a half has fewer than three models of a kind, the sample has no part in it.
    """
    phi = cell.store.sql(PHI.format(sweep)).df()
    never = phi[(phi["algorithm"] == "untouched") & ~phi["saw"]]
    found = {}
    for name in ALGORITHMS:
        both: list[list[float]] = [[], []]
        for sample, of in phi[(phi["algorithm"] == name) & phi["saw"]].groupby("sample_id"):
            others = never[never["sample_id"] == sample]
            for half in (0, 1):
                u, o = (p.loc[p["model"] % 2 == half, "phi"].to_numpy() for p in (of, others))
                known = min(len(u), len(o)) > 2
                both[half].append(ratio_wins(u, o).mean().item() if known else math.nan)
        agree = rho(*both)
        found[name] = math.sqrt(2 * agree / (1 + agree)) if agree > 0 else math.nan
    return found


def averaged(rows: Sequence[Row]) -> list[Row]:
    """A row an end and target: means over the rows of `hard` that have each."""
    found = []
    for until in UNTIL:
        for target in TARGETS:
            own = [row for row in rows if (row["until"], row["target"]) == (until, target)]
            names = (*FACTORS, "index", "ceiling")
            known = {name: [row[name] for row in own if row[name] == row[name]] for name in names}
            means = {name: fmean(some) if some else math.nan for name, some in known.items()}
            found.append({"until": until, "target": target, "rows": len(own), **means})
    return found


def enough(case: str, phi: Tensor, references: References, study: Study) -> list[Row]:
    """A row a number of reference models: how far they say what the others say.

    Args:
        phi: of the base model, (samples,).
    """
    random, size = np.random.default_rng(0), len(references)
    every, rows = torch.arange(len(phi)), []
    for count in [count for count in study.counts if count <= size // 2]:
        drawn = []
        for _ in range(study.draws):
            order = torch.from_numpy(random.permutation(size))
            few, rest = (references.only(part) for part in (order[:count], order[count:]))
            z = few.outside.z(rest.phi, every)
            outside = (z.abs() > few.outside.limit(every))[~rest.included & z.isfinite()]
            both = torch.stack([of.outside.z(phi, every) for of in (few, rest)])
            own, others = both[:, both.isfinite().all(dim=0)].numpy()
            error = np.sqrt(np.mean((own - others) ** 2))
            drawn.append([wide(outside).mean().item(), spearman(own, others), error])
        names = ("outside of 90%", "rho of z", "rms error of z")
        means = dict(zip(names, np.mean(drawn, axis=0).tolist(), strict=True))
        rows.append({"case": case, "references": count, **means})
    return rows


def judged(case: str, references: References, at: Sequence[int], study: Study) -> list[Row]:
    """A row a number of models that say where others stop: AUC of the ratio, nothing unlearned.

    Models that saw a sample are put where they are to end, and compared with those that never did.

    Args:
        at: positions of the samples.
    """
    random, size, every = np.random.default_rng(0), len(references), torch.tensor(at)
    rows = []
    for count in [count for count in study.counts if count + AUDITED_MODELS <= size]:
        found, never = [], []
        for _ in range(study.draws):
            order = torch.from_numpy(random.permutation(size))
            judges, own = (
                references.only(part) for part in (order[:count], order[-AUDITED_MODELS:])
            )
            phi = own.phi[:, every]
            ends = torch.stack([torch.minimum(judges.mapped(each, every), each) for each in phi])
            for end, of, saw in zip(ends.T, phi.T, own.included[:, every].T, strict=True):
                u, o = end[saw & end.isfinite()].numpy(), of[~saw].numpy()
                found.append(ratio_wins(u, o).mean() if len(u) else math.nan)
                never.append(ratio_wins(o[::2], o[1::2]).mean())
        aucs = {"AUC, ratio": float(np.nanmean(found)), "never saw": float(np.nanmean(never))}
        rows.append({"case": case, "judges": count, **aucs})
    return rows
