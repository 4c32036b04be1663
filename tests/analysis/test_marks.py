"""What the page says beside its correlations: marks, and what intervals hold for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.answers import ask
from analysis.pictures import Pictures
from tests.analysis.test_attacks import FACTORS, attacked
from tests.analysis.test_report import Page, members_of, rendered
from tests.analysis.warehouses import warehouse_of

SIZES = ("pre_size", "size")


def text_of(folder: Path, members: list[dict[str, Any]], factors: tuple[str, ...] = SIZES) -> str:
    folder.mkdir(exist_ok=True)
    with warehouse_of(folder, members, factors) as warehouse:
        return " ".join(Page(rendered(ask(warehouse, "s"), Pictures())).text.split())


def test_the_page_says_what_its_intervals_hold_for(tmp_path: Path) -> None:
    plain = [m | {"status": "flipped"} for m in members_of("ga")]
    mixed = [
        m | {"status": "flipped" if m["sample_id"] % 2 else "max_steps"} for m in members_of("ga")
    ]
    page = text_of(tmp_path / "plain", plain)
    assert "this base model and this seed of unlearning alone" in page
    assert "by the formula of Bonett and Wright" in page
    assert "jackknife" not in page
    assert "one sweep and one population" in page
    assert "whose chance they share" in page
    assert "does not agree with itself" in page
    assert "‡" not in page
    assert "by jackknife with ga" in text_of(tmp_path / "mixed", mixed)


def test_the_page_marks_an_attack_by_chance(tmp_path: Path) -> None:
    members = attacked({"ga": [0.5, 0.52], "salun": [0.99, 0.98]})
    page = text_of(tmp_path, members, FACTORS)
    assert "‡ The membership attack is not known to be better than chance (ga)" in page
