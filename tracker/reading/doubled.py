"""Members that are in two stores: whether their numbers are the same."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tracker.record.records import AVERAGED

TIMES = frozenset({AVERAGED["elapsed_s"]})  # metrics that are never the same twice


@dataclass(frozen=True)
class Difference:
    """By how much the numbers of a member differ.

    Attributes:
        relative: of the metric that differs most, the difference as a share of the larger value.
        here, there: its values.
    """

    member: str
    metric: str
    relative: float
    here: float
    there: float


@dataclass
class Doubled:
    """What the members came to that are in both stores.

    Attributes:
        count: how many there are. differing: how many have other numbers.
        first: the first of those. largest: the largest relative difference of all.
        lacking: how many lack factors here that they have there.
        given: how many were given the checkpoint that they have there.
    """

    count: int = 0
    differing: int = 0
    first: Difference | None = None
    largest: float = 0.0
    lacking: int = 0
    given: int = 0

    def add(
        self,
        name: str,
        here: Mapping[str, float],
        there: Mapping[str, float],
        timed: Collection[str],
    ) -> bool:
        """Compare the metrics of a member; whether those that it has in both are the same.

        Args:
            timed: names of metrics that are times.
            there: what is not a number is left out.
        """
        self.count += 1
        left_out = TIMES.union(timed)
        there = {metric: value for metric, value in there.items() if not math.isnan(value)}
        found = [
            Difference(
                name, metric, apart(here[metric], there[metric]), here[metric], there[metric]
            )
            for metric in sorted(here.keys() & there.keys() - left_out)
        ]
        self.lacking += bool(there.keys() - here.keys() - left_out)
        most = max(found, key=lambda difference: difference.relative, default=None)
        if most is None or not most.relative:
            return True
        self.differing += 1
        self.first = self.first or most
        self.largest = max(self.largest, most.relative)
        return False


def apart(one: float, other: float) -> float:
    """The relative difference of two numbers; infinite where one of them is."""
    if one == other:
        return 0.0
    larger = max(abs(one), abs(other))
    return abs(one - other) / larger if math.isfinite(one - other) else math.inf
