"""The checkpoints of a running sweep: which are kept, which are made, and which are deleted.

A sweep deletes only checkpoints that it has written itself, and only if no sweep of the store wants
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow.entities import Run

from tracker.store.files import Damaged
from tracker.store.records import Finished, Kind, Record
from tracker.store.write import Store
from tracker.sweep.plan import KeptPlan, Plan, load_plan
from tracker.sweep.retention import Claim, Retention, policies_of
from unlearning.algorithm import Algorithm

Members = dict[str, Finished]


@dataclass
class Checkpoints:
    """What a sweep does with its members' checkpoints.

    Attributes:
        policies: what this call and earlier ones of the same sweep want kept.
        untold: those policies that are not in the tags of the sweep's run yet.
    """

    store: Store
    experiment_id: str
    plan: Plan
    policies: tuple[Retention, ...]
    untold: tuple[Retention, ...]
    _candidates: dict[str, Members] = field(default_factory=dict)
    _plans: dict[str, KeptPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own = Claim(self.plan.digests, self.plan.sample_ids, self.policies)
        # By rank, as hardest:10, a member may be kept until a later one takes its place. By all
        # other policies it is decided for each member on its own.
        self.ranked = replace(self.own, policies=tuple(p for p in self.policies if p.count))

    @classmethod
    def of(
        cls, store: Store, experiment_id: str, plan: Plan, sweep: Run | None, asked: Retention
    ) -> Checkpoints:
        """Those of a sweep that is about to begin, or to go on."""
        tags = sweep.data.tags if sweep else {}
        policies = tuple(dict.fromkeys((*(policies_of(tags) if sweep else ()), asked)))
        untold = tuple(policy for policy in policies if policy.tag[0] not in tags)
        return cls(store, experiment_id, plan, policies, untold)

    @property
    def any(self) -> bool:
        """Whether any are wanted at all."""
        return any(policy.kind != "none" for policy in self.own.policies)

    def note(self, sweep_id: str) -> None:
        """Write the policies into the tags of the sweep's run, where other sweeps see them."""
        for policy in self.untold:
            self.store.client.set_tag(sweep_id, *policy.tag)
        self.untold = ()

    def begin(self, done: Mapping[str, Finished]) -> None:
        """Start from the members that are finished: they count when members are ranked."""
        digests = {
            algorithm.name: self.plan.digest(algorithm) for algorithm in self.plan.algorithms
        }
        self._candidates = {
            name: {key: done[key] for key in self.ranked.wanted_of(digest, done)}
            for name, digest in digests.items()
        }

    def lacking(self, done: Mapping[str, Finished]) -> dict[str, list[int]]:
        """Samples, by algorithm, whose checkpoint is wanted and is not there."""
        wanted = self.own.wanted(done)
        return {
            algorithm.name: [
                sample
                for sample in self.plan.sample_ids
                if (key := self.plan.key(algorithm, sample)) in wanted
                and not done[key].has_checkpoint
            ]
            for algorithm in self.plan.algorithms
        }

    def kept(self, algorithm: Algorithm, records: Sequence[Record]) -> set[str]:
        """The keys of those members, of these and of the candidates so far, that are wanted."""
        new = {record.key: Finished.of("", "", record) for record in records}
        return self.own.kept(self._candidates[algorithm.name] | new)

    def let_go(
        self, algorithm: Algorithm, kept: set[str], done: Mapping[str, Finished], sweep_id: str
    ) -> set[str]:
        """The keys of those candidates that are not kept and that no other sweep wants.

        Args:
            kept: what the method `kept` returned. done: the members that are written by now.
        """
        before = self._candidates[algorithm.name]
        self._candidates[algorithm.name] = {
            key: done[key] for key in self.ranked.kept({key: done[key] for key in kept})
        }
        gone = {
            key
            for key in before.keys() - kept
            if done[key].has_checkpoint and done[key].sweep_id == sweep_id
        }
        if not gone:
            return gone
        try:
            return gone.difference(*(claim.wanted(done) for claim in self._others(sweep_id)))
        except Damaged:  # what that sweep wants is not known
            return set()

    def _others(self, sweep_id: str) -> list[Claim]:
        """What the store's other sweeps want. Raises Damaged where a plan is."""
        sweeps = self.store.runs([self.experiment_id], f"tags.kind = '{Kind.SWEEP}'")
        return [self._claim(run) for run in sweeps if run.info.run_id != sweep_id]

    def _claim(self, sweep: Run) -> Claim:
        run_id, tags = str(sweep.info.run_id), sweep.data.tags
        if run_id not in self._plans:
            uri = sweep.info.artifact_uri
            self._plans[run_id] = load_plan(self.store.artifacts, uri, run_id, tags.get("key"))
        return Claim.of(self._plans[run_id], tags)
