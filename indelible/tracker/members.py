"""How a member is known: its key, in a store as in a plan. Needs nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def member_key(digest: str, sample_id: int) -> str:
    """The key of a member.

    Args:
        digest: of what all members of one algorithm share: base weights, data, settings, seed.
    """
    return f"{digest}-{sample_id:05d}"


def planned_keys(plan: Mapping[str, Any]) -> list[str]:
    """The keys of all members of a plan that was kept as JSON."""
    digests = [algorithm["digest"] for algorithm in plan["algorithms"].values()]
    return [member_key(digest, sample) for digest in digests for sample in plan["sample_ids"]]
