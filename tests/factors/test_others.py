"""Factor families of other people's beside ours: names that are taken, numbers that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import factors
from factors.family import Column, Family, pre_values
from tests.plugins import ALGORITHM, FAMILY, install
from tracker.sweep.plan import Plan
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.errors import UserError

OURS = [column.name for column in factors.columns()]
COLUMN = Column("odd", "Odd", "1", "high", "wrong in some way")


def bring(site: Path, name: str, column: str) -> None:
    source = FAMILY.format(name=name, column=column)
    points = {"factors": {name: f"{name}_family:FAMILY"}}
    install(site, f"the-{name}", {f"{name}_family": source}, points)


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("clash_case", "Margin", "'clash_case/Margin' has a name that is taken"),
        ("clash_sample", "label", "'clash_sample/label' has a name that is taken"),
        ("clash_history", "forget_prob", "has a name that is taken"),
        ("clash_detail", "relabel_target", "has a name that is taken"),
        ("reference", "clash_family", "Indelible itself has a family 'reference'"),
        ("clash_column", "a b", "a name takes letters"),
    ],
)
def test_a_family_whose_names_are_taken_is_left_out(
    name: str, column: str, said: str, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(site, name, column)
    assert [c.name for c in factors.columns()] == OURS
    (record,) = caplog.records
    assert said in record.message
    assert f"the factor family '{name}' of the-{name} 1.0" in record.message


def test_of_two_that_take_one_name_the_first_stays(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("second_of_two", "first_of_two"):
        bring(site, name, "taken_twice")
    assert factors.columns()[-1].metric == "first_of_two/taken_twice"
    assert "'second_of_two/taken_twice' has a name that is taken" in caplog.text


def test_an_algorithm_that_logs_a_factor_of_other_peoples_is_refused(site: Path) -> None:
    bring(site, "louder", "loudness")
    source = ALGORITHM.format(name="shout").replace(
        "    share", "    logged = ('loudness',)\n    share", 1
    )
    install(site, "shouting", {"shout": source}, {"algorithms": {"shout": "shout:Halt"}})
    shout = algorithms.get("shout")()
    with pytest.raises(UserError, match="'shout/loudness' has a name that is taken"):
        Plan("weights", "data", "net", "float32", (shout,), (1,), seed=0, name="s")


def test_one_that_is_asked_for_comes_last_and_its_names_are_not_taken(site: Path) -> None:
    for module, column in (("asked_fine", "asked_column"), ("asked_wrong", "gt")):
        (site / f"{module}.py").write_text(FAMILY.format(name=module, column=column))
    (site / "asked_ours.py").write_text(FAMILY.format(name="reference", column="x"))
    found = factors.families(["module:asked_fine:FAMILY"] * 2)
    assert [c.name for c in factors.columns(found)] == [*OURS, "asked_column"]
    assert [c.name for c in factors.columns()] == OURS
    with pytest.raises(UserError, match="'asked_wrong/gt' has a name that is taken"):
        factors.families(["module:asked_wrong:FAMILY"])
    with pytest.raises(UserError, match="Indelible itself has a family 'reference'"):
        factors.families(["module:asked_ours:FAMILY"])


SHAPED = r"gives .*, where \{'odd': \(3,\)\} is expected"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"odd": torch.zeros(2)}, SHAPED),
        ({"odd": torch.zeros(3, 1)}, SHAPED),
        ({}, SHAPED),
        (dict.fromkeys("ab", 1), SHAPED),
        ({"odd": torch.full((3,), 7e4).half()}, "gives infinity, where NaN"),
    ],
)
def test_numbers_that_were_not_declared_are_one_line(
    found: Any, said: str, base: BaseModel
) -> None:
    family = Family("oddities", (COLUMN,), pre=lambda base, positions: found)
    with pytest.raises(UserError, match=said):
        pre_values(base, [family], torch.arange(3))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (torch.tensor([7, 2**32 - 1], dtype=torch.uint32), [7.0, 2.0**32 - 1]),
        (torch.tensor([0.1, torch.nan], dtype=torch.float16), [0.0999755859375, torch.nan]),
        (nn.Parameter(torch.tensor([1.0, 2.0])), [1.0, 2.0]),
        ([1, 2.5], [1.0, 2.5]),
    ],
)
def test_numbers_of_other_types_are_the_same_numbers(
    values: Any, expected: list[float], base: BaseModel
) -> None:
    family = Family("oddities", (COLUMN,), pre=lambda base, positions: {"odd": values})
    found = pre_values(base, [family], torch.arange(2))["odd"]
    assert found.tolist() == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
