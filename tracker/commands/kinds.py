"""The kinds of values that options take: how each is read, from a text or from a Python object."""

from __future__ import annotations

import json
import math
import operator
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearning.naming import number

LARGEST_ID = 10**18 - 1  # of a sample
MOST_ROWS = 2**31 - 1  # what DuckDB takes in any place for a number of rows
LAST_SEED = 2**63 - 1  # as MLflow's readers take them
LONGEST_NAME = 250  # bytes of a run's name, in MLflow's databases
PATH = "str | os.PathLike[str]"


SHORT = reprlib.Repr()  # of a value in a message
SHORT.maxstring = 120


class Wrong(ValueError):  # noqa: N818 - it becomes a part of a message
    """What is wrong with a value, in words that stand behind it."""


@dataclass(frozen=True)
class Kind:
    """Which values an option takes.

    Attributes:
        read: gives the value; raises ValueError or TypeError where it is not accepted.
        said: what is accepted, in words that end a message. metavar: how help writes the value.
        python: the type that Python takes, as an annotation has it.
        gathers: whether one value is read of all that are given of an option.
        writes: whether it is a path to write to.
    """

    read: Callable[[Any], Any]
    said: str
    metavar: str
    python: str
    gathers: bool = False
    writes: bool = False


def text(metavar: str = "TEXT", longest: int | None = None, python: str = "str") -> Kind:
    """A text that is not empty, of so many bytes at most; in Python also a path."""

    def read(value: Any) -> str:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        size = len(value.encode()) if isinstance(value, str) else 0  # no UTF-8 is refused
        if not size or not value.strip() or (longest is not None and size > longest):
            raise ValueError(value)
        return str(value)

    limit = "" if longest is None else f" of 1 to {longest} bytes"
    return Kind(read, f"a text in UTF-8{limit}", metavar, python)


def choice(*words: str) -> Kind:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(value)
        return str(value)

    literal = f"Literal[{', '.join(json.dumps(word) for word in words)}]"
    return Kind(read, f"one of {', '.join(words)}", "|".join(words), literal)


def whole(low: int = 1, high: int = MOST_ROWS, word: str = "") -> Kind:
    """A whole number from low to high, or a word for None, such as `all`."""

    def read(value: Any) -> int | None:
        if word and value in (None, word):
            return None
        if isinstance(value, str):
            return number(value, int, low, high)
        if not low <= (found := operator.index(value)) <= high:
            raise ValueError(value)
        return found

    ends = {MOST_ROWS: "", LAST_SEED: " to 2^63 - 1"}.get(high, f" to {high}")
    said = f"{f'{word}, or ' if word else ''}a whole number from {low}{ends}"
    optional = " | None" if word else ""
    return Kind(read, said, f"{word}|N" if word else "N", f"int{optional}")


def real(
    low: float = -math.inf, high: float = math.inf, above: float = -math.inf, metavar: str = "X"
) -> Kind:
    """A finite number from low to high, and above another."""

    def read(value: Any) -> float:
        found = number(value, float) if isinstance(value, str) else float(value)
        if not (math.isfinite(found) and low <= found <= high and above < found):
            raise ValueError(value)
        return found

    ends = {f" from {low:g}": low, f" to {high:g}": high, f" above {above:g}": above}
    said = "".join(words for words, end in ends.items() if math.isfinite(end))
    return Kind(read, f"a number{said}", metavar, "float")


def path(metavar: str = "FILE", *suffixes: str) -> Kind:
    """A path to write to, which may have to end in one of some ways."""

    def read(value: Any) -> Path:
        if not os.fspath(value) or (suffixes and Path(value).suffix not in suffixes):
            raise ValueError(value)
        return Path(value)

    said = f"a path that ends in {', '.join(suffixes)}" if suffixes else "a path"
    return Kind(read, said, metavar, PATH, writes=True)


def handle(name: str) -> Kind:
    """A run by its name, its id or the beginning of that; in Python also what has its `run_id`."""

    def read(value: Any) -> str:
        found = getattr(value, "run_id", value)
        if not isinstance(found, str) or not found:
            raise TypeError(value)
        return found

    return Kind(
        read, f"a name, an id or the beginning of one, or a {name}", name.upper(), f"{name} | str"
    )


def _file(value: Any) -> Path:
    if not os.path.isfile(value):  # noqa: PTH113 - a text may be too long for a path
        raise Wrong("which does not exist")
    return Path(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _ids(value: Any) -> tuple[int, ...]:
    """Ids from a file, a text or a list."""
    words, is_file = value, False
    if isinstance(value, (str, os.PathLike)):
        is_file = os.path.isfile(value)  # noqa: PTH113 - a text may be too long for a path
        try:
            told = Path(value).read_text("utf-8-sig") if is_file else str(value)
        except UnicodeDecodeError as error:
            raise Wrong("which is not a text in UTF-8") from error
        words = told.replace(",", " ").split()
    ids, one = list[int](), whole(0, LARGEST_ID)
    for word in words:
        try:
            ids.append(one.read(word))
        except (ValueError, TypeError) as error:
            unless = "" if is_file or words is value else "is no file and "
            raise Wrong(f"which {unless}holds {SHORT.repr(word)}") from error
    if not ids:
        raise Wrong("which holds nothing")
    return tuple(ids)


def _requests(value: Any) -> Path | tuple[str, ...]:
    """The file with requests, or what samples are called that are listed."""
    if isinstance(value, (str, os.PathLike)):
        return _file(value)
    names = tuple(os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in value)
    if not names:
        raise ValueError(value)
    return names


def _settings(value: Any) -> tuple[str, ...]:
    """Changes of hyper-parameters as texts, `algorithm.name=value` each."""
    if isinstance(value, Mapping):
        if not all(isinstance(own, Mapping) for own in value.values()):
            raise TypeError(value)
        return tuple(f"{a}.{name}={v}" for a, own in value.items() for name, v in own.items())
    several = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(each, str) for each in several):
        raise TypeError(value)
    return several


FLAG = Kind(_flag, "True or False", "", "bool")
SWITCH = Kind(_flag, "True or False", "", "bool | None")  # on, off, or neither
FILE = Kind(_file, "the path of a file that is there", "FILE", PATH)
IDS = Kind(
    _ids,
    "ids of samples with white space or commas between, or a file with them",
    "FILE|ID,...",
    f"Iterable[int] | {PATH}",
)
REQUESTS = Kind(
    _requests,
    "the path of a file that is there, in Python also a list",
    "FILE",
    f"Iterable[str | int | os.PathLike[str]] | {PATH}",
)
SETTINGS = Kind(
    _settings,
    "ALGORITHM.NAME=VALUE, in Python {'ga': {'lr': 3e-4}}",
    "ALGORITHM.NAME=VALUE",
    "Mapping[str, Mapping[str, object]] | Iterable[str]",
    gathers=True,
)
