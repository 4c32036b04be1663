"""Factors: named numbers that may explain how hard a sample is to unlearn.

One module a family. `pre` families see the base model only and are computed once a sample; `post`
families see the unlearned models of a chunk. Families are found by their modules: adding one is
one new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from unlearning.errors import UserError

if TYPE_CHECKING:
    from factors.family import Column, Family
    from unlearning.algorithm import Algorithm

NOT_FAMILIES = ("evaluation", "family")  # modules that have no family
HISTORIES = ("forget_prob", "forget_loss")  # metrics of a member beside its factors


def families() -> list[Family]:
    """Every family, in the order of the modules' names.

    Raises UserError where two columns have one name, or where a name is not an identifier.
    """
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_FAMILIES)
    found = [importlib.import_module(f"{__name__}.{name}").FAMILY for name in modules]
    taken = {name: f"the history '{name}'" for name in HISTORIES}
    for column in _columns(found):
        _refuse_ambiguous(column.metric, column.name, taken)
        taken[column.name] = f"the factor '{column.metric}'"
    return found


def columns() -> list[Column]:
    """Every column of every family. Raises as `families` does."""
    return _columns(families())


def refuse_ambiguous(algorithms: Iterable[Algorithm]) -> None:
    """Raise UserError where a detail that one of them logs would be taken for a factor.

    A detail is the metric `algorithm/detail`, a factor `family/factor`, and in SQL a factor has
    the last part for its name.
    """
    taken = {column.name: f"the factor '{column.metric}'" for column in columns()}
    for algorithm in algorithms:
        for detail in algorithm.logged:
            _refuse_ambiguous(f"{algorithm.name}/{detail}", detail, taken)


def _columns(families: Iterable[Family]) -> list[Column]:
    return [column for family in families for column in family.columns]


def _refuse_ambiguous(metric: str, name: str, taken: Mapping[str, str]) -> None:
    if not name.isidentifier():
        raise UserError(
            f"the metric '{metric}' cannot end in '{name}': a name takes letters, digits and _, "
            "and does not begin with a digit"
        )
    if name in taken:
        raise UserError(
            f"the metric '{metric}' has the name of {taken[name]}, and in SQL they would be one: "
            "name it otherwise"
        )
