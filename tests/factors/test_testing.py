"""Every family of ours keeps the contract, and whoever breaks it is told how."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import factors
from factors import testing
from factors.evaluation import Chunk
from factors.family import Column, Family
from tests.oracles import factors as oracles
from unlearning.base_model import BaseModel

COLUMN = Column("height", "Height", "m", "high", "how high it is")
FAMILIES = {f"{family.name}-{family.columns[0].name}": family for family in factors.every()}
COLUMNS = {column.name: column for column in factors.columns(factors.every())}
MEASURED = {"elapsed_s"}  # a wall time, which only a clock knows


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(family: str) -> None:
    testing.check_family(FAMILIES[family])


def test_columns_have_unique_names_and_say_what_they_are() -> None:
    assert len(COLUMNS) == len(factors.columns(factors.every()))
    assert all(column.title and column.description for column in COLUMNS.values())


@pytest.mark.parametrize("name", sorted(COLUMNS.keys() - MEASURED))
def test_a_factor_has_an_oracle(name: str) -> None:
    family = COLUMNS[name].family
    advice = f"write {name} in tests/oracles/factors/{family}.py"
    assert family in oracles.families(), advice
    assert hasattr(oracles.find(family), name), advice


def pre(compute: Callable[[BaseModel, Tensor], Mapping[str, Tensor]]) -> Family:
    return Family("tall", (COLUMN,), pre=compute)


def post(compute: Callable[[Chunk], Mapping[str, Tensor]], column: Column = COLUMN) -> Family:
    return Family("tall", (column,), post=compute)


def spoil(chunk: Chunk) -> Mapping[str, Tensor]:
    chunk.test_logits[:, 0] += 1
    return {"height": torch.ones(len(chunk.positions))}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (pre(lambda base, p: {"width": p}), r"gives \{'width': \(4,\)\}, where \{'height'"),
        (
            pre(lambda base, p: {"height": torch.ones(1)}),
            r"\(1,\)\}, where \{'height': \(4,\)\} is expected",
        ),
        (pre(lambda base, p: {"height": torch.rand(len(p))}), "comes to other numbers"),
        (pre(lambda base, p: {"height": p - p.double().mean()}), "alone, and .* beside others"),
        (post(lambda c: {"height": c.test_logits.mean() * c.positions}), "beside others"),
        (pre(lambda base, p: {"height": p * torch.nan}), "is NaN, and its"),
        (pre(lambda base, p: {"height": p * torch.inf}), "gives infinity, where NaN"),
        (post(lambda c: {"height": c.unlearned.forget_prob.nansum(1)}), "without histories, "),
        (post(spoil), "changes what it looks at"),
        (Family("tall", (COLUMN,)), "either `pre` or `post`"),
        (post(spoil, Column("a-b", "A", "m", "high", "b")), "is called 'a-b': a name takes"),
    ],
)
def test_a_family_that_breaks_it_is_told(family: Family, said: str) -> None:
    testing.small_chunk.cache_clear()  # one of them changes it
    with pytest.raises(AssertionError, match=said):
        testing.check_family(family)
    testing.small_chunk.cache_clear()
