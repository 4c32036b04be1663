"""Every family of ours keeps the contract, and whoever breaks it is told how."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import factors
from factors import testing
from factors.evaluation import Chunk
from factors.family import Column, Family, declares_its_columns
from unlearning.base_model import BaseModel

COLUMN = Column("height", "Height", "m", "high", "how high it is")
FAMILIES = {f"{family.name}-{family.columns[0].name}": family for family in factors.families()}


@pytest.mark.parametrize("check", testing.BEHAVIOUR, ids=lambda check: str(check.__name__))
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(family: str, check: testing.Check) -> None:
    check(FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_its_columns_are(family: str) -> None:
    declares_its_columns(FAMILIES[family])


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
        (pre(lambda base, p: {"width": p}), "gives nothing for 'height'"),
        (pre(lambda base, p: {"height": p.tolist()}), "gives a list for 'height'"),  # type: ignore[dict-item] # what is wrong with it
        (
            pre(lambda base, p: {"height": torch.ones(1)}),
            r"gives \(1,\) for .*, where \(4,\)",
        ),
        (pre(lambda base, p: {"height": torch.rand(len(p))}), "comes to other numbers"),
        (pre(lambda base, p: {"height": p - p.double().mean()}), "alone, and .* beside others"),
        (post(lambda c: {"height": c.test_logits.mean() * c.positions}), "beside others"),
        (pre(lambda base, p: {"height": torch.full((len(p),), torch.nan)}), "is NaN, and its"),
        (
            pre(lambda base, p: {"height": torch.full((len(p),), torch.inf)}),
            "gives infinity",
        ),
        (post(spoil), "changes what it looks at"),
    ],
)
def test_a_family_that_breaks_it_is_told(family: Family, said: str) -> None:
    testing.small_chunk.cache_clear()  # one of them changes it
    with pytest.raises(AssertionError, match=said):
        testing.check_family(family)
    testing.small_chunk.cache_clear()


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (Family("tall", (COLUMN,)), "either `pre` or `post`"),
        (Family("tall", (), post=spoil), "declares no columns"),
        (Family("tall", (COLUMN, COLUMN), post=spoil), "declares a column twice: height, height"),
        (
            Family("tall", (Column("a-b", "A", "m", "high", "b"),), post=spoil),
            "is called 'a-b': a name takes letters",
        ),
        (Family("tall", (Column("a", "A", "m", "high", ""),), post=spoil), "has no description"),
    ],
)
def test_a_declaration_that_is_wrong_is_told(family: Family, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_family(family)
