"""The study of forgetting: its statistics where the answer is known, and a tiny one as a whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import indelible
from tests.benchmarks import forgetting
from tests.benchmarks.forgetting import tables
from tests.benchmarks.forgetting.settings import FACTORS, TARGETS, Case, Study
from unlearning.references import References


def test_many_models_of_one_normal_are_calibrated_and_few_are_noisy() -> None:
    draw = torch.Generator().manual_seed(0)
    phi = torch.randn(128, 400, generator=draw, dtype=torch.float64)
    included = torch.rand(128, 400, generator=draw) < 0.5
    of_test = torch.randn(128, 50, generator=draw, dtype=torch.float64)
    references = References(included, phi, phi > 0, of_test)
    base = torch.randn(400, generator=draw, dtype=torch.float64)
    few, many = tables.enough("case", base, references, Study(Path(), (), counts=(8, 64, 128)))
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
    study = Study(Path(), (), counts=(8, 128, 256), draws=4)
    few, many = tables.judged("case", references, range(60), study)
    assert (few["judges"], many["judges"]) == (8, 128)
    assert few["AUC, ratio"] > 0.55 > many["AUC, ratio"] > 0.45
    assert many["never saw"] == pytest.approx(0.5, abs=0.05)


def test_means_are_of_the_rows_that_have_a_value() -> None:
    rows = [
        {"until": "flip", "target": "z", "index": math.nan, "ceiling": 1.0}
        | dict.fromkeys(FACTORS, value)
        for value in (0.2, 0.4, math.nan)
    ]
    (found,) = [row for row in tables.averaged(rows) if row["rows"]]
    assert (found["until"], found["target"], found["rows"]) == ("flip", "z", 3)
    assert found["margin"] == pytest.approx(0.3)
    assert math.isnan(found["index"])
    assert found["ceiling"] == 1


def test_rho_needs_four_pairs() -> None:
    assert math.isnan(tables.rho([1, 2, 3, None], [1, 2, 3, 4]))
    assert tables.rho([1, 2, 3, 4], np.array([1.0, 4, 9, 16])) == pytest.approx(1)


@pytest.mark.slow
def test_a_tiny_study_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("digits", 0, 0.1, 12, 2, 2, 2, ("reference",), 16)
    study = Study(tmp_path, (case,), 8, {"digits": (240, 60)}, counts=(8,), draws=2)
    found = forgetting.main(study)
    said = capsys.readouterr().out
    audited = [row for row in found[forgetting.FORGOTTEN] if "auc_ratio" in row]
    assert {row["algorithm"] for row in audited} > {"untouched", "never_saw", "ga", "scrub"}
    assert {row["until"] for row in audited} == {"reference"}
    assert [row["target"] for row in found[forgetting.HARD]] == [*TARGETS, *TARGETS]
    assert len(found[forgetting.ENOUGH]) == 1

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("it is there")

    for verb in ("train", "predict", "sweep", "audit"):
        monkeypatch.setattr(indelible.Store, verb, refuse)
    forgetting.main(study)
    assert capsys.readouterr().out == said
