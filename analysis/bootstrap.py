"""Intervals by resampling, for the correlations of one sweep."""

from __future__ import annotations

from analysis.rows import Rows
from analysis.statistics import bootstrap_interval
from analysis.warehouse import Warehouse


def with_bootstrap(
    warehouse: Warehouse, found: Rows, resamples: int, seed: int, **asked: object
) -> Rows:
    """The rows of the report `correlate` with bootstrap intervals in place of those they have.

    Args:
        asked: the parameters that the report was given.
    """
    pairs = {
        (row["algorithm"], row["factor"]): (row["values"], row["gt"])
        for row in warehouse.report("correlation_pairs", **asked).records()
    }
    replaced = []
    for row in found:
        x, y = pairs.get((row["algorithm"], row["factor"]), ([], []))
        low, high = bootstrap_interval(x, y, resamples, seed) or (None, None)
        by = None if low is None else "bootstrap"
        replaced.append({**row, "ci_low": low, "ci_high": high, "ci_by": by})
    return replaced
