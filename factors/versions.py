"""Versions of factors: fingerprints of the code that computes them.

A value that was computed by other code, or beside other companions of the base model, is out of
date. Comments, docstrings and what the columns say are no part of the code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

import factors
from unlearning.version import VERSION

if TYPE_CHECKING:
    from factors.family import Family
    from unlearning.base_model import Companions

DECLARING = (
    *("factors.contract", "factors.declared", "factors.family", "factors.histories"),
    "factors.versions",
)
IMPORTED = r"^\s*from (factors\.\w+|unlearning\.losses) import"
LENGTH = 8  # of a fingerprint

Region = tuple[tuple[int, int], tuple[int, int]]  # (line, column) of its begin and end


def version(family: Family) -> str:
    """The fingerprint of a family's code: its module, those of ours that it uses, the engine."""
    compute = family.pre or family.post
    assert compute is not None
    module = getattr(inspect.unwrap(compute), "__module__", None) or ""
    return _version(module, str(factors.provider(family.name) or ""))


def version_for(family: Family, companions: Companions, sample_ids: Iterable[int]) -> str:
    """The version of the values of some samples.

    For a family that looks at the companions of the base model it is followed by a fingerprint of
    what they say of these samples.
    """
    if family.of_companions is None:
        return version(family)
    digest = hashlib.sha256()
    for sample in sample_ids:
        said = family.of_companions(companions, sample)
        digest.update(_as_bytes(said) + b";")
    return f"{version(family)}.{digest.hexdigest()[:LENGTH]}"


def versions(families: Sequence[Family], companions: Companions, sample: int) -> dict[str, str]:
    """The versions of a sample's values, by the keys of the families."""
    return {family.key: version_for(family, companions, [sample]) for family in families}


def code(source: str) -> str:
    """Source without what changes no number.

    That is comments, docstrings, blank lines and the declarations of columns.
    """
    lines = source.splitlines(keepends=True)
    for (first, begin), (last, end) in sorted((*_said(source), *_declared(source)), reverse=True):
        rest = lines[last - 1][end:]
        lines[first - 1 : last] = [lines[first - 1][:begin] + rest]
    kept = (line.rstrip() for line in lines)
    return "\n".join(line for line in kept if line)


def _said(source: str) -> list[Region]:
    """Comments, and strings that are statements of their own."""
    found: list[Region] = []
    before = tokenize.NEWLINE
    layout = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, after in pairwise(tokens):
        is_alone = before in layout and after.type == tokenize.NEWLINE
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and is_alone):
            found.append((token.start, token.end))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type
    return found


def _declared(source: str) -> list[Region]:
    """The columns that calls of `Family` declare, in order and without those inside others."""
    lines = source.splitlines()

    def at(line: int, offset: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:offset].decode())

    return [
        (at(value.lineno, value.col_offset), at(value.end_lineno or 0, value.end_col_offset or 0))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Family"
        for value in (word.value for word in node.keywords if word.arg == "declared")
    ]


def _version(module: str, provider: str) -> str:
    return fingerprint(module, provider)[:LENGTH]


@cache
def fingerprint(module: str, provider: str = "") -> str:
    """SHA-256 of a module's code, of those of ours that it uses, and of the engine's version."""
    digest = hashlib.sha256(f"{VERSION} {provider}".encode())
    for source in _sources(module):
        digest.update(code(source).encode())
    return digest.hexdigest()


def _sources(module: str) -> Iterator[str]:
    """Of a module, of those of this package that it imports, and that they import; and of losses.

    Other code of the engine changes numbers only with its own version.
    """
    names = [module]
    for name in names:
        source = _source(name)
        yield source
        imported = re.findall(IMPORTED, source, re.MULTILINE)
        names += sorted({*imported} - {*DECLARING, *names})


def _source(name: str) -> str:
    """The source of a module; nothing where it has none, as in a shell."""
    try:
        return inspect.getsource(sys.modules.get(name) or importlib.import_module(name))
    except (OSError, TypeError, ValueError, ImportError):
        return ""


def _as_bytes(said: object) -> bytes:
    if isinstance(said, torch.Tensor):
        return said.detach().cpu().contiguous().numpy().tobytes()
    return repr(said).encode()
