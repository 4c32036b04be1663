"""What a factor family is: its columns, and one function that computes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from unlearning.errors import hold
from unlearning.naming import IDENTIFIER

if TYPE_CHECKING:
    from torch import Tensor

    from factors.evaluation import Chunk
    from unlearning.base_model import BaseModel, Companions

Phase = Literal["pre", "post"]

PAPER = "Rizwan et al. 2024 (arXiv 2410.03043)"


@dataclass(frozen=True)
class Column:
    """One factor, under its name in SQL.

    Attributes:
        title: what tables and figures call it; the paper's name where the paper has it.
        harder: whether `high` or `low` values go with hard samples: in the paper's findings or,
            where it has none, by the idea of the factor.
        undefined: when the value is NULL, in words; empty where it never is.
        source: where the definition was published, where that is not the paper.
        family, phase: filled in by the family.
    """

    name: str
    title: str
    unit: str
    harder: Literal["high", "low"]
    description: str
    undefined: str = ""
    source: str = PAPER
    family: str = ""
    phase: Phase = "post"

    @property
    def metric(self) -> str:
        """Its name in MLflow, whose charts are grouped by what is before the slash."""
        return self.name if self.family == "outcome" else f"{self.family}/{self.name}"


Pre = Callable[["BaseModel", "Tensor"], Mapping[str, "Tensor"]]
Post = Callable[["Chunk"], Mapping[str, "Tensor"]]


@dataclass(frozen=True)
class Family:
    """The columns of a family, and the function that computes them for K members, (K,) each.

    Attributes:
        declared: the columns, without family and phase.
        pre: computes them from the base model and the positions (K,) of the forget samples.
        post: computes them from an evaluated chunk. Exactly one of `pre` and `post` is given; a
            value that is undefined is NaN.
        of_companions: what of the base model's companions the values of a sample (by its id) follow
            from: a tensor, or anything with a `repr`. Companions can be trained later, and then
            such values are out of date. None where they are of no companions.
        is_logged: whether `post` looks only at what is logged of an attempt (status, steps, time
            and curves), not at its weights, which may not be kept.
        of_histories: whether `post` looks at the curves `forget_prob` and `forget_loss` of an
            attempt, which may not be kept either.
        version: to be raised where values come out otherwise than before, so that those in stores
            are measured again.
    """

    name: str
    declared: tuple[Column, ...]
    pre: Pre | None = None
    post: Post | None = None
    of_companions: Callable[[Companions, int], object] | None = None
    is_logged: bool = False
    of_histories: bool = False
    version: int = 1

    @property
    def phase(self) -> Phase:
        """Whether it looks at the base model or at the unlearned ones."""
        return "post" if self.pre is None else "pre"

    @property
    def key(self) -> str:
        """What tells it apart: a `pre` and a `post` family may have one name."""
        return f"{self.phase}/{self.name}"

    @property
    def columns(self) -> list[Column]:
        """The declared columns with family and phase filled in."""
        return [replace(column, family=self.name, phase=self.phase) for column in self.declared]


def declares_its_columns(family: Family) -> None:
    """Raise AssertionError where it is no Family, or its columns do not say what they have to."""
    hold(isinstance(family, Family), f"it is a {type(family).__name__}, not a Family")
    whose = f"the factor family '{family.name}'"
    is_one = (family.pre is None) != (family.post is None)
    hold(is_one, f"{whose} has to have either `pre` or `post`")
    hold(family.declared, f"{whose} declares no columns")
    names = [column.name for column in family.declared]
    hold(len({*names}) == len(names), f"{whose} declares a column twice: {', '.join(names)}")
    for column in family.columns:
        factor = f"the factor '{column.metric}'"
        hold(column.name.isidentifier(), f"{factor} is called '{column.name}': {IDENTIFIER}")
        for attribute in ("title", "description"):
            hold(getattr(column, attribute), f"{factor} has no {attribute}")
        known = column.harder in ("high", "low")
        hold(known, f"{factor} has '{column.harder}' for `harder`, which is high or low")


def pre_values(base: BaseModel, families: Iterable[Family], positions: Tensor) -> dict[str, Tensor]:
    """All `pre` factors of samples at `positions` (K,): by name, (K,) float64 in main memory."""
    values: dict[str, Tensor] = {}
    for family in families:
        if family.pre is not None:
            values |= family.pre(base, positions)
    return {name: value.cpu().double() for name, value in values.items()}


def post_values(chunk: Chunk, families: Iterable[Family]) -> dict[str, Tensor]:
    """All `post` factors of a chunk: by name, (K,) float64 in main memory.

    NaN for the members for which unlearning was not run.
    """
    values: dict[str, Tensor] = {}
    for family in families:
        if family.post is not None:
            values |= family.post(chunk)
    return {name: value.cpu().double().where(chunk.ran, math.nan) for name, value in values.items()}
