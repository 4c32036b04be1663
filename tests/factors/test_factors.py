"""Every factor: declared, computed, undefined only where it says so, and held against an oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import factors
from factors.family import Column
from tests.oracles import factors as oracles

UNDEFINED_HERE = "(train --"  # what has to come with a base model, and does not with this one
MEASURED = {"elapsed_s"}  # a wall time, which only a clock knows


def test_columns_are_documented_and_have_unique_names() -> None:
    columns = factors.columns()
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.title
        assert column.description
        assert column.family
        assert column.harder in ("high", "low")
        assert column.phase in ("pre", "post")


def test_the_families_compute_exactly_what_they_declare(
    pre: dict[str, Tensor], post: dict[str, Tensor], positions: Tensor
) -> None:
    phases = {column.name: column.phase for column in factors.columns()}
    assert {n for n, phase in phases.items() if phase == "pre"} == set(pre)
    assert {n for n, phase in phases.items() if phase == "post"} == set(post)
    for values in (pre | post).values():
        assert values.shape == positions.shape
        assert values.dtype == torch.float64


def test_a_factor_is_undefined_only_where_it_says_so(
    pre: dict[str, Tensor], post: dict[str, Tensor]
) -> None:
    for column in factors.columns():
        values = (pre | post)[column.name]
        if UNDEFINED_HERE in column.undefined:
            assert values.isnan().all()
            continue
        assert values[1:].isfinite().all(), column.name
        already_wrong = bool(values[0].isnan())
        assert already_wrong == (column.phase == "post" or "already_wrong" in column.undefined)


COLUMNS = [column for column in factors.columns() if column.name not in MEASURED]


@pytest.mark.parametrize("column", COLUMNS, ids=[column.name for column in COLUMNS])
def test_a_factor_has_an_oracle(column: Column) -> None:
    advice = f"write {column.name} in tests/oracles/factors/{column.family}.py"
    assert column.family in oracles.families(), advice
    assert hasattr(oracles.find(column.family), column.name), advice
