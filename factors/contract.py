"""What every factor family keeps to, ours and other people's, as checks.

A check raises AssertionError with a line that says what is wrong. `unlearning.contract` has those
of algorithms, and a complete example.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from factors.declared import unfit
from factors.evaluation import Chunk, evaluate
from factors.family import Family
from factors.histories import not_kept
from unlearning import algorithms
from unlearning.contract import SEED, hold, small_base, some_positions
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.models import weights_sha256

NAMES = "a name takes letters, digits and _, and does not begin with a digit"


@cache
def small_chunk() -> Chunk:
    """Attempts to unlearn the samples at `some_positions` by gradient ascent, evaluated."""
    base, positions = small_base(), some_positions()
    algorithm = algorithms.get("ga").from_text({"lr": 1e-3})
    return evaluate(base, positions, unlearn(base, algorithm, positions, SEED), base.some(None))


def check_family(family: Family) -> None:
    """All of the contract. Raises AssertionError."""
    for check in (declares_its_columns, *BEHAVIOUR):
        check(family)


def declares_its_columns(family: Family) -> None:
    """A Family with `pre` or `post`, and columns that say what a reader has to know."""
    hold(isinstance(family, Family), f"it is a {type(family).__name__}, not a Family")
    whose = f"the factor family '{family.name}'"
    is_one = (family.pre is None) != (family.post is None)
    hold(is_one, f"{whose} has to have either `pre` or `post`")
    hold(family.declared, f"{whose} declares no columns")
    names = [column.name for column in family.declared]
    hold(len({*names}) == len(names), f"{whose} declares a column twice: {', '.join(names)}")
    for column in family.columns:
        factor = f"the factor '{column.metric}'"
        hold(column.name.isidentifier(), f"{factor} is called '{column.name}': {NAMES}")
        for attribute in ("title", "description"):
            hold(getattr(column, attribute), f"{factor} has no {attribute}")
        known = column.harder in ("high", "low")
        hold(known, f"{factor} has '{column.harder}' for `harder`, which is high or low")


def computes_what_it_declares(family: Family) -> None:
    """One number a member for each column: tensors (K,)."""
    positions = some_positions()
    found = computed(family, positions)
    declared = [column.name for column in family.declared]
    assert sorted(found) == sorted(declared), f"{_whose(family)} gives {sorted(found)}"
    for name, values in found.items():
        assert isinstance(values, Tensor), f"'{name}' is a {type(values).__name__}, not a tensor"
        shape = tuple(values.shape)
        assert shape == positions.shape, f"'{name}' of {len(positions)} members is {shape}"
        why = "" if values.is_floating_point() else unfit(name, values)
        assert not why, f"{_whose(family)} gives {why}"


def repeats_itself(family: Family) -> None:
    """Computed again, and with other random numbers, it is the same."""
    first = computed(family, some_positions())
    torch.rand(1)
    for name, values in computed(family, some_positions()).items():
        same = torch.equal(values.nan_to_num(), first[name].nan_to_num())
        assert same, f"'{name}' comes to other numbers when it is computed again"


def is_the_same_alone_and_in_company(family: Family) -> None:
    """A member's number does not depend on the other members of its chunk."""
    together = computed(family, some_positions())
    for member in range(len(some_positions())):
        only = slice(member, member + 1)
        for name, values in computed(family, some_positions(), only).items():
            close = torch.allclose(
                values.double(), together[name][only].double(), rtol=1e-6, atol=1e-9, equal_nan=True
            )
            assert close, (
                f"'{name}' is {values.item():g} alone, and {together[name][member].item():g} "
                "beside others"
            )


def is_undefined_only_where_it_says_so(family: Family) -> None:
    """NaN in a column that says when it is undefined, and nowhere else; never infinite."""
    ran = small_chunk().ran if family.pre is None else torch.ones(len(some_positions())).bool()
    found = computed(family, some_positions())
    for column in family.declared:
        values = found[column.name][ran]
        assert not values.isinf().any(), f"'{column.name}' is infinite: NaN is undefined"
        defined = bool(column.undefined) or not values.isnan().any()
        assert defined, f"'{column.name}' is NaN, and its column does not say when it is undefined"


def leaves_the_models_alone(family: Family) -> None:
    """It changes neither the base model nor the unlearned ones, nor what they give."""
    before = _traces()
    computed(family, some_positions())
    assert _traces() == before, f"{_whose(family)} changes what it looks at"


def looks_at_histories_only_if_it_says_so(family: Family) -> None:
    """Without `of_histories`, it is computed where the curves are not kept."""
    if family.post is None or family.of_histories:
        return
    chunk, nothing = small_chunk(), not_kept()
    unlearned = dataclasses.replace(chunk.unlearned, forget_prob=nothing, forget_loss=nothing)
    try:
        family.post(evaluate(chunk.base, chunk.positions, unlearned, chunk.seen))
    except UserError as error:
        raise AssertionError(
            f"{_whose(family)} cannot be computed without histories ({error}): it has to say "
            "of_histories=True"
        ) from error


Check = Callable[[Family], None]
BEHAVIOUR: tuple[Check, ...] = (
    computes_what_it_declares,
    repeats_itself,
    is_the_same_alone_and_in_company,
    is_undefined_only_where_it_says_so,
    leaves_the_models_alone,
    looks_at_histories_only_if_it_says_so,
)


def computed(family: Family, positions: Tensor, only: slice | None = None) -> Mapping[str, Tensor]:
    """What the family gives for the members of `small_chunk`, or for some of them."""
    if family.pre is not None:
        return family.pre(small_base(), positions if only is None else positions[only])
    assert family.post is not None
    return family.post(small_chunk() if only is None else _some(small_chunk(), only))


def _some(chunk: Chunk, only: slice) -> Chunk:
    """A chunk of these members alone."""
    unlearned = _of_members(chunk.unlearned, only)
    return evaluate(chunk.base, chunk.positions[only], unlearned, chunk.seen)


def _of_members(values: Any, only: slice) -> Any:
    """Whatever has an axis of members, cut to these."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        parts = {f.name: getattr(values, f.name) for f in dataclasses.fields(values)}
        return dataclasses.replace(values, **_of_members(parts, only))
    if isinstance(values, dict):
        return {name: _of_members(value, only) for name, value in values.items()}
    return values[only] if isinstance(values, (Tensor, list)) else values


def _traces() -> list[str]:
    chunk = small_chunk()
    base = {"train_logits": chunk.base.train_logits, "test_logits": chunk.base.test_logits}
    parts = (chunk.base.state, base, chunk.unlearned.params, {"logits": chunk.test_logits})
    return [weights_sha256(part) for part in parts]


def _whose(family: Family) -> str:
    return f"the factor family '{family.name}'"
