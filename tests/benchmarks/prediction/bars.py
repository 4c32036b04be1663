"""What was asked of the prediction, and whether the held-out base models reach it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.prediction.grading import Interval
from tests.benchmarks.prediction.tables import Row

DIGITS = {"ga": 0.98, "neggrad": 0.98, "salun": 0.95, "scrub": 0.85}  # rho by ceiling
COVERED = ("coverage, steps", "coverage, prob_lost", "coverage, points_lost")


@dataclass(frozen=True)
class Bar:
    """A figure of several base models, and between what it is to lie."""

    what: str
    values: Sequence[float]
    least: float = -math.inf
    most: float = math.inf

    def row(self) -> Row:
        """The median with the least and the largest, and whether all of it or the median is in."""
        middle = median(self.values)
        every = all(self.least <= value <= self.most for value in self.values)
        by_median = "by the median" if self.least <= middle <= self.most else "missed"
        ends = [f"{sign} {end:g}" for sign, end in ((">=", self.least), ("<=", self.most))]
        return {
            "what": self.what,
            "bar": " and ".join(end for end in ends if "inf" not in end),
            "figure": f"{middle:.3f} ({min(self.values):.3f} to {max(self.values):.3f})",
            "of": len(self.values),
            "verdict": "met" if every else by_median,
        }


def judged(index: Sequence[Row], outcomes: Sequence[Row], costs: Sequence[Row]) -> list[Row]:
    """A row for each bar of which there are figures."""
    found = [
        *_of_ceiling(index),
        *_other_seeds(index),
        *_of_outcomes(outcomes),
        *_of_costs(costs),
    ]
    return [bar.row() for bar in found if bar.values]


def _of_ceiling(index: Sequence[Row]) -> Iterator[Bar]:
    asked = [("digits", name, least) for name, least in DIGITS.items()]
    asked += [("fashion-mnist", name, 0.95) for name in ("ga", "neggrad")]
    asked += [("fashion-mnist, preset paper", name, 0.95) for name in ("ga", "neggrad")]
    for data, algorithm, least in asked:
        rows = _some(index, data, algorithm)
        values = _values(rows, "rho by ceiling")
        yield Bar(f"{data}, {algorithm}: index, rho with GT by its ceiling", values, least)


def _other_seeds(index: Sequence[Row]) -> Iterator[Bar]:
    """How far rho is from that of the base model where choices were made."""
    first = [row for row in index if not _is_held_out(row) and _is_of_gt(row)]
    for row in first:
        algorithm, data = str(row["algorithm"]), str(row["data set"])
        there = _values(_some(index, data, algorithm), "rho")
        apart = [abs(value - here) for here in _values([row], "rho") for value in there]
        yield Bar(f"{data}, {algorithm}: rho with GT apart from that of seed 0", apart, most=0.02)


def _of_outcomes(outcomes: Sequence[Row]) -> Iterator[Bar]:
    data_sets = dict.fromkeys(str(row["data set"]) for row in outcomes)
    for data in data_sets:
        for algorithm in ("ga", "neggrad"):
            values = _values(_some(outcomes, data, algorithm), "hits")
            yield Bar(f"{data}, {algorithm}: precision among the hardest", values, 0.8)
    for data in data_sets:
        for column in COVERED:
            rows = [row for name in DIGITS for row in _some(outcomes, data, name)]
            yield Bar(f"{data}, all algorithms: {column}", _values(rows, column), 0.87, 0.93)


def _of_costs(costs: Sequence[Row]) -> Iterator[Bar]:
    for title, most in (("small-cnn", 0.5), ("ResNet-18", 0.25)):
        rows = [row for row in costs if str(row["title"]).startswith(title)]
        for row in rows:
            what = f"{row['title']}: index of {row['algorithm']} by an attempt of GA"
            yield Bar(what, _values([row], "ratio"), most=most)


def _some(rows: Sequence[Row], data: str, algorithm: str) -> list[Row]:
    """The held-out rows of a data set and an algorithm; of targets GT."""
    return [
        row
        for row in rows
        if row["data set"] == data
        and row["algorithm"] == algorithm
        and _is_held_out(row)
        and _is_of_gt(row)
    ]


def _is_of_gt(row: Mapping[str, object]) -> bool:
    return row.get("target", "gt") == "gt"


def _is_held_out(row: Mapping[str, object]) -> bool:
    return str(row["seed"]).isdecimal()


def _values(rows: Sequence[Row], column: str) -> list[float]:
    found = [row.get(column) for row in rows]
    plain = [each.value if isinstance(each, Interval) else each for each in found]
    return [each for each in plain if isinstance(each, float) and not math.isnan(each)]
