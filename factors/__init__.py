"""Factors: named numbers that may explain how hard a sample is to unlearn.

One module a family, that sets `FAMILY`. `pre` families see the base model only and are computed
once a sample; `post` families see the unlearned models of a chunk. Adding one is one new file.
Other people's come by the entry points `indelible.factors`, and the user's own as
`module:package.module:FAMILY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from unlearning import algorithms
from unlearning.errors import UserError
from unlearning.registry import Registry, remark

if TYPE_CHECKING:
    from factors.family import Column, Family
    from unlearning.algorithm import Algorithm

SAMPLES = ("base_run_id", "sample_id", "split_position", "label")  # its columns beside factors
HISTORIES = ("forget_prob", "forget_loss")  # metrics of a member beside its factors


def _check(family: Family) -> None:
    from factors.family import declares_its_columns

    declares_its_columns(family)
    if family.name in {ours.name for ours in _ours()}:
        raise ValueError(f"Indelible itself has a family '{family.name}'")


REGISTRY: Registry[Family] = Registry(
    "factor family",
    __name__,
    "FAMILY",
    group="indelible.factors",
    check=_check,
    name_of=lambda family: family.name,
    otherwise=", or write module:package.module:FAMILY",
)

provider = REGISTRY.provider


def families(asked: Iterable[str] = ()) -> list[Family]:
    """Every family: ours in the order of the modules' names, other people's, and those asked for.

    A family of other people's with a name that is taken is left out, with a remark.

    Args:
        asked: `module:package.module:FAMILY` each, for families of the user's own.

    Raises UserError where one of these has a name that is taken.
    """
    from factors.declared import held_to_its_word

    found = _ours()
    others, own = REGISTRY.others(), [REGISTRY.get(name) for name in dict.fromkeys(asked)]
    for family in [*others.values(), *own]:
        try:
            _refuse_taken(family, found)
        except UserError as error:
            if family in own:
                raise
            remark(f"{REGISTRY.in_words(family.name)} is left out: {error}")
        else:
            found.append(held_to_its_word(family, REGISTRY))
    return found


def columns(of: Iterable[Family] | None = None) -> list[Column]:
    """Every column of these families, or of all. Raises as `families` does."""
    return [column for family in (families() if of is None else of) for column in family.columns]


def described(column: Column) -> dict[str, str]:
    """A factor as its row in the catalog."""
    row = {"factor" if name == "name" else name: value for name, value in vars(column).items()}
    who = provider(column.family)
    return row | ({"provider": str(who)} if who else {})


def refuse_ambiguous(chosen: Iterable[Algorithm], families: Iterable[Family] | None = None) -> None:
    """Raise UserError where a detail that one of them logs would be taken for a factor.

    A detail is the metric `algorithm/detail`, a factor `family/factor`, and in SQL a factor has
    the last part for its name.

    Args:
        families: whose factors; all if None.
    """
    taken = {column.name: _said(column) for column in columns(families)}
    for algorithm in chosen:
        whose = _of(algorithms.provider(algorithm.name))
        for detail in algorithm.logged:
            _refuse(f"metric '{algorithm.name}/{detail}'{whose}", detail, taken)


def _ours() -> list[Family]:
    return [REGISTRY.get(name) for name in REGISTRY.ours()]


def _refuse_taken(family: Family, found: Iterable[Family]) -> None:
    """Raise UserError where a column has a name that is taken by what was found before it."""
    taken = {name: f"the column '{name}' of samples" for name in SAMPLES}
    taken |= {name: f"the history '{name}'" for name in HISTORIES}
    taken |= {column.name: _said(column) for column in columns(found)}
    for algorithm in map(algorithms.get, algorithms.REGISTRY.ours()):
        taken |= {name: f"the detail '{algorithm.name}/{name}'" for name in algorithm.logged}
    for column in family.columns:
        _refuse(f"metric '{column.metric}'", column.name, taken)


def _said(column: Column) -> str:
    return f"the factor '{column.metric}'{_of(provider(column.family))}"


def _of(provider: object) -> str:
    return f" of {provider}" if provider else ""


def _refuse(metric: str, name: str, taken: Mapping[str, str]) -> None:
    same = next((known for known in taken if known.lower() == name.lower()), None)
    if same is not None:
        raise UserError(
            f"the {metric} has the name of {taken[same]}, and in SQL they would be one: "
            "name it otherwise"
        )
