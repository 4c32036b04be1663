"""Commands in Python: a method whose keywords are the command's fields."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from tracker.commands import NOT_GIVEN, Command, default_of, made, options

Result = TypeVar("Result")

WIDTH = 88  # of a docstring


def asks(
    kind: type[Command], *places: str
) -> Callable[[Callable[[Any, Any], Result]], Callable[..., Result]]:
    """Make a method of one that takes a command: it takes the command's fields as keywords.

    Signature and documentation are those of the fields. Nothing is asked for by a keyword of None.

    Args:
        kind: of the command. places: fields that are taken by their place; the last one takes all
            that are left if it may be given several times.
    """
    known = {name: one for name, one in options(kind).items() if one.on != "line"}

    def decorate(method: Callable[[Any, Any], Result]) -> Callable[..., Result]:
        @functools.wraps(method)
        def method_of(self: Any, *given: Any, **keywords: Any) -> Result:
            values = dict(zip(places, given, strict=False))
            if places and known[places[-1]].many:
                values[places[-1]] = given[len(places) - 1 :]
            elif len(given) > len(places):
                raise TypeError(f"{method.__name__} takes {len(places)} values by their place")
            values |= {name: value for name, value in keywords.items() if value is not None}
            return method(self, made(kind, values, owns=self._place.owns))

        returns = method.__annotations__["return"]
        own = signature(kind, places).replace(return_annotation=returns)
        method_of.__signature__ = own  # type: ignore[attr-defined]
        method_of.__doc__ = documentation(kind, method.__doc__ or "")
        return method_of

    return decorate


def signature(kind: type[Command], places: tuple[str, ...]) -> inspect.Signature:
    """The signature that a method has by a command."""
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name, one in options(kind).items():
        if one.on == "line":
            continue
        default = default_of(kind, name)
        how: Any = inspect.Parameter.KEYWORD_ONLY
        is_optional = default is None and not one.kind.python.endswith("| None")
        annotation = f"{one.kind.python} | None" if is_optional else one.kind.python
        if name in places:
            how = inspect.Parameter.POSITIONAL_OR_KEYWORD
            if one.many:
                how, default = inspect.Parameter.VAR_POSITIONAL, NOT_GIVEN
        elif one.many and not one.kind.gathers:
            annotation = f"Iterable[{annotation}]"
        empty = inspect.Parameter.empty if default is NOT_GIVEN else default
        parameters.append(inspect.Parameter(name, how, default=empty, annotation=annotation))
    order = sorted(parameters, key=lambda parameter: parameter.kind)
    return inspect.Signature(order)


def documentation(kind: type[Command], own: str) -> str:
    """The docstring of a method: what the command does, its arguments, what comes of it.

    Args:
        own: the method's own docstring: what comes of it, and an example.
    """
    said = [
        textwrap.fill(
            f"{name}: {one.help}{f' Default: {one.shown}.' if one.shown else ''}",
            WIDTH,
            initial_indent="    ",
            subsequent_indent="        ",
            break_on_hyphens=False,
        )
        for name, one in options(kind).items()
        if one.on != "line"
    ]
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    parts = [textwrap.fill(each, WIDTH, break_on_hyphens=False) for each in paragraphs]
    parts.append("\n".join(["Args:", *said]))
    returns, _, example = inspect.cleandoc(own).partition("\n\n")
    parts.append("Returns:\n" + textwrap.indent(returns, "    "))
    return "\n\n".join([*parts, example]).strip()
