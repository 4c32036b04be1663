"""What the pictures of samples and factors as wholes are drawn from, against plain Python."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from analysis.figures import courses, likeness, ranks
from analysis.likeness import FEATURES, SAME, alike, sample_map
from analysis.words import names, nested
from tests.analysis.test_report import answers_of, members_of
from tests.analysis.warehouses import Members
from tests.oracles import statistics as plain

KINDS = ("pre_a1", "pre_a2", "pre_a3", "pre_b1", "pre_b2", "pre_c")


def of_kinds(n: int = 40) -> Members:
    """Members with factors of three kinds, the last of which half of the samples lack."""
    random = np.random.default_rng(0)
    kinds = {name: random.normal(size=n) for name in "abc"}
    values = {name: kinds[name[4]] + 0.1 * random.normal(size=n) for name in KINDS}
    values["pre_a3"] = -values["pre_a3"]
    members = members_of("ga", "salun", n=n)
    for m in members:
        k = m["sample_id"]
        m["metrics"] |= {name: float(own[k]) for name, own in values.items()}
        if k % 2:
            del m["metrics"]["pre_c"]
    return members


def test_factors_are_grouped_by_their_mean_rho(tmp_path: Path) -> None:
    members = of_kinds()
    found = alike(answers_of(tmp_path, members, KINDS))
    named = found["titles"]  # which are their names here
    known = [m["metrics"] for m in members if m["algorithm"] == "ga"]
    rho = {}
    for a, b in combinations(named, 2):
        both = [(m[a], m[b]) for m in known if a in m and b in m]
        found_rho = plain.spearman(*zip(*both, strict=True))
        assert found_rho is not None
        rho[a, b] = rho[b, a] = abs(found_rho)
    for (a, b), value in rho.items():
        assert found["strengths"][named.index(a)][named.index(b)] == pytest.approx(value, abs=5e-4)
    groups = [{name} for name in named]

    def between(one: set[str], other: set[str]) -> float:
        return fmean(rho[a, b] for a in one for b in other)

    while len(groups) > 1:
        one, other = max(combinations(groups, 2), key=lambda pair: between(*pair))
        if between(one, other) < SAME:
            break
        groups = [group for group in groups if group not in (one, other)] + [one | other]
    assert found["sizes"] == sorted(map(len, groups), reverse=True) == [3, 2, 1]
    for group in groups:  # side by side
        places = sorted(named.index(name) for name in group)
        assert places == list(range(places[0], places[0] + len(places)))
    figure = likeness(found["titles"], found["strengths"])
    drawn = figure.axes[0].images[0].get_array()
    assert drawn is not None
    assert drawn[0, 1] == found["strengths"][0][1]


def test_the_map_has_the_principal_components_of_the_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answers_of(tmp_path, of_kinds(), KINDS)
    assert sample_map(answers) is None  # none is of the features
    monkeypatch.setattr("analysis.likeness.FEATURES", ("",))
    plane = sample_map(answers)
    assert plane is not None
    assert FEATURES == ("density", "representation")
    known = {row["factor"]: row["values"][:40] for row in answers.rows("points")}
    samples = [k for k in range(40) if k % 2 == 0]  # that have all factors
    ranked = []
    for name in (name for name in known if name.startswith("pre_")):
        own = [known[name][k] for k in samples]
        ranks_of = np.array([sum(other < value for other in own) for value in own], float)
        ranked.append((ranks_of - ranks_of.mean()) / ranks_of.std())
    matrix = np.array(ranked)
    sizes, axes = np.linalg.eigh(matrix @ matrix.T / len(samples))
    assert plane["shares"] == pytest.approx((sizes[::-1] / sizes.sum())[:2].tolist())
    assert plane["sample_id"] == samples
    for place, found in enumerate((np.array(plane["x"]), np.array(plane["y"]))):
        expected = axes[:, -1 - place] @ matrix
        assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-3)
        assert abs(found @ expected) == pytest.approx(expected @ expected, rel=1e-2)


def test_strong_families_come_first_and_strong_factors_in_them(tmp_path: Path) -> None:
    rows = answers_of(tmp_path, of_kinds(), KINDS).rows("heat_map")
    strengths = {
        name: fmean([abs(r["rho"]) for r in own if r["rho"] is not None] or [-1.0])
        for name, own in nested(rows, "factor").items()
    }
    families = {
        key: max(strengths[row["factor"]] for row in rows if (row["phase"], row["family"]) == key)
        for key in {(row["phase"], row["family"]) for row in rows}
    }
    order = sorted(
        rows,
        key=lambda row: (
            row["phase"] == "post",
            -families[row["phase"], row["family"]],
            -strengths[row["factor"]],
        ),
    )
    assert names(rows, "factor") == names(order, "factor")


def test_figures_draw_the_rows(tmp_path: Path) -> None:
    members = members_of("ga", "salun", n=9)
    for m in members:
        m["probs"] = [1.0, 0.5, 0.25 / (1 + m["sample_id"]), 1e-5]
        m["metrics"]["steps"] = 3.0
    answers = answers_of(tmp_path, members, ("size",))
    overall = answers.rows("overall")
    figure = courses(answers.rows("bands"), answers.rows("curves"), overall)
    (median, *lines) = figure.axes[0].lines
    assert np.asarray(median.get_ydata())[2] == pytest.approx(0.25 / 5)
    ends = [overall[k]["sample_id"] for k in (0, 1, 2, -3, -2, -1)]
    assert sorted(np.asarray(line.get_ydata())[2] for line in lines) == pytest.approx(
        sorted(0.25 / (1 + k) for k in ends), abs=1e-5
    )
    drawn = ranks(answers.rows("members"), overall).axes[0].lines
    percentiles = {
        (row["algorithm"], row["sample_id"]): row["percentile"] for row in answers.rows("members")
    }
    assert sorted(tuple(np.asarray(line.get_ydata()).tolist()) for line in drawn) == sorted(
        (percentiles["ga", k], percentiles["salun", k]) for k in range(9)
    )
