"""The types of `indelible`, made of its methods: `python -m tracker.api.stub` writes the file.

The wheel has it as `indelible-stubs`, so that editors and mypy see every keyword: what
`tracker.api.keywords` makes of a command they cannot.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracker.api.store import Store, open_store

FILE = Path(__file__).with_name("indelible.pyi")
HEAD = '''\
"""The types of `indelible`, as `python -m tracker.api.stub` writes them."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from duckdb import DuckDBPyRelation as Table
from torch import nn

from tracker import __version__
from tracker.api.store import Model, Sweep, Unlearning
from unlearning.errors import Failure, UserError

__all__ = {names}

PathLike = str | os.PathLike[str]

'''
NAMES = ("Failure", "Model", "Store", "Sweep", "Unlearning", "UserError", "__version__", "open")


def stub() -> str:
    """The text of the file."""
    methods = inspect.getmembers(Store, inspect.isfunction)
    public = [_declared(name, method, "    ") for name, method in methods if name[0] != "_"]
    listed = "".join(f'\n    "{name}",' for name in NAMES)
    head = HEAD.format(names=f"[{listed}\n]")
    about = textwrap.indent(inspect.getdoc(Store) or "", "    ").strip()
    store = f'class Store:\n    """{about}\n    """\n\n{"".join(public)}'
    return f"{head}{store}{_declared('open', open_store, '')}".rstrip("\n") + "\n"


def _declared(name: str, function: Callable[..., Any], indent: str) -> str:
    """A function with its parameters, one a line as a formatter leaves them."""
    found, lines, marked = inspect.signature(function), list[str](), False
    for each in found.parameters.values():
        marked = marked or each.kind is each.VAR_POSITIONAL
        if each.kind is each.KEYWORD_ONLY and not marked:
            lines.append("*")
            marked = True
        star = "*" if each.kind is each.VAR_POSITIONAL else ""
        kind = "" if each.annotation is each.empty else f": {each.annotation}"
        default = "" if each.default is each.empty else f" = {_default(each.default)}"
        lines.append(f"{star}{each.name}{kind}{default}")
    inner = "".join(f"{indent}    {line},\n" for line in lines)
    remark = "  # noqa: A001 - as `indelible.open`" if name == "open" else ""
    text = textwrap.indent(inspect.getdoc(function) or "", f"{indent}    ").strip()
    doc = f'{indent}    """{text}\n{indent}    """\n'
    return f"{indent}def {name}({remark}\n{inner}{indent}) -> {found.return_annotation}:\n{doc}\n"


def _default(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    FILE.write_text(stub(), "utf-8")
