"""The tables of evidence, as Markdown and as rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median

import numpy as np

from tests.benchmarks.prediction import fitted
from tests.benchmarks.prediction.attempts import TARGETS, Cell, Floats
from tests.benchmarks.prediction.grading import (
    Grade,
    Interval,
    brier,
    coverage,
    grade,
    hits,
    ratio,
    reliability_of,
    spearman,
)
from tests.benchmarks.prediction.keeping import Kept
from tests.benchmarks.prediction.settings import Study

Row = dict[str, object]

BASELINES = {"margin": "margin", "loss": "loss", "one probe step": "ga_step_loss"}
FITTED_TARGETS = ("gt", "steps", "prob_lost")
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
        self.names = fitted.names_of(cells)
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
            **_as_row(found),
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

    def models(self) -> list[Row]:
        """Each cell and some targets: fitted models, by what they were fitted on."""
        return [self._modelled(cell, target) for cell in self.cells for target in FITTED_TARGETS]

    def _modelled(self, cell: Cell, target: str) -> Row:
        kinds = {"ridge": fitted.ridge}
        if self.study.boosted and target == "gt":
            kinds["trees"] = fitted.boosted
        row: Row = {**_head(cell), "target": target}
        row["ceiling"] = math.sqrt(max(0.0, reliability_of(cell.measured[target])))
        row["index"] = spearman(*_known(cell.predicted[target], cell.mean(target)))
        for said, others in self._others(cell).items():
            for kind, predict in kinds.items():
                row[f"{kind}, {said}"] = self._fitted(cell, target, others, kind, predict)
        if target == "gt":
            row["chance"] = self._chance(cell)
        return row

    def _others(self, cell: Cell) -> dict[str, list[Cell] | None]:
        """On which cells a model may be fitted that predicts this one; None: on its own."""
        own = cell.case
        same = [c for c in self.cells if c.algorithm == cell.algorithm]
        found = {
            "other algorithms": [
                c for c in self.cells if c.case == own and c.algorithm != cell.algorithm
            ],
            "other base models": [
                c
                for c in same
                if (c.case.dataset, c.case.preset) == (own.dataset, own.preset) and c.case != own
            ],
            "other data sets": [
                c for c in same if c.case.dataset != own.dataset and c.case.preset is None
            ],
        }
        return {"other samples": None, **{said: some for said, some in found.items() if some}}

    def _fitted(
        self,
        cell: Cell,
        target: str,
        others: Sequence[Cell] | None,
        kind: str,
        predict: fitted.Predict,
    ) -> float:
        own = fitted.rows_of(cell, self.names, target)
        rest = None if others is None else [fitted.rows_of(c, self.names, target) for c in others]
        parts = [own, *(rest or ())]
        inputs = [(p.features.tobytes(), p.targets.tobytes(), p.groups) for p in parts]

        def rho() -> float:
            found = fitted.predictions(predict, own, rest)
            return spearman(found[:, 0], own.targets[:, 0])

        return self.kept.once(f"fitted-{kind}", (inputs, rest is None), rho)

    def _chance(self, cell: Cell) -> float:
        """Below which |rho| of ridge regression on other samples stays in 95% of permutations."""
        own = fitted.rows_of(cell, self.names, "gt")
        inputs = (own.features.tobytes(), own.targets.tobytes(), self.study.permutations)

        def quantile() -> float:
            found, shuffled = fitted.null(own, self.study.permutations)
            rho = [abs(spearman(a, b)) for a, b in zip(found.T, shuffled.T, strict=True)]
            return float(np.quantile(rho, 0.95))

        return self.kept.once("chance", inputs, quantile)


def medians(rows: Iterable[Row], by: Sequence[str], of: Sequence[str]) -> list[Row]:
    """For rows alike in some columns, the median of others, with the least and the largest."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [
        dict(zip(by, key, strict=True)) | {name: _spread(some, name) for name in of}
        for key, some in groups.items()
    ]


def _spread(rows: Sequence[Row], name: str) -> str:
    found = [row.get(name) for row in rows]
    values = [each.value if isinstance(each, Interval) else each for each in found]
    known = [each for each in values if isinstance(each, float) and not math.isnan(each)]
    if len(known) < 2:
        return "".join(f"{value:.3f}" for value in known)
    return f"{median(known):.3f} ({min(known):.3f} to {max(known):.3f})"


def _head(cell: Cell) -> Row:
    case = cell.case
    data = case.dataset + (f", preset {case.preset}" if case.preset else "")
    held_out = "" if case.is_held_out else " (choices were made on it)"
    return {"data set": data, "seed": f"{case.seed}{held_out}", "algorithm": cell.algorithm}


def _as_row(found: Grade) -> Row:
    return {
        "rho": found.rho,
        "reliability": found.reliability,
        "ceiling": found.ceiling.value,
        "rho by ceiling": found.of_ceiling,
    }


def _known(predicted: Floats, measured: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(predicted)
    return predicted[known], measured[known]


def as_json(tables: Mapping[str, Sequence[Row]]) -> bytes:
    """The tables, with null for what is undefined."""

    def plain(value: object) -> object:
        if isinstance(value, Interval):
            return {name: plain(part) for name, part in asdict(value).items()}
        return None if isinstance(value, float) and math.isnan(value) else value

    found = {
        title: [{name: plain(value) for name, value in row.items()} for row in rows]
        for title, rows in tables.items()
    }
    return json.dumps(found, indent=1, allow_nan=False).encode()
