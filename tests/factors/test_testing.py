"""Every family keeps the contract, ours and others: whoever breaks it is told how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import factors
from factors import testing
from factors.evaluation import Chunk
from factors.family import Column, Family, pre_values
from tests.oracles import factors as oracles
from tests.plugins import FAMILY, install
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.testing import small_base

COLUMN = Column("height", "Height", "m", "high", "how high it is")
FAMILIES = {f"{family.name}-{family.columns[0].name}": family for family in factors.every()}
COLUMNS = {column.name: column for column in factors.columns(factors.every())}
MEASURED = {"elapsed_s"}  # a wall time, which only a clock knows


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(family: str) -> None:
    testing.check_family(FAMILIES[family])


def test_a_factor_has_an_oracle() -> None:
    assert len(COLUMNS) == len(factors.columns(factors.every()))
    for name in COLUMNS.keys() - MEASURED:
        family = COLUMNS[name].family
        advice = f"write {name} in tests/oracles/factors/{family}.py"
        assert family in oracles.families(), advice
        assert hasattr(oracles.find(family), name), advice


def pre(compute: Callable[[BaseModel, Tensor], Mapping[str, Tensor]]) -> Family:
    return Family("tall", (COLUMN,), pre=compute)


def post(compute: Callable[[Chunk], Mapping[str, Tensor]]) -> Family:
    return Family("tall", (COLUMN,), post=compute)


def spoil(chunk: Chunk) -> Mapping[str, Tensor]:
    chunk.test_logits[:, 0] += 1
    return {"height": torch.ones(len(chunk.positions))}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (pre(lambda base, p: {"width": p}), r"gives \{'width': \(4,\)\}, where \{'height'"),
        (pre(lambda base, p: {"height": torch.rand(len(p))}), "comes to other numbers"),
        (pre(lambda base, p: {"height": p - p.double().mean()}), "alone, and .* beside others"),
        (pre(lambda base, p: {"height": p * torch.nan}), "is NaN, and its"),
        (post(lambda c: {"height": c.unlearned.forget_prob.nansum(1)}), "without histories, "),
        (post(spoil), "changes what it looks at"),
        (Family("tall", (COLUMN,)), "either `pre` or `post`"),
    ],
)
def test_a_family_that_breaks_it_is_told(family: Family, said: str) -> None:
    testing.small_chunk.cache_clear()  # one of them changes it
    with pytest.raises(AssertionError, match=said):
        testing.check_family(family)
    testing.small_chunk.cache_clear()


OURS = [column.name for column in factors.columns()]
ODD = Column("odd", "Odd", "1", "high", "wrong in some way")


def bring(site: Path, name: str, column: str) -> None:
    source = FAMILY.format(name=name, column=column)
    points = {"factors": {name: f"{name}_family:FAMILY"}}
    install(site, f"the-{name}", {f"{name}_family": source}, points)


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("clash_case", "Margin", "'clash_case/Margin' has a name that is taken"),
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


def test_one_that_is_asked_for_comes_last_and_its_names_are_not_taken(site: Path) -> None:
    for module, column in (("asked_fine", "asked_column"), ("asked_wrong", "gt")):
        (site / f"{module}.py").write_text(FAMILY.format(name=module, column=column))
    found = factors.families(["module:asked_fine:FAMILY"] * 2)
    assert [c.name for c in factors.columns(found)] == [*OURS, "asked_column"]
    assert [c.name for c in factors.columns()] == OURS
    with pytest.raises(UserError, match="'asked_wrong/gt' has a name that is taken"):
        factors.families(["module:asked_wrong:FAMILY"])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"odd": torch.zeros(2)}, r"gives .*, where \{'odd': \(3,\)\} is expected"),
        ({"odd": torch.full((3,), 7e4).half()}, "gives infinity, where NaN"),
    ],
)
def test_numbers_that_were_not_declared_are_one_line(found: Any, said: str) -> None:
    family = Family("oddities", (ODD,), pre=lambda base, positions: found)
    with pytest.raises(UserError, match=said):
        pre_values(small_base(), [family], torch.arange(3))
