"""Which checkpoints are kept: the policies of --checkpoints, and what sweeps want by them.

A sweep deletes only checkpoints of its own child runs, and only if no sweep of the store wants
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tracker.store.files import Damaged
from tracker.store.records import Finished, Kind, Record, Run
from tracker.store.write import Store
from tracker.sweep.plan import Plan, load_plan
from unlearning.errors import UserError
from unlearning.naming import number
from unlearning.outcome import ARRIVED, Status

ACCEPTED = "all, none, flipped, hardest:K or easiest:K with K from 1"
KEEPS = "keeps/"  # begins those tags of a sweep that say what calls of it wanted kept

Members = Mapping[str, Finished]  # by key
Planned = Mapping[str, Iterable[str]]  # the keys of members, by the names of algorithms


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
        after each chunk.
        """
        if self.kind == "none":
            return set()
        if self.kind == "flipped":
            return {key for key, m in members.items() if m.status in ARRIVED}
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


def wanted(planned: Planned, policies: Iterable[Retention], done: Members) -> set[str]:
    """The keys of those finished members whose checkpoint a sweep wants kept by its policies."""
    own = [{key: done[key] for key in keys if key in done} for keys in planned.values()]
    return {key for members in own for policy in policies for key in policy.kept(members)}


class Checkpoints:
    """What a running sweep does with its members' checkpoints.

    By rank, as hardest:10, a member is kept while none that is written before the end takes its
    place; by all other policies it is decided for each member on its own.

    Args:
        sweep: its run, where that is known: policies of earlier calls add up with the one `asked`.
    """

    def __init__(self, store: Store, plan: Plan, sweep: Run | None, asked: Retention) -> None:
        self.store, self.planned = store, plan.planned()
        before = policies_of(sweep.tags) if sweep else ()
        self.policies = tuple(dict.fromkeys((*before, asked)))

    @property
    def any(self) -> bool:
        """Whether any are wanted at all."""
        return any(policy.kind != "none" for policy in self.policies)

    def note(self, sweep_id: str) -> None:
        """Write the policies into the tags of the sweep's run, where other sweeps see them."""
        tags = self.store.run(sweep_id).tags
        for policy in self.policies:
            if policy.tag[0] not in tags:
                self.store.client.set_tag(sweep_id, *policy.tag)

    def lacking(self, done: Members) -> set[str]:
        """The keys of finished members whose checkpoint is wanted and is not there."""
        return {k for k in wanted(self.planned, self.policies, done) if not done[k].has_checkpoint}

    def kept(self, algorithm: str, records: Sequence[Record], done: Members) -> set[str]:
        """The keys of those members, about to be written, whose checkpoint is wanted so far.

        Args:
            done: the members that are in the store.
        """
        keys = self.planned[algorithm]
        held = {key: done[key] for key in keys if key in done and done[key].has_checkpoint}
        new = {record.key: Finished.told("", record.tags, record.metrics) for record in records}
        return wanted({algorithm: keys}, self.policies, held | new) & new.keys()

    def outranked(self, done: Members, sweep: Run) -> set[str]:
        """The keys of the sweep's own child runs whose checkpoint no sweep wants in the end."""
        if not any(policy.count for policy in self.policies):
            return set()
        own = {k for k, m in done.items() if m.has_checkpoint and m.sweep_id == sweep.run_id}
        for run in self.store.runs([sweep.experiment_id], f"tags.kind = '{Kind.SWEEP}'"):
            tags, where = run.tags, (run.artifact_uri, run.run_id)
            try:
                plan = load_plan(self.store.artifacts, *where, tags.get("key"))
            except Damaged:  # what that sweep wants is not known
                return set()
            own -= wanted(plan.planned(), policies_of(tags), done)
        return own
