"""Which repeats of a design count, and correlations over them, against scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tests.analysis.test_relations import repeats
from tests.analysis.warehouses import warehouse_of

Members = list[dict[str, Any]]
KINDS = ["unlearning seed", "base model seed"]


def design(count: int, n: int, what: str = "unlearning seed") -> Members:
    """Repeats of n samples under the seeds from 0 on, with a factor `x`."""
    members = repeats(count + n, count, n, what)
    random = np.random.default_rng(n)
    for m in members:
        m["metrics"]["x"] = m["metrics"]["forget_prob_diff"] + random.normal()
    return members


def later(members: Members, seed: int, samples: Sequence[int], what: str = KINDS[0]) -> Members:
    """One more repeat: the first members, of other samples."""
    where = {"sweep": f"s{seed}", "seed": seed}
    if what == "base model seed":
        where = {"sweep": f"s{seed}", "base": f"b{seed}", "base_seed": seed}
    of_first = [m for m in members if m["sweep"] == members[0]["sweep"]]
    return [m | where | {"sample_id": k} for m, k in zip(of_first, samples, strict=False)]


def measured(folder: Path, members: Members) -> dict[str, Members]:
    """The rows of the relations over repeats, and the seeds that each design took.

    The designs' own numbers are left out: they depend on which others there are.
    """
    asked = {
        "seeds": "select distinct varied, repeats, repeat, repeat_seed as seed from repeats "
        "where repeats > 1 order by all",
        "reliability": "select * exclude (design) from reliability",
        "base_correlations": "select * exclude (design) from base_correlations",
    }
    with warehouse_of(folder, members, ("x",)) as warehouse:
        return {name: warehouse.query(query).records() for name, query in asked.items()}


def seeds(found: dict[str, Members]) -> list[int]:
    """The seeds of the only design that is repeated, whose repeats are numbered from 1 on."""
    assert [row["repeat"] for row in found["seeds"]] == list(range(1, len(found["seeds"]) + 1))
    assert {row["repeats"] for row in found["seeds"]} <= {len(found["seeds"])}
    return [row["seed"] for row in found["seeds"]]


OTHERS = {
    "one of them": [7],
    "another": [99],
    "as many, one in common": [0, *range(50, 89)],
    "as many, none in common": range(50, 90),
    "half of them": range(20),
}


@pytest.mark.parametrize(
    ("others", "what"), [*((each, KINDS[0]) for each in OTHERS.values()), ([7], KINDS[1])]
)
def test_a_later_sweep_of_other_samples_takes_nothing_away(
    tmp_path: Path, what: str, others: Sequence[int]
) -> None:
    members = design(3, 40, what)
    alone = measured(tmp_path, members)
    (row,) = alone["reliability"]
    assert (row["varied"], row["repeats"], row["n"]) == (what, 3, 40)
    assert None not in (row["mean_rho"], row["ceiling_low"], row["split_half"], row["icc"])
    found = measured(tmp_path, [*members, *later(members, 9, others, what)])
    assert found == alone
    assert seeds(found) == [0, 1, 2]
    means = {(r["repeats"], r["n"]) for r in found["base_correlations"] if r["population"] == "all"}
    assert means == ({(3, 40)} if what == "unlearning seed" else set())


@pytest.mark.parametrize(
    ("lacking", "taken", "n"),
    [
        (5, [0, 1, 2], 35),  # all three share the 35: worth 70, the two of 40 are worth 40
        (19, [0, 1, 2], 21),
        (20, [0, 2], 40),  # worth the same, of more samples
    ],
)
def test_a_repeat_that_lacks_some_counts_while_it_is_worth_it(
    tmp_path: Path, lacking: int, taken: list[int], n: int
) -> None:
    members = design(3, 40)
    fewer = [m for m in members if m["sweep"] != "s1" or m["sample_id"] >= lacking]
    found = measured(tmp_path, fewer)
    assert [(r["repeats"], r["n"]) for r in found["reliability"]] == [(len(taken), n)]
    assert seeds(found) == taken
    means = {(r["repeats"], r["n"]) for r in found["base_correlations"] if r["population"] == "all"}
    assert means == {(len(taken), n)}


def test_repeats_of_samples_without_gt_do_not_share_them(tmp_path: Path) -> None:
    members = design(3, 40)
    alone = measured(tmp_path, [m for m in members if m["seed"] != 1])
    wrong = [m | {"status": "already_wrong"} if m["seed"] == 1 else m for m in members]
    found = measured(tmp_path, wrong)
    assert found == alone
    assert seeds(found) == [0, 2]


def test_of_two_pairs_apart_the_larger_one_counts(tmp_path: Path) -> None:
    members = design(4, 40)
    large, small = ("s2", "s3"), ("s0", "s1")
    pairs = [m for m in members if m["sweep"] in large]
    alone = measured(tmp_path, pairs)
    assert [(r["repeats"], r["n"]) for r in alone["reliability"]] == [(2, 40)]
    others = [m | {"sample_id": m["sample_id"] + 100} for m in members if m["sweep"] in small]
    both = [*pairs, *(m for m in others if m["sample_id"] < 139)]
    found = measured(tmp_path, both)
    assert found == alone
    assert seeds(found) == [2, 3]


def test_versions_of_a_package_are_no_repeats_of_each_other(tmp_path: Path) -> None:
    members = [
        m | {"provider": f"acme {1 + m['seed'] // 2}.0"} for m in repeats(2, 4, 20, KINDS[0])
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        asked = "select distinct provider, repeat_seed as seed from repeats where repeats > 1 "
        found = warehouse.query(f"{asked} order by all").records()
        assert [(row["provider"], row["seed"]) for row in found] == [
            *(("acme 1.0", seed) for seed in (0, 1)),
            *(("acme 2.0", seed) for seed in (2, 3)),
        ]
        told = warehouse.query("select provider, repeats from reliability order by all").records()
    assert told == [{"provider": f"acme {v}.0", "repeats": 2} for v in (1, 2)]


def with_factor(members: Members) -> Members:
    random = np.random.default_rng(len(members))
    for m in members:
        m["metrics"]["x"] = m["metrics"]["forget_prob_diff"] + 2 * random.normal()
    return members


def found_in(folder: Path, members: Members) -> tuple[Members, dict[str, float]]:
    """The rows about x, and each sweep's own rho."""
    with warehouse_of(folder, members, ("x",)) as warehouse:
        query = "from repeated_correlations where factor = 'x' and population = 'all'"
        rows = warehouse.query(query).records()
        own = warehouse.query(
            "select sweep_id, rho from correlations where factor = 'x' and population = 'all'"
        ).rows
    return rows, dict(own)


@pytest.mark.parametrize(("varied", "count"), [("unlearning seed", 2), ("base model seed", 6)])
def test_interval_is_of_t_over_repeats(tmp_path: Path, varied: str, count: int) -> None:
    rows, own = found_in(tmp_path, with_factor(repeats(count, count, 30, varied)))
    assert {(row["sweep_id"], row["varied"]) for row in rows} == {
        (f"s{k}", varied) for k in range(count)
    }
    z = np.arctanh(list(own.values()))
    low, high = scipy.stats.t.interval(
        0.95, count - 1, loc=z.mean(), scale=z.std(ddof=1) / math.sqrt(count)
    )
    for row in rows:
        assert (row["repeats"], row["n"]) == (count, 30)
        assert row["mean_rho"] == pytest.approx(math.tanh(z.mean()), abs=1e-12)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            (math.tanh(low), math.tanh(high)), abs=1e-12
        )


def test_both_sources_have_their_own(tmp_path: Path) -> None:
    members = repeats(0, 3, 20, "unlearning seed")
    for base in (1, 2, 3):
        of_base = repeats(base, 1, 20, "base model seed")
        where = {"sweep": f"t{base}", "base": f"b{base}", "base_seed": base}
        members += [m | where for m in of_base]
    rows, _ = found_in(tmp_path, with_factor(members))
    of_first = {row["varied"]: row["repeats"] for row in rows if row["sweep_id"] == "s0"}
    assert of_first == {"unlearning seed": 3, "base model seed": 4}
    assert [row["varied"] for row in rows if row["sweep_id"] == "s1"] == ["unlearning seed"]
    assert [row["varied"] for row in rows if row["sweep_id"] == "t1"] == ["base model seed"]


def test_repeats_that_are_all_the_same_have_no_interval(tmp_path: Path) -> None:
    one = with_factor(repeats(0, 1, 20, "unlearning seed"))
    members = [m | {"sweep": f"s{k}", "seed": k} for k in range(3) for m in one]
    rows, _ = found_in(tmp_path, members)
    assert {(row["repeats"], row["ci_low"], row["ci_high"]) for row in rows} == {(3, None, None)}


def test_no_repeats_no_rows(tmp_path: Path) -> None:
    members = with_factor(repeats(0, 2, 20, "unlearning seed"))
    other = [m | {"lr": 0.2} if m["seed"] else m for m in members]
    assert found_in(tmp_path, other)[0] == []
    fewer = [m | {"remaining": 50} if m["seed"] else m for m in members]
    assert found_in(tmp_path, fewer)[0] == []
    twice = [m | {"seed": 0} for m in members]  # two sweeps of the same seed are one repeat
    assert found_in(tmp_path, twice)[0] == []
