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
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from unlearning.errors import Failure, Raised, Stopped, UserError, words_of
from unlearning.naming import nearest

MODULE = "module:"  # begins the name of something of the user's own
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # safe in paths, commands and MLflow's names

OURS = {"unlearning", "factors", "tracker", "analysis", "indelible", "torch"}  # never to blame
LONGEST = 300  # characters of what an exception says

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
            sets. group: of other people's entry points; None where there are none.
        check: raises an exception that says what is wrong with something that is not ours.
        name_of: the name that a thing has itself, if it has one; it must be the entry point's.
        hyphens: whether names have `-` where modules have `_`.
        otherwise: ends the message about an unknown name.
    """

    kind: str
    package: str
    attribute: str
    group: str | None = None
    check: Callable[[Any], None] = lambda thing: None
    name_of: Callable[[T], str] | None = None
    hyphens: bool = False
    otherwise: str = ""
    _own: dict[str, tuple[T, Provider]] = field(default_factory=dict, init=False)  # `module:...`
    _loaded: dict[EntryPoint, T | UserError] = field(default_factory=dict, init=False)

    def ours(self) -> list[str]:
        """Our own names: of the modules that set the attribute."""
        return sorted(self._modules())

    def is_ours(self, name: str) -> bool:
        """Whether one of our modules has that name and sets the attribute."""
        return name in self._modules()

    def names(self) -> list[str]:
        """All names, without a look at whether other people's can be imported."""
        points, refused = self._points()
        for line in refused.values():
            remark(line)
        return sorted([*self.ours(), *points])

    def get(self, name: str) -> T:
        """The thing of that name, or of `module:package.module:NAME`.

        Raises UserError where there is none, or it is not what it should be.
        """
        if name.startswith(MODULE):
            return self._from_module(name)
        if self.is_ours(name):
            module = importlib.import_module(f"{self.package}.{self._modules()[name]}")
            found: T = getattr(module, self.attribute)
            return found
        points, refused = self._points()
        if name in points:
            return self._load(points[name])
        if name in refused:
            raise UserError(refused[name])
        if name in self._own:
            return self._own[name][0]
        choices = ", ".join(self.names())
        near = nearest(name, self.names())
        raise UserError(
            f"unknown {self.kind} '{name}'{near}: choose one of {choices}{self.otherwise}"
        )

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
        for name in self.names():
            if not self.is_ours(name):
                try:
                    found[name] = self.get(name)
                except UserError as error:
                    remark(str(error))
        return found

    def every(self) -> dict[str, T]:
        """All things by name: ours and others."""
        both = {name: self.get(name) for name in self.ours()} | self.others()
        return dict(sorted(both.items()))

    def provider(self, name: str) -> Provider | None:
        """Who brings what has that name; None if we do, or if nobody registered it."""
        point = self._points()[0].get(name)
        if point is not None:
            return _provider(point)
        return self.asked_for().get(name)

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

        What that raises is Raised, unless it is ours. UserError, Failure and Stopped, which are
        raised on purpose, and what comes out of no code but ours and torch's, stay what they are.
        """
        try:
            yield
        except (UserError, Failure, Stopped):
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            calls = [
                f"{frame.f_code.co_filename}:{line}"
                for frame, line in traceback.walk_tb(error.__traceback__)
                if str(frame.f_globals.get("__name__")).partition(".")[0] not in OURS
            ]
            is_others = name.startswith(MODULE) or self.provider(name) is not None
            if not (calls and is_others):
                raise
            what = textwrap.shorten(" ".join(words_of(error).split()), LONGEST, placeholder=" ...")
            said = f"{type(error).__name__}{what and f': {what}'} ({calls[-1]})"
            trace = "".join(traceback.format_exception(error))
            line = f"{self.in_words(name)} raised {said}"
            raise Raised(self.kind, name, line, trace) from error

    def _modules(self) -> dict[str, str]:
        """Our own modules by the names that they have."""
        own = _modules(self.package, self.attribute)
        return {module.replace("_", "-") if self.hyphens else module: module for module in own}

    def _points(self) -> tuple[Mapping[str, EntryPoint], Mapping[str, str]]:
        """Other people's entry points by name, and why names are refused to them."""
        return _sorted_out(self, tuple(sys.path))

    def _load(self, point: EntryPoint) -> T:
        if point not in self._loaded:
            wrong = ""
            try:
                thing: T = _imported(point.load)
                self.check(thing)
                own = self.name_of(thing) if self.name_of else point.name
                if own != point.name:
                    wrong = f"it calls itself '{own}', and must have the entry point's name"
            except (Exception, SystemExit) as error:
                wrong = _said(error)
            whose = f"the {self.kind} '{point.name}' of {_provider(point)}"
            refused = UserError(f"{whose} cannot be used: {wrong}")
            self._loaded[point] = refused if wrong else thing
        found = self._loaded[point]
        if isinstance(found, UserError):
            raise found
        return found

    def _from_module(self, reference: str) -> T:
        path, _, attribute = reference.removeprefix(MODULE).partition(":")
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)  # not in front: a package of ours may have a namesake here
        try:
            module = _imported(lambda: importlib.import_module(path))
            thing: T = getattr(module, attribute)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self.kind} '{reference}' cannot be found ({_said(error)}): write "
                "module:package.module:NAME, importable from here"
            ) from error
        try:
            self.check(thing)
        except Exception as error:
            raise UserError(f"{self.kind} '{reference}' cannot be used: {_said(error)}") from error
        if self.name_of is not None:
            self._register(reference, self.name_of(thing), thing, module)
        return thing

    def _register(self, reference: str, name: str, thing: T, module: ModuleType) -> None:
        if not NAME.fullmatch(name) or name in self.names():
            taken = "of no letters, digits, _ and -"
            if name in self.names():
                taken = f"that {self.provider(name) or 'Indelible'} has"
            raise UserError(f"{self.kind} '{reference}' has a name {taken}, '{name}': change it")
        self._own[name] = thing, Provider(reference, _sha256(module, thing))


@cache
def remark(line: str) -> None:
    """Say once that something is left out."""
    logging.getLogger(LOGGER).warning("%s", line)


@lru_cache(maxsize=64)
def _sorted_out(
    registry: Registry[T], path: tuple[str, ...]
) -> tuple[Mapping[str, EntryPoint], Mapping[str, str]]:
    """The entry points of a kind. `path`: of modules, for it decides what is installed."""
    claims: dict[str, list[EntryPoint]] = {}
    for point in _installed(path):
        if point.group == registry.group:
            claims.setdefault(point.name, []).append(point)
    points, refused = {}, {}
    for name, claimed in claims.items():
        whose = " and ".join(sorted({str(_provider(point)) for point in claimed}))
        what = f"the {registry.kind} '{name}' of {whose} is left out"
        if not NAME.fullmatch(name):
            refused[name] = f"{what}: a name takes letters, digits, _ and -"
        elif registry.is_ours(name):
            refused[name] = f"{what}: Indelible itself has one of this name"
        elif len(claimed) > 1:
            refused[name] = f"{what}: only one may have this name, so uninstall the others"
        else:
            points[name] = claimed[0]
    return points, refused


@lru_cache(maxsize=16)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What distributions bring for us; of two of one name the first on the path counts."""
    found: dict[str, list[EntryPoint]] = {}
    for distribution in distributions():
        points = [p for p in distribution.entry_points if p.group.startswith("indelible.")]
        if points:
            found.setdefault(distribution.name, points)
    return tuple(point for points in found.values() for point in points)


def _provider(point: EntryPoint) -> Provider:
    assert point.dist is not None  # it is found through its distribution
    return Provider(point.dist.name, point.dist.version)


def _imported(load: Callable[[], T]) -> T:
    """What importing gives; what it prints is not our data, and goes to stderr."""
    with redirect_stdout(sys.stderr):
        return load()


def _said(error: BaseException) -> str:
    """An error in one line."""
    said = " ".join(words_of(error).split())
    if isinstance(error, (ImportError, AttributeError, ValueError, AssertionError, UserError)):
        return said or type(error).__name__
    return f"{type(error).__name__}: {said}"


@lru_cache(maxsize=64)
def _modules(package: str, attribute: str) -> tuple[str, ...]:
    """The modules of a package whose source sets a name at its top level."""
    sets = re.compile(rf"^(def |class )?{attribute}\b *[=:(]", re.MULTILINE)
    (folder,) = importlib.import_module(package).__path__
    files = Path(folder).glob("*.py")
    return tuple(file.stem for file in files if sets.search(file.read_text(encoding="utf-8")))


def _sha256(module: ModuleType, thing: object) -> str:
    """Of the source of a module, and of the one where a class or function is defined."""
    defined = sys.modules[thing.__module__] if hasattr(thing, "__qualname__") else module
    digest = hashlib.sha256()
    for file in dict.fromkeys([module.__file__, defined.__file__]):
        assert file is not None  # a module without a file has nothing in it
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
