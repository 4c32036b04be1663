"""The study of predictions: its statistics where the answer is known, and a tiny one as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import forked
from tests.benchmarks import prediction
from tests.benchmarks.prediction import attempts, grading
from tests.benchmarks.prediction.settings import Case, Study

TINY = Study(
    folder=Path(),
    cases=(
        Case("digits", 0, 20, {"ga": 1, "neggrad": 2}, None, None, 200, 60, is_held_out=False),
        Case("digits", 1, 20, {"ga": 1, "neggrad": 2}, None, None, 200, 60),
        Case("fashion-mnist", 0, 20, {"ga": 1}, data_dir=Path("/nowhere")),
    ),
    resamples=10,
    splits=5,
    test_subsets=(20,),
    timed=False,
)


def test_a_prediction_that_knows_all_but_chance_reaches_the_ceiling() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=2000)
    measured = truth + random.normal(size=(6, 2000))
    found = grading.grade(truth, measured, resamples=20)
    assert found.of_ceiling.value == pytest.approx(1, abs=0.01)
    assert found.ceiling.value < 0.95
    assert found.of_ceiling.low <= found.of_ceiling.value <= found.of_ceiling.high


def test_reliability_of_two_repeats_is_stepped_up() -> None:
    measured = np.array([[1.0, 2, 3, 4], [1, 2, 4, 3]])  # rho 0.8
    assert grading.reliability_of(measured) == pytest.approx(1.6 / 1.8)
    assert grading.reliability_of(measured[:1]) == 1


def test_scores_by_hand() -> None:
    measured = np.arange(20.0)
    for predicted, hits in (
        (measured, 1),
        (measured[::-1], 0),
        (np.where(measured == 1, 30, measured), 0.5),
    ):
        assert grading.hits(predicted, measured, 0.1) == hits
    assert grading.ratio(np.array([2.0, 2, np.nan]), np.array([1.0, 1, 1])) == (2, 2, 2)
    score, of_rate = grading.brier(np.array([1.0, 0, 1]), np.array([[1.0, 0, 0], [1, 0, 1]]))
    assert score == pytest.approx(1 / 6)
    assert of_rate == pytest.approx(1 / 4)


@pytest.mark.parametrize("quantity", ["steps", "prob_lost"])
def test_intervals_hold_nine_of_ten_attempts(quantity: str) -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(1e5, 2e5, size=400)
    measured = predicted * np.exp(random.normal(size=(3, 400)))
    found = grading.coverage(predicted, measured, quantity, budget=10**9, splits=200)
    assert found == pytest.approx(0.9, abs=0.02)


@pytest.mark.slow
def test_a_tiny_study_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def call(words: list[str], **named: Any) -> Any:
        if words[:3] != [sys.executable, "-m", "indelible"]:
            return real(words, **named)
        done = forked.run(*words[3:])
        done.check_returncode()
        return done

    study = replace(TINY, folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", call)
        prediction.main(study)
    said = capsys.readouterr().out
    assert "left out, as /nowhere is not there: fashion-mnist 0" in said
    assert "choices were made on it" in said
    tables = json.loads((tmp_path / "tables.json").read_text("utf-8"))
    index = tables[prediction.INDEX]
    assert len(index) == 2 * 2 * len(attempts.TARGETS)
    assert all(-1 <= row["rho"]["value"] <= 1 for row in index)
    assert len(tables[prediction.HELD_OUT]) == 2 * len(attempts.TARGETS)
    assert tables[prediction.BARS]

    def refuse(*arguments: object) -> list[str]:
        assert arguments[2:] == ("load",)
        return []

    monkeypatch.setattr(attempts, "_run", refuse)
    prediction.main(study)
    again = capsys.readouterr().out
    assert again == said
