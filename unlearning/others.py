"""Exceptions that other people's code raises: whose it was, what it raised, and where.

What is ours and raises one has a mistake, whose traceback is wanted. Of a method of somebody
else's, or of the user's own, a line says more.
"""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType
from typing import TYPE_CHECKING

from unlearning.errors import Failure, UserError, words_of
from unlearning.registry import MODULE, Known, known

if TYPE_CHECKING:
    from unlearning.algorithm import Algorithm

NEVER = ("unlearning", "factors", "tracker", "analysis", "indelible", "torch")  # are to blame
NETWORK = "torch.nn.modules.module"  # calls the code of an architecture
ALGORITHM, ARCHITECTURE = "algorithm", "architecture"  # kinds
LONGEST = 300  # characters of what an exception says


class Raised(Failure):
    """An exception of other people's code.

    Attributes:
        whose: by kind, the names of what raised it: several where it cannot be told which.
        line: says it. trace: the traceback.
    """

    def __init__(self, whose: frozenset[tuple[str, str]], line: str, trace: str) -> None:
        super().__init__(whose, line, trace)
        self.whose, self.line, self.trace = whose, line, trace

    @classmethod
    def of(cls, algorithm: str, said: str) -> Raised:
        """What is found wrong with an algorithm where it is used."""
        things = [t for t in known() if (t.kind, t.name) == (ALGORITHM, algorithm)]
        line = f"{_in_words(things) or f'the algorithm {algorithm!r}'} {said}"
        return cls(frozenset({(ALGORITHM, algorithm)}), line, "".join(traceback.format_stack()))

    def __str__(self) -> str:
        return self.line

    def is_of(self, algorithm: Algorithm) -> bool:
        """Whether it is known to be an exception of this algorithm."""
        return self.whose == {(ALGORITHM, algorithm.name)}


def raised_by(error: BaseException) -> Raised | None:
    """An exception as one of other people's code.

    None where it comes out of none, or was raised on purpose: as UserError or Failure.
    """
    if isinstance(error, Raised):
        return error
    if isinstance(error, (UserError, Failure)):
        return None
    calls = [
        (str(frame.f_globals.get("__name__")), frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    others = [call for call in calls if _package(call[0]) not in NEVER]
    whose = _whose(others, any(module == NETWORK for module, *_ in calls))
    if not whose:
        return None
    packages = {_package(module) for thing in whose for module in thing.modules}
    _, code, line = next(call for call in reversed(others) if _package(call[0]) in packages)
    what = textwrap.shorten(" ".join(words_of(error).split()), LONGEST, placeholder=" ...")
    return Raised(
        frozenset((thing.kind, thing.name) for thing in whose),
        f"{_in_words(whose)} raised {type(error).__name__}{what and f': {what}'} "
        f"({code.co_filename}:{line})",
        "".join(traceback.format_exception(error)),
    )


@contextmanager
def blamed() -> Iterator[None]:
    """A context that raises as Raised, which other processes understand, what others raise."""
    try:
        yield
    except (Exception, SystemExit, GeneratorExit) as error:
        raised = raised_by(error)
        if raised is None or raised is error:
            raise
        raise raised from error


Call = tuple[str, CodeType, int]  # in a traceback: the module, the code and the line


def _whose(calls: Sequence[Call], in_network: bool) -> list[Known]:
    """What raised an exception, of what is not ours.

    Args:
        calls: of the exception, of other modules than ours; the innermost is the last.
        in_network: whether a network was called.
    """
    things = [thing for thing in known() if _is_called(calls, in_network, thing)]
    for module, code, _ in calls:
        called = [thing for thing in things if _is_in(module, code.co_qualname, thing)]
        if called:
            return called
    if in_network:
        things = [thing for thing in things if thing.kind == ARCHITECTURE] or things
    for module, *_ in reversed(calls):
        there = [thing for thing in things if module in thing.modules]
        if there:
            return there
    return things


def _is_called(calls: Sequence[Call], in_network: bool, thing: Known) -> bool:
    """Whether code of a thing's modules was called; of its package, where that tells enough.

    The user's own package may hold anything, also what has nothing to do with the thing.
    """
    is_own = thing.whose.startswith(MODULE) and not (in_network and thing.kind == ARCHITECTURE)
    part = str if is_own else _package
    return not {part(module) for module, *_ in calls}.isdisjoint(map(part, thing.modules))


def _is_in(module: str, name: str, thing: Known) -> bool:
    """Whether code of that qualified name is the thing's own."""
    return any(module == at and f"{name}.".startswith(f"{begins}.") for at, begins in thing.code)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _in_words(things: Sequence[Known]) -> str:
    """The things with who brings them: those of one distribution together."""
    brought: dict[str, list[str]] = {}
    for thing in sorted(things, key=lambda thing: (thing.kind, thing.name)):
        brought.setdefault(thing.whose, []).append(f"the {thing.kind} '{thing.name}'")
    names = {thing.name for thing in things}
    return " or ".join(
        " or ".join(said) + (f" of {whose}" if whose not in names else "")
        for whose, said in brought.items()
    )
