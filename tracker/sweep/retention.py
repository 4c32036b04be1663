"""Which checkpoints are kept: the policies of --checkpoints, and what a sweep wants by them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from tracker.store.records import Finished
from tracker.sweep.plan import KeptPlan, member_key
from unlearning.errors import UserError
from unlearning.naming import number
from unlearning.outcome import Status

ACCEPTED = "all, none, flipped, hardest:K or easiest:K with K from 1"
KEEPS = "keeps/"  # begins those tags of a sweep that say what calls of it wanted kept


@dataclass(frozen=True)
class Retention:
    """A policy, applied to each algorithm's members on their own.

    Attributes:
        kind: all, none, flipped, hardest or easiest.
        count: the K of hardest:K and easiest:K.
    """

    kind: str
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Retention:
        """The policy as the command line gives it. Raises UserError."""
        kind, colon, count = text.partition(":")
        if not colon and kind in ("all", "none", "flipped"):
            return cls(kind)
        with suppress(ValueError):
            if kind in ("hardest", "easiest"):
                return cls(kind, number(count, int, 1, 2**31 - 1))
        raise UserError(f"--checkpoints is '{text}': it takes {ACCEPTED}")

    def __str__(self) -> str:
        """As the command line gives it."""
        return f"{self.kind}:{self.count}" if self.count else self.kind

    @property
    def tag(self) -> tuple[str, str]:
        """How a sweep says that a call of it wanted this: a tag of its own for each policy."""
        return f"{KEEPS}{str(self).replace(':', '-')}", str(self)

    def kept(self, members: Mapping[str, Finished]) -> set[str]:
        """The keys of those members of one algorithm whose checkpoint is kept.

        A member that is kept among all members is also kept among some of them. So a sweep can ask
        after each chunk, and delete the checkpoints that are no longer kept.
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


def policies_of(tags: Mapping[str, str]) -> tuple[Retention, ...]:
    """What the calls of a sweep with these tags wanted kept; all where a tag was edited."""
    said = [value for tag, value in sorted(tags.items()) if tag.startswith(KEEPS)]
    try:
        return tuple(map(Retention.parse, said)) or (Retention("all"),)
    except UserError:
        return (Retention("all"),)


@dataclass(frozen=True)
class Claim:
    """What one sweep wants kept of its members.

    Attributes:
        digests: of its algorithms. policies: of all calls of it.
    """

    digests: tuple[str, ...]
    sample_ids: tuple[int, ...]
    policies: tuple[Retention, ...]

    @classmethod
    def of(cls, plan: KeptPlan, tags: Mapping[str, str]) -> Claim:
        """What a sweep with this plan and these tags wants."""
        return cls(tuple(plan.digests.values()), plan.sample_ids, policies_of(tags))

    def wanted(self, done: Mapping[str, Finished]) -> set[str]:
        """The keys of those finished members whose checkpoint it wants."""
        return {key for digest in self.digests for key in self.wanted_of(digest, done)}

    def wanted_of(self, digest: str, done: Mapping[str, Finished]) -> set[str]:
        """Those of one algorithm, by its digest."""
        keys = (member_key(digest, sample) for sample in self.sample_ids)
        return self.kept({key: done[key] for key in keys if key in done})

    def kept(self, members: Mapping[str, Finished]) -> set[str]:
        """The keys of those members of one algorithm that any of the policies keeps."""
        return {key for policy in self.policies for key in policy.kept(members)}
