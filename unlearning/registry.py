"""What is found by its name: ours, what other people's packages bring, and the user's own modules.

There is one registry for each kind of thing. Ours are the modules of one package that set its
attribute, for example `ALGORITHM`. Other people's are entry points of installed distributions. The
user's own are asked for as `module:package.module:NAME`. Listing names imports none of them.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from unlearning.errors import Failure, Raised, Stopped, UserError, hold, words_of
from unlearning.naming import nearest

MODULE = "module:"  # begins the name of something of the user's own
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # safe in paths, commands and MLflow's names
OURS = {"unlearning", "factors", "tracker", "analysis", "torch"}  # where no plug-in raises
LOGGER = __name__  # is told of everything that is left out, once each

T = TypeVar("T")


@dataclass(frozen=True)
class Provider:
    """Who brings something that is not ours.

    Attributes:
        name: of the distribution, or `module:package.module:NAME`.
        version: of the distribution, or the SHA-256 of the module's source.
    """

    name: str
    version: str

    def __str__(self) -> str:
        """Both in one line, as it is recorded in runs."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, eq=False)
class Registry(Generic[T]):
    """All things of one kind.

    Attributes:
        kind: what messages call it. package: whose modules are ours. attribute: what such a module
            sets, to one thing of the module's name, or to several by name. group: of other people's
            entry points; None where there are none.
        check: raises an exception that says what is wrong with something that is not ours.
        name_of: the name that a thing has itself, if it has one; it must be the entry point's.
        otherwise: ends the message about an unknown name.
    """

    kind: str
    package: str
    attribute: str
    group: str | None = None
    check: Callable[[Any], None] = lambda thing: None
    name_of: Callable[[T], str] | None = None
    otherwise: str = ""
    _own: dict[str, tuple[T, Provider]] = field(default_factory=dict, init=False)  # `module:...`

    def ours(self) -> list[str]:
        """Our own names: of the modules that set the attribute."""
        return sorted(_modules(self.package, self.attribute))

    def is_ours(self, name: str) -> bool:
        """Whether one of our modules has that name and sets the attribute."""
        return name in _modules(self.package, self.attribute)

    def names(self) -> list[str]:
        """All names, without a look at whether other people's can be imported."""
        return sorted([*self.ours(), *self._points()])

    def get(self, name: str) -> T:
        """The thing of that name, or of `module:package.module:NAME`.

        Raises UserError where there is none, or it is not what it should be.
        """
        if name.startswith(MODULE):
            return self._from_module(name)
        if name in self._own:
            return self._own[name][0]
        if self.is_ours(name):
            module = importlib.import_module(_modules(self.package, self.attribute)[name])
            found = getattr(module, self.attribute)
            ours: T = found[name] if isinstance(found, dict) else found
            return ours
        if name in (points := self._points()):
            return self._checked(points[name][0].load, self.in_words(name), name)
        said = f"{nearest(name, self.names())}: choose one of {', '.join(self.names())}"
        raise UserError(f"unknown {self.kind} '{name}'{said}{self.otherwise}")

    def named(self, asked: Iterable[str]) -> list[str]:
        """The names of what is asked for, each once, where some of it is `module:...`.

        Raises UserError where two different things have one name.
        """
        names: dict[str, str] = {}
        for reference in asked:
            name = reference
            if self.name_of is not None and reference.startswith(MODULE):
                name = self.name_of(self.get(reference))
            if names.setdefault(name, reference) != reference:
                raise UserError(
                    f"{self.kind} '{reference}' has the name of '{names[name]}', '{name}': "
                    "ask for one of them"
                )
        return list(names)

    def others(self) -> dict[str, T]:
        """Other people's by name. What cannot be used is left out with a remark."""
        found = {}
        for name in self._points():
            try:
                found[name] = self.get(name)
            except UserError as error:
                remark(str(error))
        return found

    def every(self) -> dict[str, T]:
        """All things by name: ours and others."""
        return dict(sorted(({n: self.get(n) for n in self.ours()} | self.others()).items()))

    def provider(self, name: str) -> Provider | None:
        """Who brings what has that name; None if we do, or if nobody registered it."""
        if name in self._own:
            return self._own[name][1]
        return self._points()[name][1] if name in self._points() else None

    def reference(self, name: str) -> str:
        """How to ask for it in another process: its name, or `module:package.module:NAME`."""
        return self._own[name][1].name if name in self._own else name

    def asked_for(self) -> dict[str, Provider]:
        """What of the user's own this process has asked for, by its name."""
        return {name: provider for name, (_, provider) in self._own.items()}

    def in_words(self, name: str) -> str:
        """The thing of that name, with who brings it."""
        whose = self.reference(name) if name in self._own else self.provider(name)
        return f"the {self.kind} '{name}'{f' of {whose}' if whose else ''}"

    @contextmanager
    def by(self, name: str) -> Iterator[None]:
        """A context that calls the code of the thing of that name.

        Where that is not ours, exceptions become Raised, with the place in its code, but for
        UserError, Failure and Stopped.
        """
        try:
            yield
        except (UserError, Failure, Stopped):
            raise
        except (Exception, SystemExit) as error:
            if not name.startswith(MODULE) and self.provider(name) is None:
                raise
            calls = [
                f" ({frame.f_code.co_filename}:{line})"
                for frame, line in traceback.walk_tb(error.__traceback__)
                if str(frame.f_globals.get("__name__")).partition(".")[0] not in OURS
            ]
            line = f"{self.in_words(name)} raised {_said(error)}{calls[-1] if calls else ''}"
            trace = "".join(traceback.format_exception(error))
            raise Raised(self.kind, name, line, trace) from error

    def _points(self) -> dict[str, tuple[EntryPoint, Provider]]:
        """Other people's entry points by name, but for names that cannot be taken."""
        found = dict(_entry_points(self.group, tuple(sys.path))) if self.group else {}
        for name in [n for n in found if not NAME.fullmatch(n) or self.is_ours(n)]:
            remark(
                f"the {self.kind} '{name}' of {found.pop(name)[1]} is left out: a name takes "
                "letters, digits, _ and -, and none that Indelible has"
            )
        return found

    def _checked(self, load: Callable[[], T], whose: str, name: str | None = None) -> T:
        """What somebody else's code gives. Raises UserError where it is not what it should be."""
        try:
            with redirect_stdout(sys.stderr):  # what an import prints is not our data
                found = load()
            self.check(found)
            own = self.name_of(found) if self.name_of and name else name
            hold(own == name, f"it calls itself '{own}', and not as its entry point is called")
        except (Exception, SystemExit) as error:
            raise UserError(f"{whose} cannot be used: {_said(error)}") from error
        return found

    def _from_module(self, reference: str) -> T:
        path, _, attribute = reference.removeprefix(MODULE).partition(":")
        here, whose = str(Path.cwd()), f"{self.kind} '{reference}'"
        if here not in sys.path:
            sys.path.append(here)  # not in front: a package of ours may have a namesake here
        thing = self._checked(lambda: getattr(importlib.import_module(path), attribute), whose)
        if self.name_of is None:
            return thing
        name = self.name_of(thing)
        if not NAME.fullmatch(name) or name in self.names():
            raise UserError(
                f"{whose} has the name '{name}': it takes letters, digits, _ and -, and none that "
                "is taken"
            )
        modules = (path, thing.__module__) if hasattr(thing, "__qualname__") else (path,)
        files = [Path(str(sys.modules[module].__file__)) for module in modules]
        content = b"".join(file.read_bytes() for file in dict.fromkeys(files))
        self._own[name] = thing, Provider(reference, hashlib.sha256(content).hexdigest())
        return thing


@cache
def remark(line: str) -> None:
    """Say once that something is left out."""
    logging.getLogger(LOGGER).warning("%s", line)


@lru_cache(maxsize=64)
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, Provider]]:
    """What distributions bring. `path`: of modules, which decides on what is installed."""
    return {
        point.name: (point, Provider(point.dist.name, point.dist.version))
        for point in reversed([*entry_points(group=group)])
        if point.dist is not None
    }


def _said(error: BaseException) -> str:
    """An error in one line, with its class where that says more."""
    words, kind = words_of(error), type(error).__name__
    is_said = words == kind or isinstance(error, (UserError, AssertionError, ImportError))
    return words if is_said else f"{kind}: {words}"


@lru_cache(maxsize=64)
def _modules(package: str, attribute: str) -> dict[str, str]:
    """The modules of a package whose source sets a name at its top level, by what they bring."""
    sets = re.compile(
        rf"^(?:def |class )?{attribute}\b *[=:(](.*?)(?:^\S|\Z)", re.MULTILINE | re.DOTALL
    )
    (folder,) = importlib.import_module(package).__path__
    found: dict[str, str] = {}
    for file in Path(folder).glob("*.py"):
        if setting := sets.search(file.read_text("utf-8")):
            names = re.findall(r'(?m)^    "([\w-]+)":', setting[1])
            found |= dict.fromkeys(names or [file.stem], f"{package}.{file.stem}")
    return found
