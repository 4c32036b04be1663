"""The figures for a publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from analysis.answers import ask
from analysis.figures import Format, scatter, write_figures
from analysis.pictures import Pictures
from analysis.statuses import endings
from tests.analysis.test_report import members_of, pictures_for
from tests.analysis.warehouses import warehouse_of
from unlearning.errors import UserError

FACTORS = ("forget_prob_diff", "steps", "test_prob_diff")


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(Format))
def test_a_file_each_and_the_same_bytes_each_time(tmp_path: Path, kind: Format) -> None:
    with warehouse_of(tmp_path, members_of("ga", "salun", n=4)) as warehouse:
        answers = ask(warehouse, "s")
    pictures = pictures_for(answers)
    first, again = (write_figures(answers, pictures, tmp_path / name, kind) for name in "ab")
    assert sorted(path.stem for path in first) == [
        "correlations",
        *(f"factor-{name}" for name in FACTORS),
        *(f"gallery-{name}" for name in FACTORS),
    ]
    assert {path.suffix for path in first} == {f".{kind}"}
    assert sorted(first) == sorted((tmp_path / "a").iterdir())
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_many_algorithms_take_rows_of_panels(tmp_path: Path) -> None:
    names = [f"algorithm{k}" for k in range(5)]
    with warehouse_of(tmp_path, members_of(*names, n=4), ("size",)) as warehouse:
        answers = ask(warehouse, "s")
    write_figures(answers, pictures_for(answers), tmp_path / "f", "svg")
    for figure in ("correlations", "factor-size", "gallery-size"):
        assert (tmp_path / "f" / f"{figure}.svg").stat().st_size


def legend(folder: Path, *statuses: str) -> list[str]:
    """The words of the legend over members that ended so."""
    members = [m for status in statuses for m in members_of("ga", "salun", n=2, status=status)]
    with warehouse_of(folder, members, ("size",)) as warehouse:
        answers = ask(warehouse, "s")
    (size,) = (row for row in answers.rows("points") if row["factor"] == "size")
    figure = scatter(size, answers.rows("members"), {})
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def test_the_legend_says_how_attempts_ended_that_there_are(tmp_path: Path) -> None:
    words = ["flipped", "flipped, but rewound", "budget used up", "unchanged"]
    assert legend(tmp_path / "a", "unchanged", "max_steps", "rewound", "flipped") == words
    assert legend(tmp_path / "b", "rewound") == words[1:2]


def test_endings_with_a_gt_are_told_apart_by_colour_and_by_shape() -> None:
    drawn = [ending for ending in endings() if ending.has_gt]
    for look in ("legend", "marker", "shape", "print_colour", "page_colour", "dark_page_colour"):
        assert len({getattr(ending, look) for ending in drawn} - {""}) == len(drawn), look


@pytest.mark.parametrize(
    "changes", [{"n": 1}, {"f": -1.0}, {"status": "max_steps"}, {"size": float("inf")}]
)
def test_thin_sweeps_have_figures_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    with warehouse_of(tmp_path, members_of("ga", **changes), ("size",)) as warehouse:
        assert write_figures(ask(warehouse, "s"), Pictures(), tmp_path / "f", "svg")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        warehouse_of(tmp_path, members_of("ga")) as warehouse,
        pytest.raises(UserError, match="the figures in"),
    ):
        write_figures(ask(warehouse, "s"), Pictures(), tmp_path / "file" / "f", "png")
