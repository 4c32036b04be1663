"""The plan of a sweep: its members, and the keys that identify them in every store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import factors
from tracker.store.files import Artifacts, Damaged
from tracker.store.records import sha256_of
from unlearning import algorithms, architectures
from unlearning.registry import MODULE, Provider
from unlearning.version import VERSION

if TYPE_CHECKING:
    from factors.family import Column, Family
    from tracker.base.base_models import BaseRun
    from tracker.sweep.settings import Choice
    from unlearning.algorithm import Algorithm
    from unlearning.hyperparameters import Setting


PLAN = "plan.json"  # the artifact of a sweep


@dataclass(frozen=True)
class Plan:
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
    ) -> Plan:
        """The plan for a base model. Raises UserError for ids that are not training samples."""
        sample_ids = tuple(sample_ids)
        data = base_run.model.dataset
        data.train.positions(list(sample_ids))
        return cls(
            weights_sha256=base_run.weights_sha256,
            fingerprint=data.fingerprint,
            arch=base_run.arch,
            precision=base_run.precision,
            algorithms=tuple(algorithms),
            sample_ids=sample_ids,
            seed=seed,
            name=name,
            remaining_count=remaining_count,
            preset=preset,
            families=tuple(factors.families() if families is None else families),
        )

    def digest(self, algorithm: Algorithm) -> str:
        """A digest of all that the members of one algorithm share: base model, settings, seed..."""
        base = (self.weights_sha256, self.fingerprint, self.arch, self.precision)
        others = (algorithms.provider(algorithm.name), architectures.provider(self.arch))
        return _digest(base, algorithm, self.seed, self.remaining_count, VERSION, others)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all algorithms, in order."""
        return tuple(self.digest(algorithm) for algorithm in self.algorithms)

    def key(self, algorithm: Algorithm, sample_id: int) -> str:
        """A member's key: equal keys mean that the same thing was done to the same sample."""
        return member_key(self.digest(algorithm), sample_id)

    def keys(self) -> set[str]:
        """The keys of all members."""
        return {key for keys in self.planned().values() for key in keys}

    def planned(self) -> dict[str, dict[str, int]]:
        """For each algorithm, by name, its members' keys with the samples."""
        return {a.name: {self.key(a, s): s for s in self.sample_ids} for a in self.algorithms}

    @property
    def sweep_key(self) -> str:
        """The same plan called again is the same sweep."""
        return sweep_key(self.digests, self.sample_ids, self.name)

    @property
    def columns(self) -> list[Column]:
        """Of the factors that are measured."""
        return factors.columns(self.families)

    @property
    def asked_families(self) -> list[str]:
        """The user's own families, `module:package.module:FAMILY` each."""
        references = (factors.REGISTRY.reference(family.name) for family in self.families)
        return [reference for reference in references if reference.startswith(MODULE)]

    def providers_of(self, chosen: Iterable[Algorithm]) -> dict[str, str]:
        """Who brings what is not ours of these algorithms and of the factors: a run's tags."""
        methods = _who(algorithms.provider, (a.name for a in chosen))
        families = _who(factors.provider, (family.name for family in self.families))
        tags = {"algorithm_providers": methods, "factor_providers": families}
        return {name: json.dumps(who) for name, who in tags.items() if who}

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
            "weights_sha256": self.weights_sha256,
            "data_fingerprint": self.fingerprint,
            "arch": self.arch,
            "engine_version": VERSION,
            "precision": self.precision,
            **(self.preset.params if self.preset else {}),
            "algorithms": {
                algorithm.name: {
                    "digest": self.digest(algorithm),
                    "settings": algorithm.settings(),
                    **_brought(algorithms.provider(algorithm.name)),
                }
                for algorithm in self.algorithms
            },
            "sample_ids": list(self.sample_ids),
            "factors": [factors.described(column) for column in self.columns],
        }


@lru_cache(maxsize=64)
def _digest(
    base: tuple[str, ...],
    algorithm: Algorithm,
    seed: int,
    remaining_count: int | None,
    version: int,
    others: tuple[Provider | None, ...],
) -> str:
    """The digest, kept: it is asked for again and again, for each of hundreds of members.

    Args:
        others: who brings algorithm and architecture, where it is not we: the version counts too.
    """
    shared = (*base, algorithm.name, algorithm.settings())
    brought = [str(provider) for provider in others if provider is not None]
    return sha256_of(*shared, seed, remaining_count, version, *brought)[:16]


def _brought(provider: Provider | None) -> dict[str, str]:
    return {"provider": str(provider)} if provider else {}


def _who(provider: Callable[[str], Provider | None], names: Iterable[str]) -> dict[str, str]:
    """Who brings what, but for what is ours."""
    return {name: str(who) for name in names if (who := provider(name))}


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
        digests: of its algorithms, by name and in order. settings: theirs.
        factors: the catalog of factors when the sweep was begun, a mapping for each.
        remaining_count: how many training samples stand for the remaining data; all if None.
    """

    name: str
    digests: Mapping[str, str]
    sample_ids: tuple[int, ...]
    factors: tuple[Mapping[str, str], ...]
    settings: Mapping[str, Mapping[str, Setting]]
    remaining_count: int | None

    def planned(self) -> dict[str, dict[str, int]]:
        """For each algorithm, by name, its members' keys with the samples."""
        return {
            name: {member_key(digest, sample): sample for sample in self.sample_ids}
            for name, digest in self.digests.items()
        }

    def member_keys(self) -> list[str]:
        """The keys of all members."""
        return [key for keys in self.planned().values() for key in keys]


def load_plan(artifacts: Artifacts, uri: str, sweep_id: str, key: str | None) -> KeptPlan:
    """The plan among a sweep's artifacts. Raises Damaged as `read_plan` does."""
    return read_plan(artifacts.read(uri, PLAN), sweep_id, key)


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
            {name: _text(entry["digest"]) for name, entry in plan["algorithms"].items()},
            tuple(_number(sample) for sample in plan["sample_ids"]),
            tuple(
                {name: _text(value) for name, value in factor.items()} for factor in plan["factors"]
            ),
            {name: dict(entry.get("settings", {})) for name, entry in plan["algorithms"].items()},
            None if plan.get("remaining") is None else _number(plan["remaining"]),
        )
        own_key = sweep_key(list(kept.digests.values()), kept.sample_ids, kept.name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{PLAN} of sweep {whose} is damaged ({error!r}): {again}") from error
    if own_key != key:
        raise Damaged(f"{PLAN} of sweep {whose} is another sweep's: {again}")
    return kept


def as_file(plan: Mapping[str, Any]) -> bytes:
    """A plan, as plain values, as the content of its file."""
    return json.dumps(plan, indent=1).encode()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
