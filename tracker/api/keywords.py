"""Commands in Python: a method whose keywords are the command's fields."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from tracker.commands import NOT_GIVEN, Command, default_of, function, made, options

WIDTH = 88  # of a docstring


def verb(
    kind: type[Command],
    returns: str,
    about: str,
    *places: str,
    gives: Callable[[Any, Any, Any], Any] = lambda store, command, found: found,
    example: str = "",
    does: str = "",
) -> Callable[..., Any]:
    """A method of `Store` that does a command: it takes the command's fields as keywords.

    Signature and documentation are those of the fields. Nothing is asked for by a keyword of None.

    Args:
        kind: of the command, by whose name the method is called.
        returns: the annotation of what the method returns. about: what that is.
        places: fields that are taken by their place; the last one takes all that are left if it may
            be given several times.
        gives: what the method returns, of the store, the command and what came of it.
        example: lines of Python. does: `module:function`, if not the command's own.
    """
    known = {name: one for name, one in options(kind).items() if one.on != "line"}
    called = kind.__name__.lower()

    def method(self: Any, *given: Any, **keywords: Any) -> Any:
        values = dict(zip(places, given, strict=False))
        if places and known[places[-1]].many:
            values[places[-1]] = given[len(places) - 1 :]
        elif len(given) > len(places):
            raise TypeError(f"{called} takes {len(places)} values by their place")
        values |= {name: value for name, value in keywords.items() if value is not None}
        command = made(kind, values, owns=self._place.owns)
        return gives(self, command, function(does or kind.does)(self._place, command))

    method.__name__, method.__qualname__ = called, f"Store.{called}"
    method.__signature__ = signature(kind, places, returns)  # type: ignore[attr-defined]
    method.__doc__ = documentation(kind, about, example)
    return method


def signature(kind: type[Command], places: tuple[str, ...], returns: str) -> inspect.Signature:
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
    return inspect.Signature(order, return_annotation=returns)


def documentation(kind: type[Command], about: str, example: str) -> str:
    """The docstring of a method: what the command does, its arguments, what the method returns."""
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
    parts += ["\n".join(["Args:", *said]), f"Returns:\n    {about}"]
    lines = [f"    >>> {line}" for line in example.splitlines()]
    return "\n\n".join([*parts, *(["\n".join(["Example:", *lines])] if lines else [])])
