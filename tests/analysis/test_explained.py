"""What the report says of GT, its regimes, its ties, and how sure its ceilings are."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.answers import ask
from analysis.figures import ends
from analysis.pictures import Pictures
from analysis.rows import ceiling, crowd
from tests.analysis.test_report import Page, members_of, page_of, pictures_for, rendered
from tests.analysis.warehouses import TEST_SAMPLES, member, warehouse_of
from tests.oracles import statistics as plain

FOLDED = re.compile(r"<details class=\"more\"( open)?><summary>(.*?)</summary>")


def some_flipped(share: float, n: int = 40) -> list[dict[str, Any]]:
    """Members of which so many flipped: F is large there, and about lambda U elsewhere."""
    random = np.random.default_rng(0)
    return [
        member(
            k,
            f=float(random.uniform(0.5, 0.9) if k < share * n else random.uniform(-0.001, 0.004)),
            u=float(random.uniform(0.4, 0.9)),
            status="flipped" if k < share * n else "max_steps",
        )
        for k in range(n)
    ]


def html_of(folder: Path, members: Sequence[dict[str, Any]]) -> str:
    with warehouse_of(folder, members) as warehouse:
        answers = ask(warehouse, "s")
    return rendered(answers, pictures_for(answers))


def test_regimes_are_counted_and_what_gt_follows_is_said(tmp_path: Path) -> None:
    members = some_flipped(0.5)
    with warehouse_of(tmp_path, members) as warehouse:
        rows = warehouse.report("regimes", sweep="s").records()
    assert [row["population"] for row in rows] == ["all", "flipped", "not_flipped"]
    for row in rows:
        chosen = [
            (m["metrics"]["forget_prob_diff"], 1 - m["metrics"]["test_prob_diff"])
            for m in members
            if row["population"]
            in ("all", "flipped" if m["status"] == "flipped" else "not_flipped")
        ]
        f, u = ([pair[side] for pair in chosen] for side in (0, 1))
        weighted = [value / TEST_SAMPLES for value in u]
        pairs = list(zip(weighted, f, strict=True))
        gt = [max(0, w * fall) / (w + fall) for w, fall in pairs]
        assert (row["n"], row["zero"]) == (len(f), sum(fall <= 0 for fall in f))
        assert row["utility"] == sum(w < fall for w, fall in pairs)
        assert row["forgetting"] == sum(0 < fall <= w for w, fall in pairs)
        assert row["rho_u"] == pytest.approx(plain.spearman(gt, u), abs=1e-12)
        assert row["rho_f"] == pytest.approx(plain.spearman(gt, f), abs=1e-12)
    assert rows[1]["rho_u"] > 0.99
    assert rows[2]["rho_f"] > 0.9


def test_the_page_says_lambda_and_shows_gt_in_its_units(tmp_path: Path) -> None:
    page = page_of(tmp_path, [member(0, f=0.5, u=0.5), member(1, f=0.002, u=0.5)])
    assert f"here 1 / {TEST_SAMPLES}." in page.text
    assert "ga all 2 1 1 0 " in page.text
    assert "flipped 2 1 1 0" not in page.text  # it would be the same row again
    assert "half the harmonic mean of λ·U and F" in page.text
    assert page.data["members"]["gt_share"] == pytest.approx([0.25 / 0.505, 0.001 / 0.007], 1e-5)
    assert page.data["members"]["regime"] == ["utility", "forgetting"]
    assert "flipped mean GT ga 2 – – – 2.0 – 2 0.00319 " in page.text


@pytest.mark.parametrize(("share", "is_mixed"), [(0.5, True), (0.05, True), (0.025, False)])
def test_two_large_populations_are_shown_apart(
    tmp_path: Path, share: float, is_mixed: bool
) -> None:
    page = html_of(tmp_path, some_flipped(share))
    assert ("pools two questions" in page) == is_mixed
    folds = {html.unescape(title): bool(opened) for opened, title in FOLDED.findall(page)}
    apart = [
        folds[f"The same over the samples that {what}"] for what in ("flipped", "did not flip")
    ]
    assert apart == [is_mixed] * 2
    assert not folds["The same within classes"]


def test_the_correlations_of_those_that_did_not_flip(tmp_path: Path) -> None:
    members = some_flipped(0.5)
    with warehouse_of(tmp_path, members) as warehouse:
        rows = ask(warehouse, "s").rows("heat_map_not_flipped")
    (rho,) = (row for row in rows if row["factor"] == "forget_prob_diff")
    chosen = [m["metrics"] for m in members if m["status"] != "flipped"]
    f = [metrics["forget_prob_diff"] for metrics in chosen]
    weighted = [(1 - metrics["test_prob_diff"]) / TEST_SAMPLES for metrics in chosen]
    gt = [max(0, w * fall) / (w + fall) for w, fall in zip(weighted, f, strict=True)]
    assert (rho["n"], rho["rho"]) == (20, pytest.approx(plain.spearman(f, gt)))


# Ties


@pytest.mark.parametrize(
    ("values", "tied", "expected"),
    [
        ([0.0, 0.0, 0.0], [107, 107, 107], 108),
        ([0.0, 0.0, 0.0], [2, 2, 2], 0),  # all of them are shown
        ([0.0, 0.1, 0.1], [0, 2, 2], 3),
        ([0.0, 0.1, 0.2], [0, 0, 0], 0),
        ([], [], 0),
    ],
)
def test_a_crowd_is_a_tie_that_is_not_shown_whole(
    values: list[float], tied: list[int], expected: int
) -> None:
    rows = [{"value": v, "tied": t} for v, t in zip(values, tied, strict=True)]
    assert crowd(rows) == expected


def zeros(n: int = 7) -> list[dict[str, Any]]:
    """GT is 0 for all; the larger its id, the further a sample went the wrong way."""
    return [
        member(k, f=-0.01 * k, u=0.5, gt=0.0) | {"algorithm": name}
        for name in ("ga", "scrub")
        for k in range(n)
    ]


def test_galleries_say_how_many_are_tied_and_show_no_arbitrary_ones(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, zeros()) as warehouse:
        answers = ask(warehouse, "s")
    (gallery,) = answers.galleries["gt"].values()
    assert [row["sample_id"] for row in gallery["hardest"]] == [6, 5, 4]
    assert [row["sample_id"] for row in gallery["easiest"]] == [0, 1, 2]
    pictures = pictures_for(answers)
    page = Page(rendered(answers, pictures))
    assert "hardest, of 7 that are tied" in page.text
    assert "2 steps, tied with 6" in page.text
    assert page.data["members"]["tied"] == [6] * 14
    (axis,) = ends("GT", {"ga": gallery}, pictures).axes
    said = [text.get_text() for text in axis.texts]
    assert {"hardest\n(of 7 tied)", "easiest\n(of 7 tied)"} <= set(said)


def test_without_ties_nothing_is_said_of_them(tmp_path: Path) -> None:
    members = [member(k, f=0.1 + k / 20, u=0.5 + k / 20, steps=float(k)) for k in range(8)]
    page = page_of(tmp_path, members)
    assert not re.search(r"of \d+ that are tied", page.text)
    assert "tied with" not in page.text


# Ceilings


def test_a_ceiling_that_may_be_zero_is_not_a_number(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise, same = (
        [
            member(k, f=float(random.uniform(0.1, 0.9)), u=0.9, algorithm=name, pre_size=float(k))
            | {"sweep": sweep, "seed": seed}
            for seed, sweep in enumerate(("s", "t"))
            for k in range(30)
        ]
        for name in ("noise", "same")
    )
    for m in same:
        m["metrics"]["forget_prob_diff"] = 0.1 + m["sample_id"] / 50 + 0.1 * random.random()
    with warehouse_of(tmp_path, [*noise, *same], ("pre_size",)) as warehouse:
        answers = ask(warehouse, "s")
        by_name = {row["algorithm"]: row for row in answers.rows("ceilings")}
        of_means = {row["algorithm"]: row for row in answers.rows("heat_map_repeats")}
    page = Page(rendered(answers, Pictures()))
    assert by_name["noise"]["mean_rho_low"] < 0 < by_name["same"]["mean_rho_low"]
    row = by_name["same"]
    said, interval = (
        f"{row['ceiling']:.2f}",
        f"{row['ceiling_low']:.2f} to {row['ceiling_high']:.2f}",
    )
    untold = "the most that can be expected not distinguishable from 0"
    assert f"{untold} ±{said} ({interval})" in page.text
    low, high, mean = (
        math.sqrt(2 * row[key] / (1 + row[key]))
        for key in ("mean_rho_low", "mean_rho_high", "mean_rho")
    )
    assert f"{untold} ±{mean:.2f} ({low:.2f} to {high:.2f})" in page.text
    assert of_means["same"]["ceiling_low"] == pytest.approx(low)
    assert f"same unlearning seed 2 30 +{row['mean_rho']:.2f}" in page.text
    assert f"{said} {interval}" in page.text
    assert "2 repeats are little: they make 1 of seeds" not in page.text
    assert "2 repeats are little: they make 1 pair of seeds" in page.text


@pytest.mark.parametrize(
    ("found", "low", "said"),
    [(0.4, 0.1, "±0.40"), (0.4, 0.0, "not dist"), (None, 0.0, "not dist"), (0.4, None, "±0.40")],
)
def test_how_a_ceiling_is_said(found: float | None, low: float | None, said: str) -> None:
    assert ceiling({"ceiling": found, "ceiling_low": low}, "±").startswith(said)


def test_many_repeats_are_no_few(tmp_path: Path) -> None:
    members = [m | {"sweep": f"s{k or ''}", "seed": k} for k in range(4) for m in members_of("ga")]
    assert "repeats are little" not in page_of(tmp_path, members).text
