"""Which checkpoints are kept: the policies of --checkpoints, and what sweeps want by them.

A sweep deletes only checkpoints of its own child runs, and only if no sweep of the store wants
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from mlflow.entities import Run

from tracker.store.files import Damaged
from tracker.store.records import Finished, Kind, Record
from tracker.store.write import Store
from tracker.sweep.plan import KeptPlan, Plan, load_plan
from unlearning.errors import UserError
from unlearning.naming import number
from unlearning.outcome import Status

ACCEPTED = "all, none, flipped, hardest:K or easiest:K with K from 1"
KEEPS = "keeps/"  # begins those tags of a sweep that say what calls of it wanted kept

Members = Mapping[str, Finished]  # by key


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

    def kept(self, members: Members) -> set[str]:
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
    with suppress(UserError):
        return tuple(map(Retention.parse, said)) or (Retention("all"),)
    return (Retention("all"),)


@dataclass(frozen=True)
class Claim:
    """What one sweep wants kept of its members.

    Attributes:
        planned: their keys, with the samples, by the names of algorithms.
        policies: of all calls of it.
    """

    planned: Mapping[str, Mapping[str, int]]
    policies: tuple[Retention, ...]

    @classmethod
    def of(cls, plan: KeptPlan, tags: Mapping[str, str]) -> Claim:
        """What a sweep with this plan and these tags wants."""
        return cls(plan.planned(), policies_of(tags))

    def wanted(self, done: Members) -> set[str]:
        """The keys of those finished members whose checkpoint it wants."""
        return set[str]().union(*(self.wanted_of(name, done) for name in self.planned))

    def wanted_of(self, algorithm: str, done: Members) -> set[str]:
        """Those of one algorithm."""
        return self.kept({key: done[key] for key in self.planned[algorithm] if key in done})

    def kept(self, members: Members) -> set[str]:
        """The keys of those members of one algorithm that any of the policies keeps."""
        return set[str]().union(*(policy.kept(members) for policy in self.policies))


class Checkpoints:
    """What a running sweep does with its members' checkpoints.

    By rank, as hardest:10, a member is kept while none that is written before the end takes its
    place; by all other policies it is decided for each member on its own.

    Args:
        sweep: its run, where that is known: policies of earlier calls add up with the one `asked`.
    """

    def __init__(
        self, store: Store, experiment_id: str, plan: Plan, sweep: Run | None, asked: Retention
    ) -> None:
        self._store, self._experiment_id = store, experiment_id
        before = policies_of(sweep.data.tags) if sweep else ()
        policies = tuple(dict.fromkeys((*before, asked)))
        self._own = Claim(plan.planned(), policies)
        self._ranked = replace(self._own, policies=tuple(p for p in policies if p.count))
        self._held: dict[str, Members] = {}  # kept by rank so far, by algorithm

    @property
    def any(self) -> bool:
        """Whether any are wanted at all."""
        return any(policy.kind != "none" for policy in self._own.policies)

    def note(self, sweep_id: str) -> None:
        """Write the policies into the tags of the sweep's run, where other sweeps see them."""
        tags = self._store.run(sweep_id).data.tags
        for policy in self._own.policies:
            if policy.tag[0] not in tags:
                self._store.client.set_tag(sweep_id, *policy.tag)

    def lacking(self, done: Members) -> set[str]:
        """The keys of finished members whose checkpoint is wanted and is not there."""
        return {key for key in self._own.wanted(done) if not done[key].has_checkpoint}

    def kept(self, algorithm: str, records: Sequence[Record], done: Members) -> set[str]:
        """The keys of those members, about to be written, whose checkpoint is wanted so far.

        Args:
            done: the members that are in the store.
        """
        if algorithm not in self._held:
            wanted = self._ranked.wanted_of(algorithm, done)
            self._held[algorithm] = {key: done[key] for key in wanted}
        new = {record.key: Finished.told("", record.tags, record.metrics) for record in records}
        members = {**self._held[algorithm], **new}
        self._held[algorithm] = {key: members[key] for key in self._ranked.kept(members)}
        return self._own.kept(members) & new.keys()

    def outranked(self, done: Members, sweep_id: str) -> set[str]:
        """The keys of the sweep's own child runs whose checkpoint no sweep wants in the end."""
        if not self._ranked.policies:
            return set()
        own = {key for key, m in done.items() if m.has_checkpoint and m.sweep_id == sweep_id}
        artifacts, claims = self._store.artifacts, list[Claim]()
        for run in self._store.runs([self._experiment_id], f"tags.kind = '{Kind.SWEEP}'"):
            tags, uri, run_id = run.data.tags, run.info.artifact_uri, str(run.info.run_id)
            try:
                claims.append(Claim.of(load_plan(artifacts, uri, run_id, tags.get("key")), tags))
            except Damaged:  # what that sweep wants is not known
                return set()
        return own.difference(*(claim.wanted(done) for claim in claims))
