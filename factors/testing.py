"""Checks of what a factor family keeps to, for its author's tests.

`unlearning.testing` has those of algorithms, and a complete example.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from factors.evaluation import Chunk, evaluate, not_kept
from factors.family import Family, declares_its_columns, post_values, pre_values
from unlearning import algorithms
from unlearning.engine import unlearn
from unlearning.errors import hold, words_of
from unlearning.models import weights_sha256
from unlearning.outcome import Unlearned
from unlearning.testing import SEED, small_base, some_positions


@cache
def small_chunk() -> Chunk:
    """Attempts to unlearn the samples at `some_positions` by gradient ascent, evaluated."""
    base, positions = small_base(), some_positions()
    algorithm = algorithms.get("ga").from_text({"lr": 1e-3})
    return evaluate(base, positions, unlearn(base, algorithm, positions, SEED), base.some(None))


def check_family(family: Family) -> None:
    """Raise AssertionError where a family is not what a sweep takes it for.

    It declares its columns; gives the same numbers again, and to a member alone as beside others;
    is never infinite, and NaN only in columns that say when they are undefined; changes neither the
    base model nor the unlearned ones; and without `of_histories` it does without the curves.
    """
    declares_its_columns(family)
    before, together = _traces(), computed(family, small_chunk())
    torch.rand(1)
    for name, values in computed(family, small_chunk()).items():
        same = torch.equal(values.nan_to_num(), together[name].nan_to_num())
        hold(same, f"'{name}' comes to other numbers when it is computed again")
    hold(_traces() == before, f"the factor family '{family.name}' changes what it looks at")
    for member in range(len(some_positions())):
        for name, alone in computed(family, _alone(member)).items():
            beside = together[name][member : member + 1]
            close = torch.allclose(alone, beside, rtol=1e-6, atol=1e-9, equal_nan=True)
            hold(close, f"'{name}' is {alone.item():g} alone, and {beside.item():g} beside others")
    for column in family.columns:
        values = together[column.name][small_chunk().ran if family.pre is None else ...]
        hold(not values.isinf().any(), f"'{column.name}' is infinity, and not NaN")
        defined = bool(column.undefined) or not values.isnan().any()
        hold(defined, f"'{column.name}' is NaN, and its column does not say when it is undefined")
    if not family.of_histories:
        none = replace(small_chunk().unlearned, forget_prob=not_kept(), forget_loss=not_kept())
        computed(family, replace(small_chunk(), unlearned=none), "without histories, ")


def computed(family: Family, chunk: Chunk, where: str = "") -> dict[str, Tensor]:
    """What the family gives for a chunk. Raises AssertionError where that is not as declared."""
    try:
        if family.pre is not None:
            return pre_values(chunk.base, [family], chunk.positions)
        return post_values(chunk, [family])
    except Exception as error:  # whatever a family of somebody's raises
        raise AssertionError(f"{where}{words_of(error)}") from error


def _alone(member: int) -> Chunk:
    """One member of `small_chunk`."""
    chunk, only = small_chunk(), slice(member, member + 1)

    def cut(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: values[only] for name, values in part.items()}
        return part[only] if isinstance(part, (Tensor, list)) else part

    parts = {name: cut(part) for name, part in vars(chunk.unlearned).items()}
    return evaluate(chunk.base, chunk.positions[only], Unlearned(**parts), chunk.seen)


def _traces() -> list[str]:
    chunk = small_chunk()
    base = {"train_logits": chunk.base.train_logits, "test_logits": chunk.base.test_logits}
    parts = (chunk.base.state, base, chunk.unlearned.params, {"logits": chunk.test_logits})
    return [weights_sha256(part) for part in parts]
