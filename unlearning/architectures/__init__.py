"""Architectures by name: a module sets `ARCHITECTURE`, to one of its own name or several by name.

An architecture is a function from an image shape (channels, height, width) and a number of classes
to a freshly initialised network: see `unlearning.models` for what is asked of it. Other people's
come by the entry points `indelible.architectures`, the user's own as
`module:package.module:factory`, and those of two libraries as `timm:NAME` and `torchvision:NAME`.
Further arguments of the function stand behind the name: `timm:convnext_atto?patch_size=2`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearning.errors import UserError
from unlearning.naming import nearest
from unlearning.registry import MODULE, Provider, Registry

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # channels, height, width

LIBRARIES = ("timm", "torchvision")
REGISTERED = re.compile(r"(?m)^@register_model\b.*\n(?:[@ )].*\n)*def (\w+)")


class _Architectures(Registry["Callable[..., nn.Module]"]):
    """The registry, with the networks of libraries, and with options behind a name."""

    def get(self, name: str) -> Callable[..., nn.Module]:
        """The function of that name, of which options are arguments. Raises UserError."""
        plain, options = _parts(name)
        library, _, inner = plain.partition(":")
        if library not in LIBRARIES:
            found = super().get(plain)
        else:
            known, outer = in_library(library), inner.partition(".")[0]  # a tag may follow
            if not known:
                more = f"pip install 'indelible[{library}]'"
                raise UserError(f"{plain} needs {library}, which is not installed: {more}")
            if outer not in known:
                near = nearest(outer, known)
                raise UserError(f"{library} has none of {len(known)} networks '{outer}'{near}")
            from unlearning.architectures import libraries  # with torch

            found = partial(getattr(libraries, library), inner)
        return partial(found, **{key: _value(text) for key, text in options.items()})

    def provider(self, name: str) -> Provider | None:
        """Who brings what has that name; None if we do, or if nobody registered it."""
        plain = name.partition("?")[0]
        library = plain.partition(":")[0]
        if library in LIBRARIES and in_library(library):
            return Provider(library, version(library).partition("+")[0])
        return super().provider(plain)


REGISTRY = _Architectures(
    "architecture",
    __name__,
    "ARCHITECTURE",
    group="indelible.architectures",
    otherwise=f", or write {', '.join(f'{name}:NAME' for name in LIBRARIES)} or "
    "module:package.module:factory",
)

names, get, provider = REGISTRY.names, REGISTRY.get, REGISTRY.provider


@cache
def in_library(library: str) -> list[str]:
    """The names of a library's networks, read in its source, as importing it takes seconds.

    Empty where it is not installed.
    """
    spec = find_spec(library)
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = [file for folder in folders for file in Path(folder, "models").glob("*.py")]
    return sorted({name for file in files for name in REGISTERED.findall(file.read_text("utf-8"))})


def every_name() -> list[str]:
    """All names, those in libraries too."""
    return names() + [f"{library}:{name}" for library in LIBRARIES for name in in_library(library)]


def with_options(name: str, changes: Iterable[str]) -> str:
    """The name with options, `KEY=VALUE` each, which go before those that it has. Raises UserError.

    This is what a base model is known by: options stand in the order of their keys.
    """
    plain, options = _parts("?".join([name.partition("?")[0], "&".join(changes)]))
    options = _parts(name)[1] | options
    said = "&".join(f"{key}={options[key]}" for key in sorted(options))
    return f"{plain}?{said}" if said else plain


def as_name(arch: str) -> str:
    """An architecture as it stands in names of runs, experiments and files."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", arch.removeprefix(MODULE))


def _parts(name: str) -> tuple[str, dict[str, str]]:
    """What stands before the `?` of a name, and the options behind it. Raises UserError."""
    plain, _, said = name.partition("?")
    pairs = [option.partition("=") for option in said.split("&") if option]
    if wrong := [key for key, _, value in pairs if not (key.isidentifier() and value)]:
        raise UserError(f"'{wrong[0]}' is no option of an architecture: write KEY=VALUE")
    return plain, {key: value for key, _, value in pairs}


def _value(text: str) -> Any:
    """What an option says: a Python literal, or else a text."""
    with suppress(ValueError, SyntaxError):
        return ast.literal_eval(text)
    return text
