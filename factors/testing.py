"""Checks of what a factor family keeps to, for its author's tests.

`unlearning.testing` has those of algorithms, and a complete example.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from factors.evaluation import Chunk, evaluate, not_kept
from factors.family import Family, declares_its_columns, post_values, pre_values
from unlearning import algorithms
from unlearning.engine import unlearn
from unlearning.errors import UserError, hold
from unlearning.models import weights_sha256
from unlearning.outcome import Unlearned
from unlearning.testing import SEED, small_base, some_positions

ALL = slice(None)


@cache
def small_chunk() -> Chunk:
    """Attempts to unlearn the samples at `some_positions` by gradient ascent, evaluated."""
    base, positions = small_base(), some_positions()
    algorithm = algorithms.get("ga").from_text({"lr": 1e-3})
    return evaluate(base, positions, unlearn(base, algorithm, positions, SEED), base.some(None))


def check_family(family: Family) -> None:
    """Raise AssertionError where a family is not what a sweep takes it for.

    It declares its columns; gives the same numbers again, and to a member alone as beside others;
    is NaN only in columns that say when they are undefined; changes neither the base model nor the
    unlearned ones; and without `of_histories` it is computed where the curves are not kept.
    """
    declares_its_columns(family)
    before, together = _traces(), computed(family)
    torch.rand(1)
    for name, values in computed(family).items():
        same = torch.equal(values.nan_to_num(), together[name].nan_to_num())
        hold(same, f"'{name}' comes to other numbers when it is computed again")
    hold(_traces() == before, f"the factor family '{family.name}' changes what it looks at")
    for member in range(len(some_positions())):
        for name, alone in computed(family, slice(member, member + 1)).items():
            beside = together[name][member : member + 1]
            close = torch.allclose(alone, beside, rtol=1e-6, atol=1e-9, equal_nan=True)
            hold(close, f"'{name}' is {alone.item():g} alone, and {beside.item():g} beside others")
    ran = slice(1 if family.pre is None else 0, None)  # the first one is wrong already
    for column in family.columns:
        defined = bool(column.undefined) or not together[column.name][ran].isnan().any()
        hold(defined, f"'{column.name}' is NaN, and its column does not say when it is undefined")
    if not family.of_histories:
        computed(family, has_histories=False)


def computed(family: Family, only: slice = ALL, has_histories: bool = True) -> dict[str, Tensor]:
    """What the family gives for the members of `small_chunk`, or for some of them.

    Raises AssertionError where that is not what it declares.
    """
    try:
        if family.pre is not None:
            return pre_values(small_base(), [family], some_positions()[only])
        whole = only == ALL and has_histories
        return post_values(small_chunk() if whole else _some(only, has_histories), [family])
    except UserError as error:
        raise AssertionError(str(error)) from error


def _some(only: slice, has_histories: bool) -> Chunk:
    """Some members of `small_chunk`, perhaps without their histories."""

    def cut(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: values[only] for name, values in part.items()}
        return part[only] if isinstance(part, (Tensor, list)) else part

    chunk = small_chunk()
    parts = {name: cut(part) for name, part in vars(chunk.unlearned).items()}
    if not has_histories:
        parts |= {"forget_prob": not_kept(), "forget_loss": not_kept()}
    return evaluate(chunk.base, chunk.positions[only], Unlearned(**parts), chunk.seen)


def _traces() -> list[str]:
    chunk = small_chunk()
    base = {"train_logits": chunk.base.train_logits, "test_logits": chunk.base.test_logits}
    parts = (chunk.base.state, base, chunk.unlearned.params, {"logits": chunk.test_logits})
    return [weights_sha256(part) for part in parts]
