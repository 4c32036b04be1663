"""The studies: their statistics where the answer is known, and tiny ones as a whole."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import indelible
from tests import forked
from tests.benchmarks import forgetting, prediction
from tests.benchmarks.forgetting import settings as of_forgetting
from tests.benchmarks.forgetting import tables
from tests.benchmarks.prediction import attempts, grading
from tests.benchmarks.prediction.settings import Case, Study
from unlearning.references import References

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


def test_intervals_hold_nine_of_ten_attempts() -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(1e5, 2e5, size=400)
    measured = predicted * np.exp(random.normal(size=(3, 400)))
    found = grading.coverage(predicted, measured, "prob_lost", budget=10**9, splits=200)
    assert found == pytest.approx(0.9, abs=0.02)


@pytest.mark.slow
def test_a_tiny_study_of_predictions_goes_on_where_it_stopped(
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
        tables = prediction.main(study)
    said = capsys.readouterr().out
    assert "left out, as /nowhere is not there: fashion-mnist 0" in said
    assert "choices were made on it" in said
    index = tables[prediction.INDEX]
    assert len(index) == 2 * 2 * len(attempts.TARGETS)
    assert all(-1 <= row["rho"].value <= 1 for row in index)
    assert len(tables[prediction.OUTCOMES]) == 4
    assert len(tables[prediction.SUBSETS]) == 2

    def refuse(*arguments: object) -> list[str]:
        assert arguments[2:] == ("load",)
        return []

    monkeypatch.setattr(attempts, "_run", refuse)
    prediction.main(study)
    again = capsys.readouterr().out
    assert again == said


def test_many_models_of_one_normal_are_calibrated_and_few_are_noisy() -> None:
    draw = torch.Generator().manual_seed(0)
    phi = torch.randn(128, 400, generator=draw, dtype=torch.float64)
    included = torch.rand(128, 400, generator=draw) < 0.5
    of_test = torch.randn(128, 50, generator=draw, dtype=torch.float64)
    references = References(included, phi, phi > 0, of_test)
    base = torch.randn(400, generator=draw, dtype=torch.float64)
    few, many = tables.enough(
        "case", base, references, of_forgetting.Study(Path(), (), counts=(8, 64, 128))
    )
    assert (few["references"], many["references"]) == (8, 64)
    for row in (few, many):
        assert row["outside of 90%"] == pytest.approx(0.1, abs=0.02)
    assert few["rho of z"] < 0.95 < many["rho of z"]
    assert many["rms error of z"] == pytest.approx(math.sqrt(2 / 32), abs=0.08)


def test_models_that_keep_their_place_among_their_kind_are_not_told_apart() -> None:
    draw = torch.Generator().manual_seed(0)
    included = torch.rand(144, 60, generator=draw) < 0.5
    phi = torch.randn(144, 60, generator=draw, dtype=torch.float64) + 3 * included
    references = References(included, phi, phi > 0, phi[:, :5])
    study = of_forgetting.Study(Path(), (), counts=(8, 128, 256), draws=4)
    few, many = tables.judged("case", references, range(60), study)
    assert (few["judges"], many["judges"]) == (8, 128)
    assert few["AUC, ratio"] > 0.55 > many["AUC, ratio"] > 0.45
    assert many["never saw"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_a_tiny_study_of_forgetting_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = of_forgetting.Case("digits", 0, 0.1, 12, 2, 2, 2, ("reference",), 16)
    study = of_forgetting.Study(tmp_path, (case,), 8, {"digits": (240, 60)}, counts=(8,), draws=2)
    found = forgetting.main(study)
    said = capsys.readouterr().out
    audited = [row for row in found[forgetting.FORGOTTEN] if "auc_ratio" in row]
    assert {row["algorithm"] for row in audited} > {"untouched", "never_saw", "ga", "scrub"}
    assert {row["until"] for row in audited} == {"reference"}
    assert [row["target"] for row in found[forgetting.HARD]] == [
        *of_forgetting.TARGETS,
        *of_forgetting.TARGETS,
    ]
    assert len(found[forgetting.ENOUGH]) == 1

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("it is there")

    for verb in ("train", "predict", "sweep", "audit"):
        monkeypatch.setattr(indelible.Store, verb, refuse)
    forgetting.main(study)
    assert capsys.readouterr().out == said
