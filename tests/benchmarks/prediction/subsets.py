"""What the index loses where it passes fewer test images through the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from factors.index import forecast
from tests.benchmarks.prediction.attempts import Cell, base_of
from tests.benchmarks.prediction.grading import spearman
from tests.benchmarks.prediction.keeping import Kept
from tests.benchmarks.prediction.settings import Study
from tracker.base.beforehand import formula

ALGORITHM = "ga"


def on_fewer_images(study: Study, cells: Sequence[Cell], kept: Kept) -> list[dict[str, object]]:
    """Spearman's rho with GT, of GA at each case, by the number of test images."""
    return [_row(study, cell, kept) for cell in cells if cell.algorithm == ALGORITHM]


def _row(study: Study, cell: Cell, kept: Kept) -> dict[str, object]:
    known = dict(_rhos(study, cell, kept))
    known[f"all {cell.test_samples}"] = spearman(cell.predicted["gt"], cell.mean("gt"))
    return {"base model": cell.case.name, "algorithm": cell.algorithm, **known}


def _rhos(study: Study, cell: Cell, kept: Kept) -> Iterator[tuple[str, float]]:
    for count in study.test_subsets:

        def rho(count: int = count) -> float:
            return _rho(study, cell, count)

        inputs = (formula(), cell.case, cell.unlearner.settings(), cell.sample_ids, count)
        yield f"{count} test images", kept.once("subset", inputs, rho)


def _rho(study: Study, cell: Cell, count: int) -> float:
    base = base_of(study, cell.case)
    positions = base.dataset.train.positions(list(cell.sample_ids))
    gt = forecast(base, cell.unlearner, positions, most=count).gt.numpy()
    known = np.isfinite(gt)
    return spearman(gt[known], cell.mean("gt")[known])
