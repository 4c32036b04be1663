"""Which checkpoints a sweep keeps: decided while it runs, without a second run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indelible.errors import UserError
from indelible.tracker.records import Finished
from indelible.unlearning.engine import Status

ACCEPTED = "all, none, flipped, hardest:K or easiest:K with K from 1"


@dataclass(frozen=True)
class Retention:
    """A policy, applied to each algorithm's members on their own.

    Attributes:
        kind: all, none, flipped, hardest or easiest. count: K of the last two.
    """

    kind: str
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Retention:
        """The policy as the command line gives it. Raises UserError."""
        kind, colon, count = text.partition(":")
        if not colon and kind in ("all", "none", "flipped"):
            return cls(kind)
        if kind in ("hardest", "easiest") and count.isdecimal() and int(count) > 0:
            return cls(kind, int(count))
        raise UserError(f"--checkpoints is '{text}': it takes {ACCEPTED}")

    def kept(self, members: Mapping[str, Finished]) -> set[str]:
        """The keys of those members of one algorithm whose checkpoint is kept.

        What is kept of all members is also kept of any part of them that it is in, so a sweep may
        ask after each chunk and let go of what no longer belongs.
        """
        if self.kind == "none":
            return set()
        if self.kind == "flipped":
            return {key for key, m in members.items() if m.status == Status.FLIPPED}
        if self.kind == "all":
            return {key for key, m in members.items() if m.status != Status.ALREADY_WRONG}
        sign = 1 if self.kind == "hardest" else -1
        ranked = sorted(
            (sign * m.metrics["gt"], key) for key, m in members.items() if "gt" in m.metrics
        )
        return {key for _, key in ranked[: self.count]}
