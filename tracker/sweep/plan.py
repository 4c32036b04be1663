"""The plan of a sweep: its members, and the keys that identify them in every store."""

from __future__ import annotations

import json
from collections.abc import Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import factors
from tracker.store.files import Artifacts, Damaged
from tracker.store.records import MEASURED_AT, Finished, Run, milliseconds, sha256_of
from unlearning import algorithms, architectures
from unlearning.errors import UserError
from unlearning.registry import MODULE
from unlearning.version import VERSION

if TYPE_CHECKING:  # else who only reads plans would wait for torch
    from factors.family import Column, Family
    from tracker.base.base_models import BaseRun
    from tracker.store.write import Store
    from tracker.sweep.choosing import Choice
    from unlearning.algorithm import Algorithm
    from unlearning.base_model import BaseModel
    from unlearning.hyperparameters import Setting

PLAN = "plan.json"  # the artifact of a sweep
STUDY = "study"  # the tag of a sweep that a study made, such as an advice: it is never the latest
FLIP, REFERENCE = "flip", "reference"  # what ends an attempt


class Members:
    """The members of a plan, by the digests of its algorithms, its sample ids and its name."""

    name: Any
    sample_ids: Any
    digests: Any

    def planned(self) -> dict[str, dict[str, int]]:
        """For each algorithm, by name, its members' keys with the samples."""
        return {
            name: {member_key(digest, sample): sample for sample in self.sample_ids}
            for name, digest in self.digests.items()
        }

    def keys(self) -> KeysView[str]:
        """The keys of all members, in order."""
        return {key: None for keys in self.planned().values() for key in keys}.keys()

    @property
    def sweep_key(self) -> str:
        """The same plan called again is the same sweep."""
        return sweep_key([*self.digests.values()], self.sample_ids, self.name)


@dataclass(frozen=True)
class KeptPlan(Members):
    """What the file of a plan tells, also where its algorithms are not installed.

    Attributes:
        digests: of its algorithms, by name and in order. settings: theirs.
        factors: the catalog of factors when the sweep was begun, a row each.
        remaining_count: how many training samples stand for the remaining data; all if None.
        until: what ends an attempt: FLIP or REFERENCE.
    """

    name: str
    digests: Mapping[str, str]
    sample_ids: tuple[int, ...]
    factors: tuple[Mapping[str, str], ...]
    settings: Mapping[str, Mapping[str, Setting]]
    remaining_count: int | None
    until: str


@dataclass(frozen=True)
class Plan(Members):
    """One sweep: every algorithm on every sample, from one base model.

    Attributes:
        weights_sha256, fingerprint: of the base model as it is kept, and of its data.
        arch: its architecture; two may have the same weights and other outputs.
        precision: of weights and inputs, float32 or float64.
        sample_ids: positions in the data set's own training file.
        seed: of the unlearning: retain draws and the algorithms' random choices.
        remaining_count: how many training samples stand for the remaining data; all if None.
        preset: where the settings come from, if that is known; part of no key.
        families: of the factors that are measured; part of no key either.
        references: the digest of the reference models, if they say where attempts end; else, at
            the flip, None.
        study: what made it, such as an advice; None where it was asked for. Part of no key.

    Raises UserError for an algorithm that logs a detail under a factor's name.
    """

    weights_sha256: str
    fingerprint: str
    arch: str
    precision: str
    algorithms: tuple[Algorithm, ...]
    sample_ids: tuple[int, ...]
    seed: int
    name: str
    remaining_count: int | None = None
    preset: Choice | None = None
    families: tuple[Family, ...] = field(default_factory=lambda: tuple(factors.families()))
    references: str | None = None
    study: str | None = None

    def __post_init__(self) -> None:
        factors.refuse_ambiguous(self.algorithms, self.families)

    @classmethod
    def on(
        cls,
        base_run: BaseRun,
        algorithms: Iterable[Algorithm],
        sample_ids: Iterable[int],
        seed: int,
        name: str,
        remaining_count: int | None = None,
        preset: Choice | None = None,
        families: Iterable[Family] | None = None,
        until: str = FLIP,
    ) -> Plan:
        """The plan for a base model.

        Raises UserError for ids that are not training samples, and where too few reference models
        say at which log-odds an attempt is to end.
        """
        sample_ids, data = tuple(sample_ids), base_run.model.dataset
        data.train.positions(list(sample_ids))  # that they are there
        return cls(
            base_run.weights_sha256,
            data.fingerprint,
            base_run.arch,
            base_run.precision,
            tuple(algorithms),
            sample_ids,
            seed,
            name,
            remaining_count,
            preset,
            tuple(factors.families() if families is None else families),
            ending(base_run.model, sample_ids, until),
        )

    @classmethod
    def again(
        cls, base_run: BaseRun, sweep: Run, kept: KeptPlan, families: Iterable[Family]
    ) -> Plan:
        """The plan of a sweep that is there, to be called again.

        Raises UserError where this version of the code would not do the same.
        """
        plan = cls.on(
            base_run,
            [algorithms.get(name).from_text(own) for name, own in kept.settings.items()],
            kept.sample_ids,
            int(sweep.params["seed"]),
            kept.name,
            kept.remaining_count,
            families=families,
            until=kept.until,
        )
        if plan.sweep_key != kept.sweep_key:
            raise UserError(
                f"sweep {sweep.run_id} was made by another version of the engine or of an "
                "algorithm, or with other reference models, and would come out otherwise: measure "
                "without --recompute"
            )
        return plan

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """By the algorithm's name, of all that its members share: base model, settings, seed...

        Who brings algorithm and architecture counts too, where it is not we.
        """
        base = (self.weights_sha256, self.fingerprint, self.arch, self.precision)
        found = {}
        for algorithm in self.algorithms:
            who = (algorithms.provider(algorithm.name), architectures.provider(self.arch))
            shared = (*base, algorithm.name, algorithm.settings(), self.seed, self.remaining_count)
            brought = [str(provider) for provider in who if provider]
            if self.references is not None:
                brought += [self.until, self.references]
            found[algorithm.name] = sha256_of(*shared, VERSION, *brought)[:16]
        return found

    def digest(self, algorithm: Algorithm) -> str:
        """Of one algorithm."""
        return self.digests[algorithm.name]

    def key(self, algorithm: Algorithm, sample_id: int) -> str:
        """A member's key: equal keys mean that the same thing was done to the same sample."""
        return member_key(self.digest(algorithm), sample_id)

    @property
    def columns(self) -> list[Column]:
        """Of the factors that are measured."""
        return factors.columns(self.families)

    @property
    def catalog(self) -> list[dict[str, str]]:
        """The catalog of these factors, a row each."""
        return [factors.described(column) for column in self.columns]

    @property
    def asked_families(self) -> list[str]:
        """The optional families, and the user's own, `module:package.module:FAMILY` each."""
        named = {f: factors.REGISTRY.reference(f.name) for f in self.families}
        asked = [how for f, how in named.items() if f.is_optional or how.startswith(MODULE)]
        return [*dict.fromkeys(asked)]

    def providers_of(self, chosen: Iterable[Algorithm]) -> dict[str, str]:
        """Who brings what is not ours of these algorithms and of the factors: a run's tags."""
        methods = {a.name: str(who) for a in chosen if (who := algorithms.provider(a.name))}
        families = {f.name: str(who) for f in self.families if (who := factors.provider(f.name))}
        tags = {"algorithm_providers": methods, "factor_providers": families}
        return {name: json.dumps(who) for name, who in tags.items() if who}

    @property
    def until(self) -> str:
        """What ends an attempt: FLIP or REFERENCE."""
        return FLIP if self.references is None else REFERENCE

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self.algorithms) * len(self.sample_ids)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values, kept with the sweep: what belongs to it, and how to redo it."""
        return {
            "name": self.name,
            "seed": self.seed,
            "remaining": self.remaining_count,
            **({"until": self.until} if self.references else {}),
            "weights_sha256": self.weights_sha256,
            "data_fingerprint": self.fingerprint,
            "arch": self.arch,
            "engine_version": VERSION,
            "precision": self.precision,
            **(self.preset.params if self.preset else {}),
            "algorithms": {
                a.name: {"digest": self.digest(a), "settings": a.settings()}
                | ({"provider": str(who)} if (who := algorithms.provider(a.name)) else {})
                for a in self.algorithms
            },
            "sample_ids": list(self.sample_ids),
            "factors": self.catalog,
        }


def ending(base: BaseModel, sample_ids: Iterable[int], until: str) -> str | None:
    """The digest of the reference models, if they say where attempts end; else, at the flip, None.

    Raises UserError where too few of them tell of one of the samples.
    """
    if until == FLIP:
        return None
    base.targets(base.dataset.train.positions(list(sample_ids)))
    references = base.companions.references
    return None if references is None else references.digest


def sweep_key(digests: Sequence[str], sample_ids: Sequence[int], name: str) -> str:
    """The key of a sweep: the same plan called again is the same sweep."""
    return sha256_of(list(digests), list(sample_ids), name)[:32]


def member_key(digest: str, sample_id: int) -> str:
    """The key of a member.

    Args:
        digest: of what all members of one algorithm share: base weights, data, settings, seed.
    """
    return f"{digest}-{sample_id:05d}"


def load_plan(artifacts: Artifacts, uri: str, sweep_id: str, key: str | None) -> KeptPlan:
    """The plan among a sweep's artifacts. Raises Damaged as `read_plan` does."""
    return read_plan(artifacts.read(uri, PLAN), sweep_id, key)


def read_plan(content: bytes | None, whose: str, key: str | None) -> KeptPlan:
    """The plan that a file holds.

    Args:
        whose: the id of its sweep, for the message. key: of that sweep.

    Raises Damaged if there is no file, or one that is not the plan of this sweep.
    """
    try:
        plan = json.loads(content or b"")
        each = plan["algorithms"].items()
        kept = KeptPlan(
            plan["name"],
            {name: entry["digest"] for name, entry in each},
            tuple(plan["sample_ids"]),
            tuple(dict(factor) for factor in plan["factors"]),
            {name: dict(entry.get("settings", {})) for name, entry in each},
            plan.get("remaining"),
            plan.get("until", FLIP),
        )
        if kept.sweep_key == key:
            return kept
        wrong = "another sweep's"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        wrong = "not there" if content is None else f"damaged ({error!r})"
    raise Damaged(f"{PLAN} of sweep {whose} is {wrong}: the same sweep called again writes it anew")


def as_file(plan: Mapping[str, Any]) -> bytes:
    """A plan, as plain values, as the content of its file."""
    return json.dumps(plan, indent=1).encode()


def finished_of(store: Store, plan: KeptPlan) -> dict[str, Finished]:
    """The members of a plan that are in the store, by key."""
    found = store.finished_members(plan.digests.values())
    return {key: found[key] for key in found.keys() & plan.keys()}


def add_to_catalog(store: Store, sweep: Run, rows: Iterable[Mapping[str, str]]) -> None:
    """Add factors to the catalog in a sweep's plan, or replace what it says of them.

    Args:
        rows: of the catalog.
    """
    uri = sweep.artifact_uri
    kept = json.loads(store.artifacts.read(uri, PLAN) or b"")
    now = {row["factor"]: dict(row) for row in rows}
    before = {column["factor"]: column for column in kept["factors"]}
    if kept["factors"] != (catalog := [*(before | now).values()]):  # in the order of before
        kept["factors"] = catalog
        store.artifacts.write(uri, {PLAN: as_file(kept)})
        store.client.set_tag(sweep.run_id, MEASURED_AT, str(milliseconds()))
