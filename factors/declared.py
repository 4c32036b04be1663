"""A family of other people's is held to what it declares, whenever it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

import factors
from factors.evaluation import Chunk
from factors.family import Family
from unlearning.base_model import BaseModel
from unlearning.errors import UserError


def held_to_its_word(family: Family) -> Family:
    """The same family, but it raises UserError where its numbers are not those it declares."""

    def pre(base: BaseModel, positions: Tensor) -> Mapping[str, Tensor]:
        assert family.pre is not None
        return _declared(family, family.pre(base, positions), len(positions))

    def post(chunk: Chunk) -> Mapping[str, Tensor]:
        assert family.post is not None
        return _declared(family, family.post(chunk), len(chunk.positions))

    return replace(family, pre=family.pre and pre, post=family.post and post)


def _declared(family: Family, found: Mapping[str, Any], members: int) -> Mapping[str, Tensor]:
    expected = {column.name: (members,) for column in family.declared}
    given = {name: _shape(values) for name, values in found.items()}
    if given != expected:
        odd = next(n for n in {**expected, **given} if given.get(n) != expected.get(n))
        raise UserError(
            f"the factor family '{family.name}' of {factors.provider(family.name)} gives "
            f"{given.get(odd, 'nothing')} for '{odd}', where {expected.get(odd, 'nothing')} is "
            "expected: one number for each member and declared column"
        )
    return found


def _shape(values: object) -> tuple[int, ...] | str:
    return tuple(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
