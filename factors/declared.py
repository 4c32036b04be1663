"""A family of other people's is held to what it declares, whenever it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import Parameter

from factors.evaluation import Chunk
from factors.family import Family
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.registry import Registry

EXACT = 2**53  # up to here, every whole number is one in float64


def held_to_its_word(family: Family, registry: Registry[Family]) -> Family:
    """The same family, but it raises UserError where its numbers are not those it declares.

    Args:
        registry: knows whose it is, which what it raises says.
    """

    def pre(base: BaseModel, positions: Tensor) -> Mapping[str, Tensor]:
        assert family.pre is not None
        with registry.by(family.name):
            found = family.pre(base, positions)
            return _declared(family, found, registry, torch.ones(len(positions)).bool())

    def post(chunk: Chunk) -> Mapping[str, Tensor]:
        assert family.post is not None
        with registry.by(family.name):
            found = family.post(chunk)
            return _declared(family, found, registry, chunk.ran)

    return replace(family, pre=family.pre and pre, post=family.post and post)


def _declared(
    family: Family, found: object, registry: Registry[Family], counts: Tensor
) -> Mapping[str, Tensor]:
    """What was found. Raises UserError where that is not what the family declares.

    Args:
        counts: (K,) bool, the members whose numbers are taken.
    """
    whose = registry.in_words(family.name)
    if not isinstance(found, Mapping):
        raise UserError(
            f"{whose} gives a {type(found).__name__}, where a mapping of columns to tensors is "
            "expected"
        )
    expected = {column.name: tuple(counts.shape) for column in family.declared}
    given = {name: _shape(values) for name, values in found.items()}
    if given != expected:
        odd = next(n for n in {**expected, **given} if given.get(n) != expected.get(n))
        raise UserError(
            f"{whose} gives {given.get(odd, 'nothing')} for '{odd}', where "
            f"{expected.get(odd, 'nothing')} is expected: one number for each member and declared "
            "column"
        )
    for name, values in found.items():
        if why := unfit(name, values[counts.to(values.device)]):
            raise UserError(f"{whose} gives {why}")
    return found


def unfit(name: str, values: Tensor) -> str:
    """What a column of float64 cannot have in it, in words; empty where there is nothing of it."""
    if values.is_complex():
        return f"complex numbers for '{name}', where real ones are expected"
    if values.is_floating_point():
        infinite = values.isinf().any()
        return f"infinity for '{name}', where NaN says that it is undefined" if infinite else ""
    whole = values.to(torch.int64)  # some types cannot be compared
    far = whole[(whole > EXACT) | (whole < -EXACT)]
    return f"{far[0]} for '{name}', and beyond 2^53 float64 has gaps" if len(far) else ""


def _shape(values: object) -> tuple[int, ...] | str:
    """Of a plain tensor; of anything else what it is."""
    if type(values) not in (Tensor, Parameter):
        return f"a {type(values).__name__}"
    assert isinstance(values, Tensor)
    return tuple(values.shape)
