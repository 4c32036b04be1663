"""Versions of factors: a value that was computed under another one is out of date.

Each of our families states its own number, and raises it where its values change; of other people's
their provider counts too. What the companions of a base model say is a part of the version of those
families that look at them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

import factors
from unlearning.version import VERSION

if TYPE_CHECKING:
    from factors.family import Family
    from unlearning.base_model import Companions

LENGTH = 8  # of a digest


def version(family: Family) -> str:
    """The versions of the engine and of a family, and a digest of who provides it, if not us."""
    whose = factors.provider(family.name)
    own = f"{VERSION}-{family.version}"
    return own if whose is None else f"{own}-{_digest([str(whose).encode()])}"


def version_for(family: Family, companions: Companions, sample_ids: Iterable[int]) -> str:
    """The version of the values of some samples.

    For a family that looks at the companions of the base model it is followed by a digest of what
    they say of these samples.
    """
    if family.of_companions is None:
        return version(family)
    with factors.REGISTRY.by(family.name):
        said = [_as_bytes(family.of_companions(companions, sample)) for sample in sample_ids]
    return f"{version(family)}.{_digest(part + b';' for part in said)}"


def versions(families: Sequence[Family], companions: Companions, sample: int) -> dict[str, str]:
    """The versions of a sample's values, by the keys of the families."""
    return {family.key: version_for(family, companions, [sample]) for family in families}


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:LENGTH]


def _as_bytes(said: object) -> bytes:
    if isinstance(said, torch.Tensor):
        return said.detach().cpu().contiguous().numpy().tobytes()
    return repr(said).encode()
