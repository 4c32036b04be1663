"""The figures for a publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from indelible.analysis.answers import ask
from indelible.analysis.figures import Format, write_figures
from indelible.analysis.pictures import Pictures
from indelible.errors import UserError
from tests.analysis.test_report import members_of, pictures_for
from tests.analysis.warehouses import warehouse_of

FACTORS = ("forget_prob_diff", "steps", "test_prob_diff")


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


def test_many_algorithms_take_rows_of_panels(tmp_path: Path) -> None:
    names = [f"algorithm{k}" for k in range(5)]
    with warehouse_of(tmp_path, members_of(*names, n=4), ("size",)) as warehouse:
        answers = ask(warehouse, "s")
    write_figures(answers, pictures_for(answers), tmp_path / "f", "svg")
    for figure in ("correlations", "factor-size", "gallery-size"):
        assert (tmp_path / "f" / f"{figure}.svg").stat().st_size


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
        pytest.raises(UserError, match="no figure can be written"),
    ):
        write_figures(ask(warehouse, "s"), Pictures(), tmp_path / "file" / "f", "png")
