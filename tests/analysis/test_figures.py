"""The figures for a publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy.stats import norm

from analysis.figures import BLUR, Format, audited, scatter, write_figures
from analysis.pictures import Pictures
from tests.analysis.test_report import answers_of, members_of, pictures_for

FACTORS = ("forget_prob_diff", "steps", "test_prob_diff")


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(Format))
def test_a_file_each_and_the_same_bytes_each_time(tmp_path: Path, kind: Format) -> None:
    answers = answers_of(tmp_path, members_of("ga", "salun", n=4), ())
    pictures = pictures_for(answers)
    first, again = (
        write_figures(answers, pictures, tmp_path / name, kind, every=True) for name in "ab"
    )
    assert sorted(path.stem for path in first) == [
        "correlations",
        *(f"factor-{name}" for name in FACTORS),
        *(f"gallery-{name}" for name in FACTORS),
        "ranks",
    ]
    assert {path.suffix for path in first} == {f".{kind}"}
    assert sorted(first) == sorted((tmp_path / "a").iterdir())
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_by_default_of_the_factors_the_strongest_are_drawn(tmp_path: Path) -> None:
    members = members_of("ga", "salun", n=30)
    for m in members:
        m["metrics"]["pre_good"] = m["metrics"]["forget_prob_diff"]
    answers = answers_of(tmp_path, members, ("pre_size", "size", "pre_good"))
    paths = write_figures(answers, pictures_for(answers), tmp_path / "f", "svg")
    post = next(r["factor"] for r in answers.rows("strengths") if r["phase"] == "post")
    assert {path.stem for path in paths} == {
        *("correlations", "alike", "ranks", "factor-pre_good", f"factor-{post}"),
        "gallery-pre_good",
    }


def legend(folder: Path, *statuses: str) -> list[str]:
    """The words of the legend over members that ended so."""
    members = [m for status in statuses for m in members_of("ga", "salun", n=2, status=status)]
    answers = answers_of(folder, members, ("size",))
    (size,) = (row for row in answers.rows("points") if row["factor"] == "size")
    figure = scatter(size, answers.rows("members"), {})
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


@pytest.mark.parametrize("changes", [{"n": 1}, {"size": float("inf")}])
def test_thin_sweeps_have_figures_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    answers = answers_of(tmp_path, members_of("ga", **changes), ("size",))
    assert write_figures(answers, Pictures(), tmp_path / "f", "svg")


def test_an_audit_is_drawn_as_densities_of_z() -> None:
    known = {"never_saw": [-1.0, 0.0, 1.5], "untouched": [0.5, 2.0], "forgot": [-9.0, -8.5, -0.5]}
    ends_of_auc = {"auc_ratio": 0.97, "auc_ratio_low": 0.9, "auc_ratio_high": 1.0}
    rows: list[dict[str, Any]] = [
        {"algorithm": "ga"} | known | ends_of_auc,
        {"algorithm": "salun"} | known,
    ]
    figure = audited([rows[0], rows[1] | dict.fromkeys(ends_of_auc)])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["ga\nAUC 0.97 (0.90 to 1.00)", "salun\nAUC unknown"]
    words = {
        "never saw it": "never_saw",
        "saw it, nothing was done": "untouched",
        "saw it, and forgot it": "forgot",
    }
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == words.keys()
    for line in figure.axes[0].lines:
        z, density = np.array(line.get_data())
        expected = [
            norm.pdf(z, loc=each, scale=BLUR) for each in known[words[str(line.get_label())]]
        ]
        assert density == pytest.approx(np.mean(expected, axis=0))
