"""The tables of evidence, as Markdown and as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from factors.index import forecast
from tests.benchmarks.prediction.attempts import TARGETS, Cell, Kept, base_of
from tests.benchmarks.prediction.grading import (
    brier,
    coverage,
    grade,
    hits,
    ratio,
    spearman,
)
from tests.benchmarks.prediction.settings import Study
from tracker.base.beforehand import formula

Row = dict[str, Any]

BASELINES = {"margin": "margin", "loss": "loss", "one probe step": "ga_step_loss"}
COVERED = ("steps", "prob_lost", "points_lost")


def markdown(rows: Sequence[Row]) -> str:
    """Rows of the same columns as a table."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[_said(row.get(name)) for name in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _said(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


class Evidence:
    """All cells of a study, and what is looked up in the one on which choices were made."""

    def __init__(self, study: Study, cells: Sequence[Cell], kept: Kept) -> None:
        self.study, self.cells, self.kept = study, cells, kept
        known = [{n for n, v in cell.factors.items() if np.isfinite(v).any()} for cell in cells]
        self.names = sorted(set.intersection(*known))
        self.chosen_on = {c.algorithm: c for c in cells if c.case == study.cases[0]}

    def index(self) -> list[Row]:
        """Each target of each cell: the index and the baselines."""
        return [self._graded(cell, target) for cell in self.cells for target in TARGETS]

    def _graded(self, cell: Cell, target: str) -> Row:
        found = grade(cell.predicted[target], cell.measured[target], self.study.resamples)
        best = self.best(cell.algorithm, target)
        return {
            **_head(cell),
            "target": target,
            "seeds": len(cell.measured[target]),
            "rho": found.rho,
            "reliability": found.reliability,
            "ceiling": found.ceiling.value,
            "rho by ceiling": found.of_ceiling,
            **{said: self._signed(cell, name, target) for said, name in BASELINES.items()},
            "best factor": self._signed(cell, best, target),
            "which": best,
        }

    def best(self, algorithm: str, target: str) -> str:
        """The factor with the largest |rho| where choices were made."""
        cell = self.chosen_on[algorithm]
        return max(self.names, key=lambda name: abs(self._rho(cell, name, target)))

    def _rho(self, cell: Cell, name: str, target: str) -> float:
        """Zero where it is undefined."""
        values, mean = cell.factors[name], cell.mean(target)
        known = np.isfinite(values)
        rho = spearman(values[known], mean[known]) if known.sum() > 1 else math.nan
        return 0.0 if math.isnan(rho) else rho

    def _signed(self, cell: Cell, name: str, target: str) -> float:
        """A factor's rho, turned round if it was below zero where choices were made."""
        sign = math.copysign(1, self._rho(self.chosen_on[cell.algorithm], name, target))
        return sign * self._rho(cell, name, target)

    def outcomes(self) -> list[Row]:
        """Each cell: hits among the hardest, sizes, flips and coverage."""
        return [self._outcome(cell) for cell in self.cells]

    def _outcome(self, cell: Cell) -> Row:
        score, reference = brier(cell.predicted["flips"], cell.measured["flips"])
        covered = {
            f"coverage, {target}": coverage(
                cell.predicted[target],
                cell.measured[target],
                target,
                cell.unlearner.budget,
                self.study.splits,
            )
            for target in COVERED
        }
        return {
            **_head(cell),
            "n": len(cell.sample_ids),
            "hits": hits(cell.predicted["gt"], cell.mean("gt"), self.study.part),
            "hits of half the seeds": self._hits_of_halves(cell),
            **{
                f"predicted by measured, {target}": "{:.2f} ({:.2f} to {:.2f})".format(
                    *ratio(cell.predicted[target], cell.mean(target))
                )
                for target in ("steps", "prob_lost")
            },
            "points lost": float(cell.mean("points_lost").mean()),
            "predicted": float(np.nanmean(cell.predicted["points_lost"])),
            "flip rate": float(cell.measured["flips"].mean()),
            "Brier": score,
            "Brier of the rate": reference,
            **covered,
        }

    def _hits_of_halves(self, cell: Cell) -> float:
        """How often one half of the seeds names the hardest of the other half."""
        gt = cell.measured["gt"]
        if len(gt) < 2:
            return math.nan
        return hits(gt[::2].mean(axis=0), gt[1::2].mean(axis=0), self.study.part)

    def on_fewer_images(self) -> list[Row]:
        """Spearman's rho with GT, of GA at each case, by the number of test images."""
        return [self._on_fewer(cell) for cell in self.cells if cell.algorithm == "ga"]

    def _on_fewer(self, cell: Cell) -> Row:
        def rho(count: int) -> float:
            base = base_of(self.study, cell.case)
            positions = base.dataset.train.positions(list(cell.sample_ids))
            gt = forecast(base, cell.unlearner, positions, most=count).gt.numpy()
            known = np.isfinite(gt)
            return spearman(gt[known], cell.mean("gt")[known])

        row: Row = {"base model": cell.case.name}
        for count in self.study.test_subsets:
            inputs = (formula(), cell.case, cell.unlearner.settings(), cell.sample_ids, count)
            row[f"{count} test images"] = self.kept.once("subset", inputs, partial(rho, count))
        return row | {f"all {cell.test_samples}": spearman(cell.predicted["gt"], cell.mean("gt"))}


def _head(cell: Cell) -> Row:
    case = cell.case
    data = case.dataset + (f", preset {case.preset}" if case.preset else "")
    held_out = "" if case.is_held_out else " (choices were made on it)"
    return {"data set": data, "seed": f"{case.seed}{held_out}", "algorithm": cell.algorithm}
