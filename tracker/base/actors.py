"""What runs on the nodes of a Ray cluster: one actor a slot, each with a base model of its own."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import factors
import tracker
from tracker.base.parcels import Parcel, unpacked
from tracker.base.workers import Clock
from unlearning import algorithms, architectures
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.registry import Registry

BASE = "base"  # the name of the base model in parcels that come without it

REGISTRIES: dict[str, Registry[Any]] = {
    "algorithm": algorithms.REGISTRY,
    "factor family": factors.REGISTRY,
    "architecture": architectures.REGISTRY,
}


@dataclass(frozen=True)
class Home:
    """What computes in the driver's process, and has to be the same on every node.

    Attributes:
        path: where its modules are found. code: the version and source of this package.
        providers: by kind and name, who brings what is not ours. asked: by kind, what of the user's
            own is to be asked for, `module:package.module:NAME` each.
    """

    path: tuple[str, ...]
    code: str
    providers: Mapping[str, Mapping[str, str]]
    asked: Mapping[str, Sequence[str]]

    @classmethod
    def here(cls) -> Home:
        """This process."""
        own = {kind: registry.asked_for() for kind, registry in REGISTRIES.items()}
        return cls(
            (*sys.path, os.getcwd()),  # noqa: PTH109 - as a text
            _source(),
            {kind: _providers(registry) for kind, registry in REGISTRIES.items()},
            {kind: [provider.name for provider in of.values()] for kind, of in own.items()},
        )

    def settle(self) -> None:
        """Make this process like it. Raises UserError where it cannot be."""
        sys.path += [folder for folder in self.path if folder not in sys.path]
        host = socket.gethostname()
        if _source() != self.code:
            raise UserError(
                f"the Ray node {host} has Indelible {_source()}, and this process has {self.code}: "
                "install the same on all nodes"
            )
        for kind, references in self.asked.items():
            for reference in references:
                REGISTRIES[kind].get(reference)
        for kind, expected in self.providers.items():
            found = _providers(REGISTRIES[kind])
            for name in expected:
                if found.get(name) != expected[name]:
                    raise UserError(
                        f"the {kind} '{name}' is {expected[name]} in this process, and on the Ray "
                        f"node {host} it is {found.get(name, 'not there')}: install the same on "
                        "all nodes"
                    )


@cache
def _source() -> str:
    """The package's version, with the beginning of a digest of its source."""
    folder, digest = Path(tracker.__file__).parent.parent, hashlib.sha256()
    for package in ("unlearning", "factors", "tracker", "analysis"):
        for path in sorted((folder / package).rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()} ".encode() + path.read_bytes())
    return f"{tracker.__version__} (source {digest.hexdigest()[:12]})"


def _providers(registry: Registry[Any]) -> dict[str, str]:
    """Who brings what is not ours, by its name."""
    names = {*registry.names(), *registry.asked_for()}
    found = {name: registry.provider(name) for name in names}
    return {name: str(provider) for name, provider in found.items() if provider is not None}


class Actor:
    """Computes in a process of its own, with one torch thread."""

    base: BaseModel

    def begin(self, home: Home, parcel: Parcel) -> str:
        """Make ready for a base model; the id of the node. Raises UserError."""
        import ray

        torch.set_num_threads(1)
        home.settle()  # the base model's class may be the user's own
        self.base = unpacked(parcel, {})
        self.job: bytes | None = None
        return str(ray.get_runtime_context().get_node_id())

    def compute(self, job: Sequence[Any], piece: Any) -> tuple[Any, dict[str, float]]:
        """What becomes of a piece of work, with the seconds that went by, by what was done.

        Args:
            job: one reference, to where it comes from and to the parcel of the function and the
                clock by which it counts.

        Raises what the function raises, and UserError as `begin` does.
        """
        import ray

        (reference,) = job
        if self.job != reference.binary():
            self.function: Callable[[BaseModel, Any], Any]
            self.clock: Clock
            home, parcel = ray.get(reference)
            home.settle()
            self.function, self.clock = unpacked(parcel, {BASE: self.base})
            self.job = reference.binary()
        return self.function(self.base, piece), self.clock.taken()
