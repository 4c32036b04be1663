"""Membership attacks that are not better than chance, against scipy, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tests.analysis.warehouses import member, warehouse_of

CLASSES, SIZE, OTHERS = 5, 180, 100  # of both splits
EACH = (SIZE // CLASSES, OTHERS // CLASSES)  # of a class
FACTORS = ("mia_margin", "mia_attack_accuracy", "mia_attack_strength")


def strength(accuracy: float, members: int, others: int) -> float:
    """Smirnov's distance by the size of both."""
    return (2 * accuracy - 1) * math.sqrt(members * others / (members + others))


def attacked(accuracies: Mapping[str, Sequence[float]], n: int = 40) -> list[dict[str, Any]]:
    """Members of algorithms with such an attack in each class, and a margin that GT follows."""
    random = np.random.default_rng(1)
    return [
        member(
            k,
            f=0.2 + k / 100,
            u=0.9,
            algorithm=algorithm,
            label=k % len(of_class),
            mia_margin=k + random.normal(),
            mia_attack_accuracy=of_class[k % len(of_class)],
            mia_attack_strength=strength(of_class[k % len(of_class)], *EACH),
        )
        for algorithm, of_class in accuracies.items()
        for k in range(n)
    ]


def rows_of(folder: Path, members: list[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    with warehouse_of(folder, members, FACTORS) as warehouse:
        return warehouse.query(query).records()


def test_p_value_is_smirnovs_by_fisher(tmp_path: Path) -> None:
    of_class = [0.7, 0.62, 0.55, 0.81, 0.6]
    (row,) = rows_of(tmp_path, attacked({"ga": of_class}), "from attacks")
    each = [np.exp(-2 * strength(a, *EACH) ** 2) for a in of_class]
    expected = scipy.stats.combine_pvalues(each, method="fisher").pvalue
    assert row["p_value"] == pytest.approx(expected, rel=1e-9)
    assert (row["classes"], row["n"]) == (CLASSES, 40)
    assert row["accuracy"] == pytest.approx(np.mean(of_class))


def test_what_an_attack_by_chance_says_is_marked(tmp_path: Path) -> None:
    members = attacked({"ga": [0.5, 0.52], "salun": [0.99, 0.98]})
    for m in members:
        m["metrics"]["other"] = m["metrics"]["mia_margin"]
    with warehouse_of(tmp_path, members, (*FACTORS, "other")) as warehouse:
        attacks = warehouse.query("from attacks").records()
        rows = warehouse.query("from correlations where population = 'all'").records()
        asked = {"sweep": "s", "population": "all"}
        shown = warehouse.report("heat_map", **asked).records()
        shown += warehouse.report("correlate", reading="one", fixed=None, **asked).records()
    assert [(row["algorithm"], row["better_than_chance"]) for row in attacks] == [
        ("ga", False),
        ("salun", True),
    ]
    for row in [*rows, *shown]:
        is_of_attack = row["factor"].startswith("mia_")
        assert row["at_chance"] == (is_of_attack and row["algorithm"] == "ga"), row


def test_what_is_not_known_to_be_better_than_chance_is_marked(tmp_path: Path) -> None:
    members = attacked({"ga": [0.99, 0.98]})
    for m in members:  # of a version that did not log it
        del m["metrics"]["mia_attack_strength"]
    (row,) = rows_of(tmp_path, members, "from attacks")
    assert (row["p_value"], row["better_than_chance"]) == (None, False)
