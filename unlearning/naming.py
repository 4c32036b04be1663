"""How users name things: by a name, the beginning of an id, or a number, and what they misspell."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from os.path import commonprefix
from typing import TypeVar

from unlearning.errors import UserError

LEAST = 8  # characters of a shortened id
LATEST = "latest"
SHOWN = 5  # candidates that are listed

IDENTIFIER = "a name takes letters, digits and _, and does not begin with a digit"
LONGEST = 100  # digits of a whole number
NUMERALS = {
    int: re.compile(rf"-?[0-9]{{1,{LONGEST}}}"),
    float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}

Named = tuple[str, str]  # an id, and a name that others may have too
Number = TypeVar("Number", int, float)


def find(reference: str, things: Sequence[Named], kind: str, otherwise: str) -> str:
    """The id of the thing that is meant.

    Args:
        reference: `latest`, an id or the beginning of one, or a name. things: the newest first.
        kind: what they are called, such as `sweep`. otherwise: ends the message that there is none.

    Raises UserError where no thing is meant, or more than one.
    """
    if reference == LATEST and things:
        return things[0][0]
    found = [thing for thing in things if thing[0] == reference]
    found = found or [thing for thing in things if thing[1] == reference]
    found = found or [thing for thing in things if reference and thing[0].startswith(reference)]
    if not found:
        near = nearest(reference, [name for _, name in things])
        raise UserError(f"there is no {kind} '{reference}'{near}: {otherwise}")
    if len(found) > 1:
        short = shortest([one for one, _ in found])
        listed = [f"{short[one]} ({name})" for one, name in found[:SHOWN]]
        more = ", ..." if len(found) > SHOWN else ""
        raise UserError(
            f"'{reference}' may be any of {len(found)} {kind}s, {', '.join(listed)}{more}: "
            "give more of the id"
        )
    return found[0][0]


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that was likely meant, in brackets to be put behind a message; empty if none is."""
    close = get_close_matches(word.lower(), list(names), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def counted(count: int, thing: str, things: str = "") -> str:
    """So many things: `1 algorithm`, `2 algorithms`.

    Args:
        things: several of them, where an s does not make that.
    """
    return f"{count} {thing if count == 1 else things or f'{thing}s'}"


def printable(name: str) -> str:
    """A file's name as a text that can be written: bytes that are no UTF-8 as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def shortest(ids: Collection[str], least: int = LEAST) -> dict[str, str]:
    """The shortest beginning of each id that no other has, of at least so many characters."""
    ordered, short = sorted(set(ids)), dict[str, str]()
    for k, one in enumerate(ordered):
        beside = (*ordered[max(k - 1, 0) : k], *ordered[k + 1 : k + 2])
        shared = max((len(commonprefix([one, b])) for b in beside), default=0)  # noqa: RUF071
        short[one] = one[: max(least, shared + 1)]
    return short


def number(text: str, kind: type[Number], low: float = -math.inf, high: float = math.inf) -> Number:
    """The number from low to high that ASCII digits say. Raises ValueError where they say none."""
    if not NUMERALS[kind].fullmatch(text) or not low <= (said := kind(text)) <= high:
        raise ValueError(repr(text))
    return said
