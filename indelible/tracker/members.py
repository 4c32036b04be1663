"""How a member is known, in a store as in a plan that was kept. Needs nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indelible.tracker.artifacts import Damaged

PLAN = "plan.json"  # the artifact of a sweep


def sha256_of(*parts: Any) -> str:
    """The fingerprint of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sweep_key(digests: Sequence[str], sample_ids: Sequence[int], name: str) -> str:
    """The key of a sweep: the same plan called again is the same sweep."""
    return sha256_of(list(digests), list(sample_ids), name)[:32]


def member_key(digest: str, sample_id: int) -> str:
    """The key of a member.

    Args:
        digest: of what all members of one algorithm share: base weights, data, settings, seed.
    """
    return f"{digest}-{sample_id:05d}"


@dataclass(frozen=True)
class KeptPlan:
    """A sweep's plan as it was kept.

    Attributes:
        digests: by algorithm, in order. factors: the catalog at that time, a mapping of texts each.
    """

    name: str
    digests: Mapping[str, str]
    sample_ids: tuple[int, ...]
    factors: tuple[Mapping[str, str], ...]

    def member_keys(self) -> list[str]:
        """The keys of all members."""
        return [member_key(digest, s) for digest in self.digests.values() for s in self.sample_ids]


def read_plan(content: bytes | None, whose: str, key: str | None) -> KeptPlan:
    """The plan that a file holds.

    Args:
        whose: the id of its sweep, for the message. key: of that sweep.

    Raises Damaged if there is no file, or one that is not the plan of this sweep.
    """
    again = "the same sweep called again writes it anew"
    if content is None:
        raise Damaged(f"{PLAN} of sweep {whose} is not there: {again}")
    try:
        plan = json.loads(content)
        kept = KeptPlan(
            _text(plan["name"]),
            {name: _text(found["digest"]) for name, found in plan["algorithms"].items()},
            tuple(_number(sample) for sample in plan["sample_ids"]),
            tuple(
                {name: _text(value) for name, value in factor.items()} for factor in plan["factors"]
            ),
        )
        found = sweep_key(list(kept.digests.values()), kept.sample_ids, kept.name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{PLAN} of sweep {whose} is damaged ({error!r}): {again}") from error
    if found != key:
        raise Damaged(f"{PLAN} of sweep {whose} is another sweep's: {again}")
    return kept


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
