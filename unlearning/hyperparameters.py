"""Hyper-parameters: the fields of an algorithm, with what they mean and which values they take."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from unlearning.errors import UserError
from unlearning.naming import nearest

LARGEST = 2**31 - 1  # steps that may be counted, and far from float32's largest

Setting = float | int | str


class Between(NamedTuple):
    """The values among which good ones are looked for: see `indelible tune`."""

    low: float
    high: float
    log: bool = True  # whether by orders of magnitude

    def __str__(self) -> str:
        """In words."""
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Accepts:
    """What a hyper-parameter means and which values it takes.

    Attributes:
        searched: among which of them `indelible tune` looks for good ones: a range of numbers, or
            some of the choices; None where it leaves the hyper-parameter as it is.
    """

    description: str
    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = LARGEST
    choices: tuple[str, ...] = ()
    searched: Between | tuple[str, ...] | None = None

    def __str__(self) -> str:
        """The accepted values in words."""
        if self.choices:
            return " or ".join(self.choices)
        ends = {">": self.above, ">=": self.at_least, "<=": self.at_most}
        shown = (f"{sign} {end:g}" for sign, end in ends.items() if abs(end) < LARGEST)
        return " and ".join(shown)

    def admits(self, value: Setting) -> bool:
        """Whether the value is one of the accepted ones."""
        if isinstance(value, str):
            return value in self.choices
        return self.above < value and self.at_least <= value <= self.at_most


def hyperparameter(default: Setting, description: str, **accepted: Any) -> Any:
    """A field of an algorithm: its default, what it means and what it accepts (see Accepts)."""
    return dataclasses.field(
        default=default, metadata={"accepts": Accepts(description, **accepted)}
    )


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A dataclass whose fields are hyper-parameters. Raises UserError for values out of range."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            accepts, value = field.metadata.get("accepts"), getattr(self, field.name)
            if accepts is None:
                raise TypeError(f"{field.name} is not declared by `hyperparameter(...)`")
            if not accepts.admits(value):
                is_large = not isinstance(value, str) and value > LARGEST
                said = f"at most {LARGEST} is taken" if is_large else f"accepted is {accepts}"
                raise UserError(f"{self.name}.{field.name} is {value}: {said}")

    def settings(self) -> dict[str, Setting]:
        """Every hyper-parameter by name, defaults too."""
        return dataclasses.asdict(self)

    @classmethod
    def from_text(cls, settings: Mapping[str, Setting]) -> Self:
        """An instance from hyper-parameters as a command line or a file gives them.

        Raises UserError for a name that the algorithm does not have, a value of another type or
        one out of range.
        """
        types = typing.get_type_hints(cls)
        fields = [field.name for field in dataclasses.fields(cls)]
        converted: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in fields:
                choices = f"choose one of {', '.join(fields)}" if fields else "it has no settings"
                raise UserError(f"{cls.name} has no '{name}'{nearest(name, fields)}: {choices}")
            kind = types[name]
            with suppress(ValueError, TypeError, OverflowError):
                converted[name] = kind(value)
            is_same = isinstance(value, str) or converted.get(name) == value  # not 2.5 for int
            if name not in converted or not is_same or isinstance(value, bool):
                raise UserError(
                    f"{cls.name}.{name} is '{value}': it takes a value of type {kind.__name__}"
                )
        return cls(**converted)
