"""The paper's signs beside those that chance gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import scipy.stats

from analysis.answers import ask
from analysis.findings import findings
from analysis.statistics import signs_by_chance
from tests.analysis.test_relations import PRE, sweep_of
from tests.analysis.test_report import Page, pictures_for, rendered
from tests.analysis.warehouses import warehouse_of
from tests.oracles import statistics as plain

PAPERS = ("ga", "neggrad", "salun", "scrub")
U = ("test_accuracy", "test_loss_diff", "test_prob_diff")  # a part of GT, by three names
FACTORS = (*U[:2], "elapsed_s", "model_distance_kl", "model_distance_abs")


@pytest.mark.parametrize("n", [*range(1, 40), 108, 1000])
def test_signs_by_chance_are_the_middle_of_the_binomial(n: int) -> None:
    low, high = scipy.stats.binom.interval(0.95, n, 0.5)
    assert (signs_by_chance(0.025, n), signs_by_chance(0.975, n)) == (low, high)


def test_each_population_is_compared_on_its_own(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, sweep_of(5, 40, PAPERS), PRE) as warehouse:
        rows = warehouse.query("from comparison").records()
        correlations = warehouse.query("from correlations").records()
        both = warehouse.report("compare", sweep="s", against=None, population=None).records()
        flipped = warehouse.report("compare", sweep="s", against=None, population="flipped")
        summary = warehouse.report("compare_algorithms", sweep="s", against="mnist").records()
    assert {row["population"] for row in rows} == {"all", "flipped"}
    by_key = {(r["algorithm"], r["factor"], r["population"]): r for r in correlations}
    for row in rows:
        own = by_key[row["algorithm"], row["factor"], row["population"]]
        assert (row["rho"], row["n"], row["ci_low"]) == (own["rho"], own["n"], own["ci_low"])
    assert len(both) == len(rows)
    assert flipped.records() == [row for row in both if row["population"] == "flipped"]
    places = [(row["population"], row["against"], row["algorithm"]) for row in summary]
    assert places == [(p, "mnist", name) for p in ("all", "flipped") for name in PAPERS]
    for row in summary:
        own_rows = [
            r
            for r in rows
            if all(r[key] == row[key] for key in ("population", "against", "algorithm"))
            and r["rho"] is not None
            and r["factor"] not in U
        ]
        agreeing = sum(r["rho"] * r["paper_rho"] > 0 for r in own_rows)
        assert (row["signs_agree"], row["factors"]) == (agreeing, len(own_rows))
        interval = scipy.stats.binom.interval(0.95, len(own_rows), 0.5)
        assert (row["chance_low"], row["chance_high"]) == interval
        assert row["excluded"] == sum(r["excludes"] for r in own_rows)
        rho = plain.spearman([r["rho"] for r in own_rows], [r["paper_rho"] for r in own_rows])
        assert row["rho_of_rhos"] == (None if rho is None else pytest.approx(rho))


@pytest.mark.parametrize("is_own", [True, False])
def test_the_finding_says_what_chance_gives(tmp_path: Path, is_own: bool) -> None:
    members = sweep_of(5, 40, PAPERS)
    for k, m in enumerate(members):
        m["metrics"] |= {name: float(k * (i + 7) % 41) for i, name in enumerate(FACTORS)}
    with warehouse_of(tmp_path, members, FACTORS) as warehouse:
        answers = ask(warehouse, "s")
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    if is_own:
        rows["paper"] = [row | {"dataset": "mnist"} for row in rows["paper"]]
    (said,) = (line for line in findings(rows, {0: "a", 1: "b", 2: "c"}) if "paper" in line)
    of_mnist = [row for row in rows["paper"] if row["against"] == "mnist" and row["rho"]]
    assert len(of_mnist) == 24  # six factors: test_prob_diff, steps and one more are all alike
    counted = [row for row in of_mnist if row["factor"] not in U]
    agreeing = sum(row["signs_agree"] for row in counted)
    assert f"on MNIST {agreeing} of 16 (by chance 4 to 12)" in said
    assert ("within chance" in said, "not within chance" in said) == (True, not 4 <= agreeing <= 12)
    assert "if the signs were independent" in said
    assert [name in said for name in ("SVHN", "CIFAR10")] == [not is_own] * 2
    page = Page(rendered(answers, pictures_for(answers)))
    counts = r"\d of 4 0 to 4 \d of 4 [+\N{MINUS SIGN}]\d\.\d\d "
    assert re.search(rf"all SVHN ga {counts}all neggrad {counts}", page.text)
    assert re.search(rf"flipped CIFAR10 ga {counts}", page.text)
