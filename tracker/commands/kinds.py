"""The kinds of values that options take: how each is read, from a text or from a Python object."""

from __future__ import annotations

import json
import math
import operator
import os
import re
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
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
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


def accepted(is_accepted: object, value: Any) -> Any:
    """The value. Raises ValueError where it is not accepted."""
    if not is_accepted:
        raise ValueError(value)
    return value


def text(metavar: str = "TEXT", longest: int | None = None, python: str = "str") -> Kind:
    """A text that is not empty, of so many bytes at most; in Python also a path."""

    def read(value: Any) -> Any:
        value = os.fspath(value)
        is_text = isinstance(value, str) and value.strip()
        return accepted(is_text and len(value.encode()) <= (longest or math.inf), value)

    limit = "" if longest is None else f" of 1 to {longest} bytes"
    return Kind(read, f"a text in UTF-8{limit}", metavar, python)


def choice(*words: str) -> Kind:
    """One of some words."""
    literal = f"Literal[{', '.join(json.dumps(word) for word in words)}]"
    said = f"one of {', '.join(words)}"
    return Kind(lambda value: accepted(value in words, value), said, "|".join(words), literal)


def whole(low: int = 1, high: int = MOST_ROWS, word: str = "") -> Kind:
    """A whole number from low to high, or a word for None, such as `all`."""

    def read(value: Any) -> int | None:
        if word and value in (None, word):
            return None
        found = number(value, int) if isinstance(value, str) else operator.index(value)
        return int(accepted(low <= found <= high, found))

    ends = {MOST_ROWS: "", LAST_SEED: " to 2^63 - 1"}.get(high, f" to {high}")
    said = f"{f'{word}, or ' if word else ''}a whole number from {low}{ends}"
    return Kind(read, said, f"{word}|N" if word else "N", f"int{' | None' if word else ''}")


def real(
    low: float = -math.inf, high: float = math.inf, above: float = -math.inf, metavar: str = "X"
) -> Kind:
    """A finite number from low to high, and above another."""

    def read(value: Any) -> float:
        found = number(value, float) if isinstance(value, str) else float(value)
        return float(
            accepted(math.isfinite(found) and above < found and low <= found <= high, found)
        )

    ends = {f" from {low:g}": low, f" to {high:g}": high, f" above {above:g}": above}
    said = "".join(words for words, end in ends.items() if math.isfinite(end))
    return Kind(read, f"a number{said}", metavar, "float")


def path(metavar: str = "FILE", *suffixes: str) -> Kind:
    """A path to write to, which may have to end in one of some ways."""

    def read(value: Any) -> Path:
        is_one = not suffixes or Path(value).suffix in suffixes
        return Path(accepted(os.fspath(value) and is_one, value))

    said = f"a path that ends in {', '.join(suffixes)}" if suffixes else "a path"
    return Kind(read, said, metavar, PATH, writes=True)


def handle(name: str) -> Kind:
    """A run by its name, its id or the beginning of that; in Python also what has its `run_id`."""

    def read(value: Any) -> Any:
        found = getattr(value, "run_id", value)
        return accepted(found and isinstance(found, str), found)

    said = f"a name, an id or the beginning of one, or a {name}"
    return Kind(read, said, name.upper(), f"{name} | str")


def _file(value: Any) -> Path:
    if not os.path.isfile(value):  # noqa: PTH113 - a text may be too long for a path
        raise Wrong("which does not exist")
    return Path(value)


def _ids(value: Any) -> tuple[int, ...]:
    """Ids from a file, a text or a list."""
    if isinstance(value, (str, os.PathLike)):
        is_file = os.path.isfile(value)  # noqa: PTH113 - a text may be too long for a path
        told = Path(value).read_text("utf-8-sig") if is_file else str(value)
        value = told.replace(",", " ").split()
    ids, one = list[int](), whole(0, LARGEST_ID)
    for word in value:
        try:
            ids.append(one.read(word))
        except (ValueError, TypeError) as error:
            raise Wrong(f"which holds {SHORT.repr(word)}") from error
    return tuple(accepted(ids, ids))


def _requests(value: Any) -> Path | tuple[str, ...]:
    """The file with requests, or what samples are called that are listed."""
    if isinstance(value, (str, os.PathLike)):
        return _file(value)
    names = tuple(os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in value)
    return tuple(accepted(names, names))


def _settings(value: Any) -> tuple[str, ...]:
    """Changes of hyper-parameters as texts, `algorithm.name=value` each."""
    if isinstance(value, Mapping):
        value = [f"{a}.{name}={v}" for a, own in value.items() for name, v in {**own}.items()]
    several = (value,) if isinstance(value, str) else tuple(value)
    return tuple(accepted(all(isinstance(each, str) for each in several), several))


def _size(value: Any) -> int:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?([MGT]B)", str(value).upper(), re.ASCII)
    size = int(float(match[1]) * UNITS[match[2]]) if match else 0
    return int(accepted(size >= 100 * UNITS["MB"], size))  # which DuckDB needs for itself


FLAG = Kind(lambda value: accepted(isinstance(value, bool), value), "True or False", "", "bool")
SWITCH = Kind(FLAG.read, FLAG.said, "", "bool | None")  # on, off, or neither
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
SIZE = Kind(_size, "a size like 500MB or 2GB, from 100MB", "SIZE", "str")
