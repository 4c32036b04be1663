"""What can be asked: a command is a frozen dataclass, and its fields are its options.

Each command is written once, in `make`, `ask` or `keep`; `table` has them all by name. The command
line makes click's options of its fields (`tracker.cli.options`), Python its keywords with their
documentation (`tracker.api.keywords`). Both make a command by `made`, so that a value is read,
checked and refused in one place, and have it done by `Command.do`. Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, dataclass_transform

from tracker.commands.kinds import FLAG, SHORT, Kind, Wrong
from unlearning.errors import UserError
from unlearning.naming import nearest

NOT_GIVEN: Any = dataclasses.MISSING
RESUMES = "stopped; the same command goes on where it stopped"
Rules = tuple[tuple[str, ...], ...]  # names of fields that go together, or do not
Spell = Callable[[str], str]  # how the user writes the name of a field, such as --sample-ids


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        kind: which values it takes. about: what it is; a function where that names what other
            people's packages bring.
        flag: on the command line, where that is not the field's name: `--lambda`, or `RUN...` for
            an argument, which has no dashes.
        many: whether it may be given several times; its value is a tuple then.
        shown: the default in words, where the value does not say it.
        advanced: whether help lists it below the options that people use.
        on: where it is: `both`, or `line` for the command line only.
    """

    kind: Kind
    about: str | Callable[[], str]
    flag: str = ""
    many: bool = False
    shown: str = ""
    advanced: bool = False
    on: str = "both"

    @property
    def help(self) -> str:
        """What it is."""
        return self.about if isinstance(self.about, str) else self.about()

    def read(self, value: Any) -> Any:
        """The value of a field. Raises ValueError or TypeError where it is not accepted."""
        if not self.many or self.kind.gathers:
            return self.kind.read(value)
        several = (value,) if isinstance(value, str) else tuple(value)
        return tuple(self.kind.read(each) for each in several)


def option(
    kind: Kind,
    about: str | Callable[[], str],
    default: Any = None,
    *,
    required: bool = False,
    **more: Any,
) -> Any:
    """A field of a command. More: see `Option`."""
    if default is None:
        default = () if more.get("many") else False if kind is FLAG else None
    metadata = {"option": Option(kind, about, **more)}
    return dataclasses.field(default=NOT_GIVEN if required else default, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
class Command:
    """What is asked for. A subclass is a frozen dataclass by itself; its docstring is the help.

    Attributes:
        does: `module:function` that the command line and Python call with a place and the command;
            empty for what several commands share.
        shows: `module:function` that prints on the command line what came of it, called with the
            session, the command and the result; empty where `does` prints by itself.
        example: command lines that end the help.
        stopped: what the command line says where it was stopped.
        requires: inherited fields that have to be given.
        needs: fields, each before those of which one has to be given for it to have an effect.
        exclusive: fields of which only one can be given. A class adds to those of its bases.
    """

    does: ClassVar[str] = ""
    shows: ClassVar[str] = ""
    example: ClassVar[str] = ""
    stopped: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Rules] = ()
    exclusive: ClassVar[Rules] = ()

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def check(self, spell: Spell) -> None:
        """Raise UserError for values that do not go together. Spell: writes a field's name."""

    def do(self, place: Any) -> Any:
        """Do it in a place, and give what came of it. What does it is imported only now."""
        return function(self.does)(place, self)


Asked = TypeVar("Asked", bound=Command)


def function(name: str) -> Callable[..., Any]:
    """The function of `module:function`."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def options(kind: type[Command]) -> dict[str, Option]:
    """The options of a command by the names of their fields, those that people use first."""
    found = {each.name: each.metadata["option"] for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return dict(sorted(found.items(), key=lambda item: item[1].advanced))


def default_of(kind: type[Command], name: str) -> Any:
    """The default of an option; NOT_GIVEN where a value is required."""
    return kind.__dataclass_fields__[name].default  # type: ignore[attr-defined]


def made(
    kind: type[Asked],
    values: Mapping[str, object],
    spell: Spell = str,
    owns: Callable[[Path], bool] = lambda path: False,
) -> Asked:
    """A command of the values that were given, by name.

    Args:
        spell: writes the name of a field as the user did.
        owns: whether a path is the store's own, which nothing is written to.

    Raises UserError for an unknown name, a value that is not accepted, one that is missing or has
    no effect, and for what the command's own `check` refuses.
    """
    known, read = options(kind), dict[str, Any]()
    for name, value in values.items():
        if name not in known:
            raise UserError(f"there is no {spell(name)}{nearest(name, known)}")
        try:
            read[name] = known[name].read(value)
        except (ValueError, TypeError, OverflowError, OSError) as error:
            given = SHORT.repr(value) + (f", {error}" if isinstance(error, Wrong) else "")
            raise UserError(
                f"{spell(name)} is {given}: it takes {known[name].kind.said}"
            ) from error
        if known[name].kind.writes and owns(read[name]):
            raise UserError(f"{spell(name)} is {read[name]}, the store's own: name another")
    for name, one in known.items():
        is_required = default_of(kind, name) is NOT_GIVEN or name in kind.requires
        if is_required and read.get(name) in (None, ()):
            raise UserError(f"{spell(name)} is missing: {one.help}")
    for problem in _together(kind, [name for name in read if read[name] is not False], spell):
        raise UserError(problem)
    command = kind(**read)
    command.check(spell)
    return command


def _together(kind: type[Command], given: list[str], spell: Spell) -> Iterator[str]:
    """What is wrong with giving these options together."""
    for own in map(vars, kind.__mro__):
        for names in own.get("exclusive", ()):
            first, *others = [spell(name) for name in names if name in given] or [""]
            for other in others:
                yield f"{other} has no effect with {first}: they exclude each other"
        for name, *others in own.get("needs", ()):
            if name in given and not {*others} & {*given}:
                yield f"{spell(name)} has no effect without {' or '.join(map(spell, others))}"
