"""What a factor family is; which families there are; their values, checked, and their versions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from unlearning import algorithms
from unlearning.errors import UserError, hold
from unlearning.naming import IDENTIFIER, nearest
from unlearning.registry import MODULE, Provider, Registry, remark
from unlearning.version import VERSION

if TYPE_CHECKING:
    from torch import Tensor

    from factors.evaluation import Chunk
    from unlearning.algorithm import Algorithm
    from unlearning.base_model import BaseModel, Companions

Phase = Literal["pre", "post"]

PAPER = "Rizwan et al. 2024 (arXiv 2410.03043)"
SAMPLES = ("base_run_id", "sample_id", "split_position", "label")  # its columns beside factors
NO_HEAD = "the logits of the network come out of no linear layer"  # and it has no features
HISTORIES = ("forget_prob", "forget_loss")  # metrics of a member beside its factors


@dataclass(frozen=True)
class Column:
    """One factor, under its name in SQL.

    Attributes:
        title: what tables and figures call it; the paper's name where the paper has it.
        harder: whether `high` or `low` values go with hard samples: in the paper's findings or,
            where it has none, by the idea of the factor.
        undefined: when the value is NULL, in words; empty where it never is.
        source: where the definition was published.
        family, phase: filled in by the family, as are `undefined` and `source` where it has them.
    """

    name: str
    title: str
    unit: str
    harder: Literal["high", "low"]
    description: str = ""
    undefined: str = ""
    source: str = ""
    family: str = ""
    phase: Phase = "post"

    def defined(self, description: str, undefined: str = "", source: str = "") -> Column:
        """The same, with its definition."""
        return replace(self, description=description, undefined=undefined, source=source)

    @property
    def metric(self) -> str:
        """Its name in MLflow, whose charts are grouped by what is before the slash."""
        return self.name if self.family == "outcome" else f"{self.family}/{self.name}"


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
        is_optional: whether it is measured only where it is asked for by its name, such as for what
            it costs.
        version: to be raised where values come out otherwise than before, so that those in stores
            are measured again.
        undefined, source: of the columns that do not say it themselves.
    """

    name: str
    declared: tuple[Column, ...]
    pre: Callable[[BaseModel, Tensor], Mapping[str, Tensor]] | None = None
    post: Callable[[Chunk], Mapping[str, Tensor]] | None = None
    of_companions: Callable[[Companions, int], object] | None = None
    is_logged: bool = False
    of_histories: bool = False
    is_optional: bool = False
    version: int = 1
    undefined: str = ""
    source: str = ""

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
        """The declared columns, with what is the same for all of them filled in."""
        return [
            replace(
                column,
                undefined=column.undefined or self.undefined,
                source=column.source or self.source,
                family=self.name,
                phase=self.phase,
            )
            for column in self.declared
        ]


def declares_its_columns(family: Family) -> None:
    """Raise AssertionError where it is no Family, or its columns do not say what they have to."""
    hold(isinstance(family, Family), f"it is a {type(family).__name__}, not a Family")
    is_one = (family.pre is None) != (family.post is None)
    hold(is_one, f"the factor family '{family.name}' has to have either `pre` or `post`")
    for name in (column.name for column in family.declared):
        hold(name.isidentifier(), f"a factor of '{family.name}' is called '{name}': {IDENTIFIER}")


def _check(family: Family) -> None:
    declares_its_columns(family)
    taken = family.name in {one.name for one in ours()}
    hold(not taken, f"Indelible itself has a family '{family.name}'")


REGISTRY: Registry[Any] = Registry(
    "factor family",
    "factors",
    "FAMILIES",
    group="indelible.factors",
    check=_check,
    name_of=lambda family: family.name,
    otherwise=", or write module:package.module:FAMILY",
)


@cache
def ours() -> tuple[Family, ...]:
    """Our own families, in the order of their functions' names."""
    found = [family for module in REGISTRY.ours() for family in REGISTRY.get(module)]
    return tuple(sorted(found, key=lambda one: getattr(one.pre or one.post, "__name__", one.name)))


def families(asked: Iterable[str] = ()) -> list[Family]:
    """The families that are measured: those of `every` but the optional ones not asked for.

    Args:
        asked: names of optional families, and `module:package.module:FAMILY` each for families of
            the user's own.

    Raises UserError as `every` does, and for a name that no optional family has.
    """
    asked = dict.fromkeys(asked)
    own = {REGISTRY.get(name).name for name in asked if name.startswith(MODULE)}
    names, found = {name for name in asked if not name.startswith(MODULE)}, every(asked)
    optional = {family.name for family in found if family.is_optional}
    for name in sorted(names - optional):
        raise UserError(
            f"no optional {REGISTRY.kind} is '{name}'{nearest(name, optional)}: choose one of "
            f"{', '.join(sorted(optional))}{REGISTRY.otherwise}; all others are measured anyway"
        )
    return [one for one in found if not one.is_optional or one.name in names | own]


def every(asked: Iterable[str] = ()) -> list[Family]:
    """Every family, optional ones too: ours, other people's, and the user's own that are asked for.

    A family of other people's with a name that is taken is left out, with a remark.

    Args:
        asked: of it, `module:package.module:FAMILY` each, for families of the user's own.

    Raises UserError where one of these has a name that is taken.
    """
    own = [REGISTRY.get(name) for name in dict.fromkeys(asked) if name.startswith(MODULE)]
    found, known = [*ours()], map(algorithms.get, algorithms.REGISTRY.ours())
    details = {name for algorithm in known for name in algorithm.logged}
    for family in [*REGISTRY.others().values(), *own]:
        try:
            for column in family.columns:
                refuse_taken(column.metric, {*SAMPLES, *HISTORIES, *details}, found)
        except UserError as error:
            if family in own:
                raise
            remark(f"{REGISTRY.in_words(family.name)} is left out: {error}")
        else:
            found.append(family)
    return found


def columns(of: Iterable[Family] | None = None) -> list[Column]:
    """Every column of these families, or of those always measured. Raises as `families` does."""
    return [column for family in (families() if of is None else of) for column in family.columns]


def provider(name: str) -> Provider | None:
    """Who brings the family of that name; None if we do, or if nobody registered it."""
    return None if name in {family.name for family in ours()} else REGISTRY.provider(name)


def described(column: Column) -> dict[str, str]:
    """A factor as its row in the catalog."""
    row = {"factor" if name == "name" else name: value for name, value in vars(column).items()}
    who = provider(column.family)
    return row | ({"provider": str(who)} if who else {})


def refuse_ambiguous(chosen: Iterable[Algorithm], families: Iterable[Family] | None = None) -> None:
    """Raise UserError where a detail that one of them logs would be taken for a factor.

    Args:
        families: whose factors; all if None.
    """
    taken = {column.name for column in columns(every() if families is None else families)}
    for algorithm in chosen:
        for detail in algorithm.logged:
            refuse_taken(f"{algorithm.name}/{detail}", taken)


def refuse_taken(metric: str, taken: Iterable[str], families: Iterable[Family] = ()) -> None:
    """Raise UserError where the last part of a metric's name, which SQL has, is taken."""
    name = metric.rpartition("/")[2].lower()
    if name in {other.lower() for other in (*taken, *(c.name for c in columns(families)))}:
        raise UserError(
            f"the metric '{metric}' has a name that is taken, and in SQL the two would be one: "
            "name it otherwise"
        )


def pre_values(base: BaseModel, families: Iterable[Family], positions: Tensor) -> dict[str, Tensor]:
    """All `pre` factors of samples at `positions` (K,): by name, (K,) float64 in main memory.

    Raises UserError where a family gives not what it declares, Raised where another's fails.
    """
    computed = [(f, partial(f.pre, base, positions)) for f in families if f.pre is not None]
    return _numbers(computed, (positions == positions).cpu())


def post_values(chunk: Chunk, families: Iterable[Family]) -> dict[str, Tensor]:
    """All `post` factors of a chunk: by name, (K,) float64 in main memory.

    NaN for the members for which unlearning was not run. Raises as `pre_values` does.
    """
    computed = [(family, partial(family.post, chunk)) for family in families if family.post]
    return _numbers(computed, chunk.ran)


def _numbers(
    computed: Iterable[tuple[Family, Callable[[], Mapping[str, Any]]]], ran: Tensor
) -> dict[str, Tensor]:
    """What families give as float64, (K,) each, NaN for the members that were not `ran` (K,)."""
    import torch  # `--help` does without

    values: dict[str, Tensor] = {}
    for family, compute in computed:
        with REGISTRY.by(family.name):
            found = {n: torch.as_tensor(v).detach().cpu().double() for n, v in compute().items()}
            given = {name: tuple(numbers.shape) for name, numbers in found.items()}
            expected = {column.name: tuple(ran.shape) for column in family.declared}
            if given != expected:
                raise UserError(
                    f"{REGISTRY.in_words(family.name)} gives {given}, where {expected} is "
                    "expected: one number for each member and declared column"
                )
            found = {name: numbers.where(ran, math.nan) for name, numbers in found.items()}
            if family not in ours() and any(numbers.isinf().any() for numbers in found.values()):
                whose = REGISTRY.in_words(family.name)  # MLflow would log a number that is finite
                raise UserError(f"{whose} gives infinity, where NaN says that it is undefined")
            values |= found
    return values


def version_for(family: Family, companions: Companions, sample_ids: Iterable[int]) -> str:
    """The version of the values of some samples: a value of another version is out of date.

    It has the versions of the engine and of the family, a digest of who provides this, if not us,
    and, where it looks at companions of the base model, one of what they say of the samples.
    """
    whose, version = provider(family.name), f"{VERSION}-{family.version}"
    if whose is not None:
        version += f"-{_digest(str(whose).encode())}"
    if family.of_companions is None:
        return version
    said = b""
    for sample in sample_ids:
        with REGISTRY.by(family.name):
            part: Any = family.of_companions(companions, sample)
        is_tensor = hasattr(part, "detach")
        said += part.detach().cpu().numpy().tobytes() if is_tensor else repr(part).encode()
        said += b";"
    return f"{version}.{_digest(said)}"


def versions(families: Sequence[Family], companions: Companions, sample: int) -> dict[str, str]:
    """The versions of a sample's values, by the keys of the families."""
    return {family.key: version_for(family, companions, [sample]) for family in families}


def _digest(said: bytes) -> str:
    return hashlib.sha256(said).hexdigest()[:8]
