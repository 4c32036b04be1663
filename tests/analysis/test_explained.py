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

from analysis.answers import ASKED, ask
from analysis.figures import ends
from analysis.findings import findings
from analysis.pictures import Pictures
from tests.analysis.test_report import Page, pictures_for, rendered
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


@pytest.mark.parametrize(("share", "is_mixed"), [(0.05, True), (0.025, False)])
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


# Ties


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


AGAIN = "Measured again under another unlearning seed"


def row(algorithm: str, ceiling: float | None, low: float | None, **other: Any) -> dict[str, Any]:
    interval = {"ceiling_low": low, "ceiling_high": None if low is None else 0.9}
    known = {"varied": "unlearning seed", "repeats": 5, "mean_rho": (ceiling or -0.4) ** 2}
    return known | {"algorithm": algorithm, "ceiling": ceiling, **interval, **other}


def said_of(*ceilings: dict[str, Any]) -> list[str]:
    return findings({name: [] for name in ASKED} | {"ceilings": list(ceilings)}, {})


BEYOND = (
    "GT agrees with itself such that nothing known before unlearning can be expected to correlate "
    "with it beyond ρ"
)


@pytest.mark.parametrize(
    ("ceilings", "said"),
    [
        ([row("ga", 0.7, 0.5)], [f"{AGAIN}, {BEYOND} 0.70 (0.50 to 0.90) with ga."]),
        (
            [row("ga", 0.7, 0.5), row("salun", 0.6, 0.4), row("scrub", 0.8, 0.6)],
            [
                f"{AGAIN}, {BEYOND} 0.60 (0.40 to 0.90) with salun to 0.80 (0.60 to 0.90) with "
                "scrub."
            ],
        ),
        ([row("ga", 0.2, 0.0)], [f"{AGAIN}, GT with ga cannot be told from chance."]),
        (
            [row("ga", 0.2, 0.0), row("salun", None, 0.0), row("scrub", 0.8, 0.6)],
            [
                f"{AGAIN}, {BEYOND} 0.80 (0.60 to 0.90) with scrub.",
                f"{AGAIN}, GT with ga and salun cannot be told from chance.",
            ],
        ),
        (
            [row("ga", 0.7, 0.5, repeats=2), row("salun", 0.1, 0.0, repeats=3)],
            [
                f"{AGAIN} (2 repeats only), {BEYOND} 0.70 (0.50 to 0.90) with ga.",
                f"{AGAIN} (3 repeats only), GT with salun cannot be told from chance.",
            ],
        ),
        ([row("ga", 0.7, None)], [f"{AGAIN}, {BEYOND} 0.70 with ga."]),  # below eight samples
        ([row("ga", None, None)], [f"{AGAIN}, GT with ga cannot be told from chance."]),
        ([row("ga", None, None, mean_rho=None)], []),
    ],
)
def test_ceilings_are_told_with_their_intervals(
    ceilings: list[dict[str, Any]], said: list[str]
) -> None:
    assert said_of(*ceilings) == said
