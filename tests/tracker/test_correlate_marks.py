"""What the table of correlations says beside the numbers: marks, intervals, ceilings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from analysis.warehouse import rebuild
from tests.analysis.warehouses import ATTACK as FACTORS
from tests.analysis.warehouses import attacked, repeats, staging
from tests.analysis.warehouses import mixed as members_of
from tests.tracker.conftest import Indelible
from tests.tracker.test_questions import asked
from tracker.cli import correlate


def store_of(folder: Path, members: list[dict[str, Any]], factors: tuple[str, ...] = ()) -> Path:
    rebuild(folder / "analysis.duckdb", staging(members, factors))
    return folder


def line_of(indelible: Indelible, store: Path, factor: str, *arguments: object) -> str:
    shown = indelible(store, "correlate", *arguments).out.splitlines()
    (line,) = [line for line in shown if re.match(rf"{re.escape(factor)}(?= |$)", line)]
    return str(line)


def test_an_attack_by_chance_has_no_stars(tmp_path: Path, indelible: Indelible) -> None:
    store = store_of(tmp_path, attacked({"ga": [0.5, 0.52], "salun": [0.99, 0.98]}), FACTORS)
    of_ga, of_salun = re.findall(r"[+-]\d\.\d{4}(\S*)", line_of(indelible, store, "mia_margin"))
    assert (of_ga, of_salun) == ("‡", "***")
    assert "‡ in place of stars" in indelible(store, "correlate").err
    rows = asked(indelible, store, "correlate")
    assert {row["algorithm"] for row in rows if row["at_chance"]} == {"ga"}
    better = store_of(tmp_path / "better", attacked({"ga": [0.99, 0.98]}), FACTORS)
    assert "‡" not in indelible(better, "correlate").err


def test_the_legend_says_what_stars_and_intervals_hold_for(
    tmp_path: Path, indelible: Indelible
) -> None:
    store = store_of(tmp_path, members_of(60, 30), ("x",))
    stars = indelible(store, "correlate").err
    assert "one sweep and one population" in stars
    assert "* p" in stars
    assert "this base model and this seed of unlearning" in stars
    ours = indelible(store, "correlate", "--cells", "interval").err
    assert "by jackknife where 5% to 95% of the members flipped" in ours
    assert "this base model and this seed of unlearning" in ours
    assert "* p" not in ours
    flipped = indelible(store, "correlate", "--cells", "interval", "--population", "flipped").err
    assert "by Bonett & Wright" in flipped
    assert "jackknife" not in flipped
    drawn = indelible(store, "correlate", "--bootstrap", 200)
    assert "95% intervals by bootstrap" in drawn.err
    by = {row["ci_by"] for row in asked(indelible, store, "correlate", "--bootstrap", 200)}
    assert by == {"bootstrap", None}


def test_a_ceiling_is_not_printed_alone(tmp_path: Path, indelible: Indelible) -> None:
    what = "unlearning seed"
    known = store_of(tmp_path / "known", repeats(0, 3, 30, what))
    column = f"ceiling_{what.replace(' ', '_')}"
    row = asked(indelible, known, "correlate")[0]
    ends = f"{row[f'{column}_low']:.2f} to {row[f'{column}_high']:.2f}"
    assert f"{row[column]:.4f} ({ends})" in line_of(indelible, known, f"ceiling ({what})")
    noise = store_of(tmp_path / "noise", repeats(0, 3, 30, what, noise=30.0))
    assert asked(indelible, noise, "correlate")[0][f"{column}_low"] == 0
    line = line_of(indelible, noise, f"ceiling ({what})")
    assert "not distinguishable from 0" in line
    assert not re.search(r"\d\.\d", line)
    few = store_of(tmp_path / "few", repeats(2, 3, 6, what))
    assert "(no interval)" in line_of(indelible, few, f"ceiling ({what})")


def test_the_demo_shows_the_strongest_factors_of_each_kind() -> None:
    def row(factor: str, phase: str, algorithm: str, rho: float | None, *own: Any) -> Any:
        named = {"factor": factor, "phase": phase, "algorithm": algorithm, "rho": rho}
        return named | {"ingredient": False, "n": 9} | dict(own)

    rows = [
        row("weak", "pre", "ga", 0.1),
        row("strong", "pre", "ga", -0.9),
        row("middle", "pre", "ga", 0.8),
        row("middle", "pre", "scrub", None),
        row("lucky", "pre", "ga", 0.95),
        row("lucky", "pre", "scrub", 0.05),
        row("of few", "pre", "ga", 1.0, ("n", 4)),
        row("unknown", "post", "ga", None),
        row("cost", "post", "ga", 0.2),
        row("part of GT", "post", "ga", 1.0, ("ingredient", True)),
    ]
    found = [(row["factor"], row["algorithm"]) for row in correlate.strongest(rows, 2)]
    assert found == [("strong", "ga"), ("middle", "ga"), ("middle", "scrub"), ("cost", "ga")]
