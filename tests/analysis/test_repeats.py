"""Which repeats of a design count: those that share their samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.warehouse import open_warehouse, rebuild
from tests.analysis.test_relations import repeats
from tests.analysis.warehouses import staging, warehouse_of

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


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("seed", [9, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_later_sweep_of_other_samples_takes_nothing_away(
    tmp_path: Path, what: str, others: Sequence[int], seed: int
) -> None:
    members = design(3, 40, what)
    alone = measured(tmp_path, members)
    (row,) = alone["reliability"]
    assert (row["varied"], row["repeats"], row["n"]) == (what, 3, 40)
    assert None not in (row["mean_rho"], row["ceiling_low"], row["split_half"], row["icc"])
    found = measured(tmp_path, [*members, *later(members, seed, others, what)])
    assert found == alone
    assert seeds(found) == [0, 1, 2]
    means = {(r["repeats"], r["n"]) for r in found["base_correlations"] if r["population"] == "all"}
    assert means == ({(3, 40)} if what == "unlearning seed" else set())


def test_ten_more_of_them_take_nothing_away(tmp_path: Path) -> None:
    members = design(3, 40)
    alone = measured(tmp_path, members)
    small = [m for seed in range(10, 17) for m in later(members, seed, [seed])]
    assert measured(tmp_path, [*members, *small]) == alone


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize(
    ("lacking", "taken", "n"),
    [
        (1, [0, 1, 2], 39),
        (4, [0, 1, 2], 36),
        (5, [0, 1, 2], 35),  # all three share the 35: worth 70, the two of 40 are worth 40
        (19, [0, 1, 2], 21),
        (20, [0, 2], 40),  # worth the same, of more samples
        (39, [0, 2], 40),
    ],
)
def test_a_repeat_that_lacks_some_counts_while_it_is_worth_it(
    tmp_path: Path, what: str, lacking: int, taken: list[int], n: int
) -> None:
    members = design(3, 40, what)
    fewer = [m for m in members if m["sweep"] != "s1" or m["sample_id"] >= lacking]
    found = measured(tmp_path, fewer)
    assert [(r["repeats"], r["n"]) for r in found["reliability"]] == [(len(taken), n)]
    assert seeds(found) == taken
    means = {(r["repeats"], r["n"]) for r in found["base_correlations"] if r["population"] == "all"}
    assert means == ({(len(taken), n)} if what == "unlearning seed" else set())


def test_repeats_of_samples_without_gt_do_not_share_them(tmp_path: Path) -> None:
    members = design(3, 40)
    alone = measured(tmp_path, [m for m in members if m["seed"] != 1])
    wrong = [m | {"status": "already_wrong"} if m["seed"] == 1 else m for m in members]
    found = measured(tmp_path, wrong)
    assert found == alone
    assert seeds(found) == [0, 2]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("what", KINDS)
def test_of_two_pairs_apart_the_larger_one_counts(tmp_path: Path, what: str, first: bool) -> None:
    members = design(4, 40, what)
    large, small = (("s0", "s1"), ("s2", "s3")) if first else (("s2", "s3"), ("s0", "s1"))
    pairs = [m for m in members if m["sweep"] in large]
    alone = measured(tmp_path, pairs)
    assert [(r["repeats"], r["n"]) for r in alone["reliability"]] == [(2, 40)]
    others = [m | {"sample_id": m["sample_id"] + 100} for m in members if m["sweep"] in small]
    both = [*pairs, *(m for m in others if m["sample_id"] < 139)]
    found = measured(tmp_path, both)
    assert found == alone
    assert seeds(found) == ([0, 1] if first else [2, 3])


def test_of_equal_pairs_the_lowest_seeds_count(tmp_path: Path) -> None:
    members = design(4, 20)
    apart = [m | {"sample_id": m["sample_id"] + 100 * (m["seed"] < 2)} for m in members]
    found = measured(tmp_path, apart)
    assert seeds(found) == [0, 1]
    assert [(r["repeats"], r["n"]) for r in found["reliability"]] == [(2, 20)]


def test_of_sets_worth_the_same_the_one_of_more_samples_counts(tmp_path: Path) -> None:
    members = design(5, 20)
    few = [m for m in members if m["seed"] < 3 and m["sample_id"] < 10]  # 2 x 10
    many = [m | {"sample_id": m["sample_id"] + 100} for m in members if m["seed"] > 2]  # 1 x 20
    assert seeds(measured(tmp_path, [*few, *many])) == [3, 4]


def test_without_samples_in_common_there_are_no_repeats(tmp_path: Path) -> None:
    members = design(2, 12)
    apart = [m | {"sample_id": m["sample_id"] + 100 * m["seed"]} for m in members]
    found = measured(tmp_path, apart)
    assert found == {"seeds": [], "reliability": [], "base_correlations": []}


def test_two_sweeps_of_one_seed_are_kept_beside_one_of_another(tmp_path: Path) -> None:
    members = design(1, 40)
    halves = [m | {"sweep": "t"} if m["sample_id"] < 20 else m for m in members]
    alone = measured(tmp_path, halves)
    means = [r for r in alone["base_correlations"] if r["population"] == "all"]
    assert {(r["repeats"], r["n"]) for r in means} == {(1, 40)}
    assert measured(tmp_path, [*halves, *later(members, 9, [99])]) == alone
    assert measured(tmp_path, [*halves, *later(members, 9, [1, 2, 3])]) == alone


def test_a_few_samples_that_all_share_are_no_repeats(tmp_path: Path) -> None:
    members = design(1, 40)
    apart = [*members, *later(members, 5, range(50, 90)), *later(members, 9, [0, 1, 50])]
    assert measured(tmp_path, apart)["reliability"] == []


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


def test_a_tag_that_is_no_json_tells_of_no_provider(tmp_path: Path) -> None:
    rows = staging(repeats(2, 2, 5, KINDS[0]), ())
    odd = {"run_id": "m0", "key": "algorithm_providers", "value": "acme"}
    schema = rows["tags"].schema
    rows["tags"] = pa.concat_tables([rows["tags"], pa.Table.from_pylist([odd], schema=schema)])
    rebuild(tmp_path / "w.duckdb", rows)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.query("from attempts where provider is not null").records() == []
